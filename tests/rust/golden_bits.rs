//! Committed hashes of bits that every machine and every instruction set must reproduce. `tests/goldens/bits.npz` has
//! more of them, for Python; these also run in emulators.

use rgru::__internals::cell::Real;
use rgru::__internals::simd::Isa;
use rgru::__internals::train::optim::{Adam, AdamSettings, cosine_decay};
use rgru::__internals::train::{init, loss};
use rgru::Dims;

use crate::common::Problem;

/// Returns the FNV-1a hash of the bits of some numbers.
fn hash<T: Real>(numbers: &[T]) -> u64 {
    let bytes = numbers.iter().flat_map(|number| number.to_f64().to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Returns the hashes of the outputs, states and gradients of a stack.
fn solved<T: Real>(reset_after: bool, bidirectional: bool) -> Vec<u64> {
    let dims = Dims { num_layers: 2, bidirectional, reset_after, ..Dims::new(5, 19) };
    let problem = Problem::new(dims, vec![9, 1, 0, 7], 1);
    let arrays = problem.arrays::<T>();
    let hashes = Isa::available().into_iter().map(|isa| {
        let results = problem.solve(&arrays, isa, 2);
        results.named().iter().map(|(_, numbers)| hash(numbers)).collect::<Vec<u64>>()
    });
    let hashes: Vec<_> = hashes.collect();
    assert!(hashes.iter().all(|one| *one == hashes[0]));
    hashes[0].clone()
}

/// Returns the hashes of initial values; of probabilities, loss and gradient; and of parameters after steps of Adam.
fn trained<T: Real>() -> Vec<u64> {
    let dims = Dims { bidirectional: true, ..Dims::new(3, 7) };
    let mut params = init::initial::<T>(dims, 5, &|| false).unwrap();
    let initial = hash(&params);
    let logits: Vec<T> = (0..90).map(|i| T::from_f64(f64::from(i * 37 % 101) / 7.0 - 5.0)).collect();
    let (mut probabilities, mut gradient) = (logits.clone(), logits);
    loss::softmax(3, &mut probabilities);
    let targets: Vec<i64> = (0..30).map(|i| i % 3).collect();
    let cross_entropy = loss::cross_entropy(3, &mut gradient, &targets).unwrap();
    let mut adam = Adam::default();
    for step in 0..30 {
        let lr = 1e-2 * cosine_decay(f64::from(step) / 40.0);
        let settings = AdamSettings { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8 };
        let grads: Vec<T> = (0..params.len()).map(|i| gradient[(i + step as usize) % gradient.len()]).collect();
        adam.step(settings, &mut [&mut params], &[&grads], Some(0.1)).unwrap();
    }
    vec![initial, hash(&probabilities), hash(&[cross_entropy]), hash(&gradient), hash(&params)]
}

#[test]
fn float32() {
    let expected: [&[u64]; 3] = [
        &[
            0xc8c7_e445_636a_f751,
            0x52a2_3021_c653_a547,
            0x06e5_8a68_5fa4_0b0f,
            0xe4bc_c4eb_945a_153c,
            0x606d_0c1d_afd1_a080,
        ],
        &[
            0x3bc6_4a8a_dced_82a5,
            0xf0ac_bd96_e6e6_c08f,
            0xc5a2_f1db_645d_bbfd,
            0x690e_cc1e_6b39_1a66,
            0x4392_fba3_b459_c165,
        ],
        &[
            0x2008_f236_7ca8_3d39,
            0x3a58_bf35_a725_f4e1,
            0x06bc_d21e_50dc_ba47,
            0xb58e_a43c_ed23_d9f4,
            0xd040_7e19_3478_7973,
        ],
    ];
    assert_eq!([solved::<f32>(false, false), solved::<f32>(true, true), trained::<f32>()], expected);
}

#[test]
fn float64() {
    let expected: [&[u64]; 3] = [
        &[
            0xf311_acc4_06fa_c92e,
            0xda10_c77c_45a2_cde4,
            0x87ff_f159_ce9d_3834,
            0xc64b_02f2_4e95_0a54,
            0x4774_7236_76dd_9e84,
        ],
        &[
            0x3900_5bc1_1cc9_ceb1,
            0xea55_50a8_339c_d56e,
            0xcc8b_ce3f_f92d_8c93,
            0x26ef_b3df_fbe5_c229,
            0xad7b_0f49_95b0_52b4,
        ],
        &[
            0x1802_073b_6249_5dd8,
            0x1456_4117_f9cb_55ed,
            0x34b8_ad82_e70f_9380,
            0xb44e_270f_7189_932f,
            0x6345_c6b8_55aa_fab1,
        ],
    ];
    assert_eq!([solved::<f64>(false, true), solved::<f64>(true, false), trained::<f64>()], expected);
}
