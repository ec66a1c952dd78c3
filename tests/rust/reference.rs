//! Compares the fast path with the plain loops, and its gradients with central differences of the plain loops.

mod common;

use common::{Problem, difference, problems};
use proptest::prelude::*;
use rgru::__internals::cell::Real;
use rgru::__internals::simd::Isa;

fn compare<T: Real>(problem: &Problem, tolerance: f64) -> Result<(), TestCaseError> {
    let arrays = problem.arrays::<T>();
    let expected = problem.reference(&arrays);
    for isa in Isa::available() {
        let results = problem.solve(&arrays, isa, 2);
        for ((name, got), (_, expected)) in results.named().into_iter().zip(expected.named()) {
            let off = difference(got, expected);
            prop_assert!(off <= tolerance, "{name} off by {off:e} on {isa}");
        }
    }
    Ok(())
}

/// Computes `sum(y * dy) + sum(h_n * dh_n)` over the valid steps, by the reference in f64.
fn loss(problem: &Problem, arrays: &common::Arrays<f64>) -> f64 {
    let (y, h_n) = rgru::__internals::reference::forward(
        &problem.dims,
        &arrays.params,
        &arrays.x,
        &problem.sequences(),
        arrays.h0.as_deref(),
    );
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(_, b)| !b.is_nan()).map(|(a, b)| a * b).sum::<f64>();
    sum(&y, &arrays.dy) + sum(&h_n, &arrays.dh_n)
}

/// Computes the derivative of the loss with respect to one number, by a central difference of fourth order. Its error
/// is about 1e-13 here.
fn derivative(
    problem: &Problem,
    arrays: &common::Arrays<f64>,
    number: impl Fn(&mut common::Arrays<f64>) -> &mut f64,
) -> f64 {
    const STEP: f64 = 1e-3;
    let at = |offset: f64| {
        let mut moved = arrays.clone();
        *number(&mut moved) += offset;
        loss(problem, &moved)
    };
    (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn f64_equals_the_reference_to_1e_13(problem in problems(40, 12, 9)) {
        compare::<f64>(&problem, 1e-13)?;
    }

    #[test]
    fn f32_equals_the_reference_to_1e_6(problem in problems(40, 12, 9)) {
        compare::<f32>(&problem, 1e-6)?;
    }

    #[test]
    fn gradients_equal_central_differences_to_1e_7(problem in problems(4, 3, 4)) {
        let arrays = problem.arrays::<f64>();
        let results = problem.solve(&arrays, Isa::available()[0], 2);
        let near = |got: f64, expected: f64| (got - expected).abs() <= 1e-7 * expected.abs().max(1.0);
        for (i, &got) in results.dparams.iter().enumerate() {
            let expected = derivative(&problem, &arrays, |a| &mut a.params[i]);
            prop_assert!(near(got, expected), "dparams[{i}]: {got}, expected {expected}");
        }
        for (i, &got) in results.dx.iter().enumerate() {
            let expected = if arrays.x[i].is_nan() { 0.0 } else { derivative(&problem, &arrays, |a| &mut a.x[i]) };
            prop_assert!(near(got, expected), "dx[{i}]: {got}, expected {expected}");
        }
        if let Some(h0) = &arrays.h0 {
            for i in 0..h0.len() {
                let expected = derivative(&problem, &arrays, |a| &mut a.h0.as_mut().expect("checked above")[i]);
                prop_assert!(near(results.dh0[i], expected), "dh0[{i}]: {}, expected {expected}", results.dh0[i]);
            }
        }
    }
}

/// Errors could accumulate over a long sequence.
#[test]
fn errors_do_not_accumulate_over_a_thousand_steps() {
    for reset_after in [false, true] {
        let dims =
            rgru::Dims { input_size: 8, hidden_size: 33, num_layers: 1, bidirectional: false, reset_after, bias: true };
        let problem = Problem { dims, time: 1000, lengths: vec![1000, 700], ragged: false, with_h0: true, seed: 7 };
        let arrays = problem.arrays::<f64>();
        let expected = problem.reference(&arrays);
        let results = problem.solve(&arrays, Isa::available()[0], 2);
        assert!(difference(&results.y, &expected.y) <= 1e-13);
        let arrays = problem.arrays::<f32>();
        let expected = problem.reference(&arrays);
        let results = problem.solve(&arrays, Isa::available()[0], 2);
        let off = difference(&results.y, &expected.y);
        assert!(off <= 1e-6, "{off:e}");
    }
}
