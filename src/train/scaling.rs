//! Standardisation of a model's inputs and targets.

use crate::error::Error;
use crate::shape::expect_shape;
use crate::simd::float::Float;

/// The exponents of the powers of two that columns are scaled by: both ends, and their inverses, are normal numbers.
const UNITS: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Adding a mean of up to this magnitude to the largest f64, with either sign, does not change it.
const LARGE_MEAN: f64 = f64::MAX * f64::EPSILON / 8.0;

/// Computes the mean and the standard deviation of each column of x `[M, F]`, with M at least 1. The deviation of a
/// constant column is given as 1.
///
/// All sums are in f64, each as one chain in the order of the rows. Columns are scaled by the power of two of their
/// largest magnitude, so that no square leaves the range of f64; the scaling itself is exact.
///
/// # Errors
/// [`Error::Value`] if the length of x is not a multiple of `features`.
pub fn measure<X: Float>(x: &[X], features: usize) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let width = features.max(1);
    let rows = x.len() / width;
    expect_shape("x", &[rows * width], &[x.len()])?;
    let (mut least, mut most) = (vec![f64::INFINITY; features], vec![f64::NEG_INFINITY; features]);
    for row in x.chunks_exact(width) {
        for ((least, most), x) in least.iter_mut().zip(&mut most).zip(row) {
            *least = least.min(x.to_f64());
            *most = most.max(x.to_f64());
        }
    }
    let exponent = |(least, most): (&f64, &f64)| {
        let (_, exponent) = libm::frexp(least.abs().max(most.abs()));
        exponent.clamp(*UNITS.start(), *UNITS.end())
    };
    let exponents: Vec<i32> = least.iter().zip(&most).map(exponent).collect();
    let to_unit: Vec<f64> = exponents.iter().map(|&exponent| libm::ldexp(1.0, -exponent)).collect();
    let count = rows as f64;
    let mut mean = vec![0.0; features];
    // Twice: the second pass adds what rounding has lost in the first.
    for _ in 0..2 {
        let mut sum = vec![0.0; features];
        for row in x.chunks_exact(width) {
            for (((sum, x), unit), mean) in sum.iter_mut().zip(row).zip(&to_unit).zip(&mean) {
                *sum += x.to_f64() * unit - mean;
            }
        }
        mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean += sum / count);
    }
    let mut squares = vec![0.0; features];
    for row in x.chunks_exact(width) {
        for (((squares, x), unit), mean) in squares.iter_mut().zip(row).zip(&to_unit).zip(&mean) {
            let deviation = x.to_f64() * unit - mean;
            *squares += deviation * deviation;
        }
    }
    let mut scale = vec![1.0; features];
    for column in 0..features {
        let (least, most) = (least[column], most[column]);
        // Rounding must not lead out of the column's range: the mean of a constant is that constant.
        mean[column] = libm::ldexp(mean[column], exponents[column]).max(least).min(most);
        if least != most {
            let deviation = libm::ldexp((squares[column] / count).sqrt(), exponents[column]);
            scale[column] = deviation.max(f64::from_bits(1)); // half of the smallest number rounds to 0
        }
    }
    Ok((mean, scale))
}

/// Computes out = (x - mean) / scale by column: x and out `[M, F]`, mean and scale `[F]`.
///
/// It computes in f64 and rounds to the type of `out` at the end, because a mean may be large compared with the
/// deviation, and a deviation may be tiny.
///
/// # Errors
/// [`Error::Value`] if a size does not fit.
pub fn standardise<X: Float, T: Float>(x: &[X], mean: &[f64], scale: &[f64], out: &mut [T]) -> Result<(), Error> {
    expect_shape("scale", &[mean.len()], &[scale.len()])?;
    expect_shape("out", &[x.len()], &[out.len()])?;
    // If a difference could leave the range of f64, halve all numbers, which is exact except for the smallest ones.
    if mean.iter().any(|mean| mean.abs() > LARGE_MEAN) {
        let halves = |numbers: &[f64]| -> Vec<f64> { numbers.iter().map(|number| 0.5 * number).collect() };
        standardise_with(|x| 0.5 * x, x, &halves(mean), &halves(scale), out);
    } else {
        standardise_with(|x| x, x, mean, scale, out);
    }
    Ok(())
}

fn standardise_with<X: Float, T: Float>(
    part: impl Fn(f64) -> f64,
    x: &[X],
    mean: &[f64],
    scale: &[f64],
    out: &mut [T],
) {
    let features = mean.len().max(1);
    for (out, x) in out.chunks_exact_mut(features).zip(x.chunks_exact(features)) {
        for (((out, x), mean), scale) in out.iter_mut().zip(x).zip(mean).zip(scale) {
            *out = T::from_f64((part(x.to_f64()) - mean) / scale);
        }
    }
}
