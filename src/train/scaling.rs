//! Standardisation of a model's input.

use crate::error::Error;
use crate::shape::expect_shape;
use crate::simd::float::Float;

/// out = (x - mean) / scale, column by column: x and out `[M, F]`, mean and scale `[F]`.
///
/// In f64, and rounded once at the end: a mean may be large beside its deviation, a deviation tiny.
///
/// # Errors
/// Sizes that do not fit.
pub fn standardise<X: Float, T: Float>(x: &[X], mean: &[f64], scale: &[f64], out: &mut [T]) -> Result<(), Error> {
    expect_shape("scale", &[mean.len()], &[scale.len()])?;
    expect_shape("out", &[x.len()], &[out.len()])?;
    let features = mean.len().max(1);
    for (out, x) in out.chunks_exact_mut(features).zip(x.chunks_exact(features)) {
        for (((out, x), mean), scale) in out.iter_mut().zip(x).zip(mean).zip(scale) {
            *out = T::from_f64((x.to_f64() - mean) / scale);
        }
    }
    Ok(())
}
