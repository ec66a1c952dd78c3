//! Compares sigmoid and tanh with f64, in units of the last place, on every instruction set.

#![allow(clippy::disallowed_methods)] // the platform's functions are exact enough for bounds in ULP

use rgru::__internals::cell::Real;
use rgru::__internals::cell::functions::Function;
use rgru::__internals::cell::kernels::CellKernels;
use rgru::__internals::simd::Isa;
use rgru::Activation::{Elu, HardSigmoid, Linear, Relu, Sigmoid, Softsign, Tanh};

/// Returns the spacing of f32 numbers at the magnitude of x.
fn ulp(x: f64) -> f64 {
    let exponent = x.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (exponent - 23.0).exp2()
}

/// A function in f64, which f32 results are compared with.
type Exact = fn(f64) -> f64;

/// Computes the sigmoid in f64. exp(-|x|) keeps the accuracy that 1 / (1 + exp(-x)) would lose.
fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// Returns the worst errors of sigmoid and tanh over the floats with these `bits`, in units of the last place, and the
/// floats that have them.
fn worst(kernels: &CellKernels<f32>, bits: impl Iterator<Item = u32>) -> [(f64, f32); 2] {
    let mut worst = [(0.0, 0.0); 2];
    let mut inputs = Vec::with_capacity(1 << 16);
    let mut bits = bits.peekable();
    while bits.peek().is_some() {
        inputs.clear();
        inputs.extend(bits.by_ref().map(f32::from_bits).filter(|x| x.is_finite()).take(1 << 16));
        for (function, worst) in worst.iter_mut().enumerate() {
            let mut outputs = inputs.clone();
            let exact: Exact = if function == 0 { sigmoid } else { f64::tanh };
            if function == 0 {
                kernels.activate(&Function::new(Sigmoid), &mut outputs);
            } else {
                kernels.activate(&Function::new(Tanh), &mut outputs);
            }
            for (&x, &y) in inputs.iter().zip(&outputs) {
                let expected = exact(f64::from(x));
                let error = (f64::from(y) - expected).abs() / ulp(expected);
                if error.is_nan() || error > worst.0 {
                    *worst = (error, x);
                }
            }
        }
    }
    worst
}

#[test]
fn f32_within_2_ulp_on_a_sample() {
    for isa in Isa::available() {
        let kernels = CellKernels::of(isa).unwrap();
        for (error, x) in worst(kernels, (0..=u32::MAX).step_by(10_007)) {
            assert!(error <= 2.0, "{error} ulp at {x} on {isa}");
        }
    }
}

#[test]
#[ignore = "all 2^32 floats take minutes: cargo test --release --test integration -- --ignored --nocapture"]
fn f32_within_2_ulp_everywhere() {
    let isa = Isa::available()[0];
    let halves = std::thread::scope(|scope| {
        let half = |from: u32, to: u32| scope.spawn(move || worst(CellKernels::of(isa).unwrap(), from..=to));
        let halves = [half(0, u32::MAX / 2), half(u32::MAX / 2 + 1, u32::MAX)];
        halves.map(|half| half.join().unwrap())
    });
    let mut worst = 0.0;
    for (function, name) in ["sigmoid", "tanh"].into_iter().enumerate() {
        let (error, x) =
            if halves[0][function].0 > halves[1][function].0 { halves[0][function] } else { halves[1][function] };
        println!("{name}: at most {error:.3} ulp, at {x:e}");
        worst = f64::max(worst, error);
    }
    assert!(worst <= 2.0);
}

#[test]
fn instruction_sets_agree() {
    let inputs: Vec<f32> = (0..=u32::MAX).step_by(10_007).map(f32::from_bits).collect();
    let of = |isa, activation| {
        let mut values = inputs.clone();
        CellKernels::of(isa).unwrap().activate(&Function::new(activation), &mut values);
        values
    };
    for function in [Sigmoid, HardSigmoid { alpha: 0.2, beta: 0.5 }, Tanh, Relu, Linear, Softsign, Elu { alpha: 1.5 }] {
        let best = of(Isa::available()[0], function);
        for isa in Isa::available() {
            for ((x, a), b) in inputs.iter().zip(of(isa, function)).zip(&best) {
                assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{a} and {b} at {x} on {isa}");
            }
        }
    }
}

fn special_values<T: Real>() {
    for isa in Isa::available() {
        let kernels = CellKernels::<T>::of(isa).unwrap();
        let of = |activation, x: f64| {
            let mut values = [T::from_f64(x)];
            kernels.activate(&Function::new(activation), &mut values);
            values[0].to_f64()
        };
        assert!(of(Sigmoid, f64::INFINITY) == 1.0 && of(Sigmoid, f64::NEG_INFINITY) == 0.0);
        assert!(of(Tanh, f64::INFINITY) == 1.0 && of(Tanh, f64::NEG_INFINITY) == -1.0);
        assert!(of(Sigmoid, 0.0) == 0.5 && of(Sigmoid, -0.0) == 0.5);
        assert!(of(Tanh, -0.0).is_sign_negative() && of(Tanh, 1e-30) == T::from_f64(1e-30).to_f64());
        assert!(of(Sigmoid, f64::NAN).is_nan() && of(Tanh, f64::NAN).is_nan());
    }
}

#[test]
fn special_values_f32() {
    special_values::<f32>();
}

#[test]
fn special_values_f64() {
    special_values::<f64>();
}

#[test]
fn elu_is_accurate_near_0_and_far_from_it() {
    for isa in Isa::available() {
        let inputs: Vec<f64> =
            (0..3000).map(|i| 10f64.powf(f64::from(i) * 0.01 - 25.0)).flat_map(|x| [-x, x]).collect();
        let mut values = inputs.clone();
        CellKernels::<f64>::of(isa).unwrap().activate(&Function::new(Elu { alpha: 1.5 }), &mut values);
        for (x, y) in inputs.into_iter().zip(values) {
            let expected = if x > 0.0 { x } else { 1.5 * x.exp_m1() };
            assert!((y - expected).abs() <= 4.0 * f64::EPSILON * expected.abs(), "elu({x})");
        }
    }
}

#[test]
fn f64_within_a_few_ulp() {
    for isa in Isa::available() {
        let kernels = CellKernels::<f64>::of(isa).unwrap();
        let inputs: Vec<f64> = (-80_000..80_000).map(|i| f64::from(i) * 5e-4).collect();
        let (mut s, mut t) = (inputs.clone(), inputs.clone());
        kernels.activate(&Function::new(Sigmoid), &mut s);
        kernels.activate(&Function::new(Tanh), &mut t);
        for ((x, s), t) in inputs.into_iter().zip(s).zip(t) {
            assert!((s - sigmoid(x)).abs() <= 4.0 * f64::EPSILON * sigmoid(x), "sigmoid({x})");
            assert!((t - x.tanh()).abs() <= 4.0 * f64::EPSILON * x.tanh().abs(), "tanh({x})");
        }
    }
}
