//! Compares the fast path with the plain loops, and its gradients with central differences of the plain loops.

use proptest::prelude::*;
use rgru::__internals::cell::Real;
use rgru::__internals::simd::Isa;
use rgru::{CellOptions, LayerNorm, NormForm};

use crate::common::{Arrays, Problem, difference, problems};

fn compare<T: Real>(problem: &Problem, tolerance: f64) -> Result<(), TestCaseError> {
    let arrays = problem.arrays::<T>();
    let expected = problem.reference(&arrays);
    for isa in Isa::available() {
        let results = problem.solve(&arrays, isa, 2);
        // In float32 a sum may be on the other side of a kink than in the reference, and have another gradient.
        let compared = if T::NAME == "float32" && problem.has_kinks() { 2 } else { 5 };
        for ((name, got), (_, expected)) in results.named().into_iter().zip(expected.named()).take(compared) {
            let off = difference(got, expected);
            prop_assert!(off <= tolerance, "{name} off by {off:e} on {isa}");
        }
    }
    Ok(())
}

/// Computes `sum(y * dy) + sum(h_n * dh_n)` over the valid steps, by the reference in f64.
fn loss(problem: &Problem, arrays: &Arrays<f64>) -> f64 {
    let (y, h_n) = rgru::__internals::reference::forward(
        &problem.dims,
        &arrays.params,
        &arrays.x,
        &problem.sequences(),
        arrays.h0.as_deref(),
        problem.factors().as_deref(),
    );
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(_, b)| !b.is_nan()).map(|(a, b)| a * b).sum::<f64>();
    sum(&y, &arrays.dy) + sum(&h_n, &arrays.dh_n)
}

/// Checks the derivative of the loss with respect to one number, by a central difference of fourth order. Its error is
/// about 1e-13 here. If there is a kink of the function or of its gradient within its steps, differences to one side with a small step take its place,
/// whose error is some 1e-6.
fn check_derivative(
    got: f64,
    problem: &Problem,
    arrays: &Arrays<f64>,
    name: &str,
    number: impl Fn(&mut Arrays<f64>) -> &mut f64,
) -> Result<(), TestCaseError> {
    const STEP: f64 = 1e-3;
    const SMALL: f64 = 1e-6;
    let at = |offset: f64| {
        let mut moved = arrays.clone();
        *number(&mut moved) += offset;
        loss(problem, &moved)
    };
    let near = |expected: f64, tolerance: f64| (got - expected).abs() <= tolerance * expected.abs().max(1.0);
    let expected = (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP);
    let one_sided = || [SMALL, -SMALL].map(|step| (at(step) - at(0.0)) / step);
    prop_assert!(
        near(expected, 1e-7) || problem.has_bends() && one_sided().into_iter().any(|side| near(side, 1e-5)),
        "{name}: {got}, expected {expected}"
    );
    Ok(())
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
        for (i, &got) in results.dparams.iter().enumerate() {
            check_derivative(got, &problem, &arrays, &format!("dparams[{i}]"), |a| &mut a.params[i])?;
        }
        for (i, &got) in results.dx.iter().enumerate() {
            if arrays.x[i].is_nan() {
                prop_assert!(got == 0.0, "dx[{i}]: {got} in the padding");
            } else {
                check_derivative(got, &problem, &arrays, &format!("dx[{i}]"), |a| &mut a.x[i])?;
            }
        }
        for i in 0..arrays.h0.as_ref().map_or(0, Vec::len) {
            check_derivative(results.dh0[i], &problem, &arrays, &format!("dh0[{i}]"), |a| {
                &mut a.h0.as_mut().expect("checked above")[i]
            })?;
        }
    }
}

/// Errors could accumulate over a long sequence.
#[test]
fn errors_do_not_accumulate_over_a_thousand_steps() {
    for reset_after in [false, true] {
        let dims = rgru::Dims { reset_after, ..rgru::Dims::new(8, 33) };
        let problem = Problem { ragged: false, ..Problem::new(dims, vec![1000, 700], 7) };
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

/// The random problems have a larger epsilon.
#[test]
fn layer_norm_equals_the_reference_with_the_usual_epsilons() {
    for form in [NormForm::Separate, NormForm::Sum] {
        let cell = CellOptions { layer_norm: Some(LayerNorm::new(form)), ..CellOptions::default() };
        let dims = rgru::Dims { reset_after: true, num_layers: 2, cell, ..rgru::Dims::new(8, 33) };
        compare::<f64>(&Problem::new(dims, vec![30, 0, 12], 7), 1e-12).unwrap();
        compare::<f32>(&Problem::new(dims, vec![30, 0, 12], 7), 1e-5).unwrap();
    }
}

/// The random problems are small. Here W exceeds the second-level cache, so that a product for the gradients of inputs
/// takes rows of several sequences, the longest ones need two such products, and gradients are copied for the weights'.
#[test]
fn large_weights_equal_the_reference() {
    let lengths: Vec<i64> = (0..12).map(|n| 6 * n).collect();
    let dims = rgru::Dims { bidirectional: true, ..rgru::Dims::new(520, 88) };
    compare::<f64>(&Problem::new(dims, lengths, 7), 1e-13).unwrap();
}
