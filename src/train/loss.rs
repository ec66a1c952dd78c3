//! Losses and their gradients. Sums are taken in f64, in order.

use crate::error::Error;
use crate::shape::expect_shape;
use crate::simd::float::Float;

/// Replaces each row of logits `[M, C]` by its probabilities.
pub fn softmax<T: Float>(classes: usize, logits: &mut [T]) {
    for row in logits.chunks_mut(classes.max(1)) {
        let largest = row.iter().fold(row[0], |a, &b| if b > a { b } else { a });
        let mut sum = 0.0;
        for value in row.iter_mut() {
            *value = (*value - largest).exp();
            sum += value.to_f64();
        }
        for value in row {
            *value = T::from_f64(value.to_f64() / sum);
        }
    }
}

/// Computes the mean cross-entropy, in nats, of logits `[M, C]` and target classes `[M]`, and replaces the logits by
/// its gradient.
///
/// # Errors
/// [`Error::Value`] if a target is not in 0..C, or a size does not fit.
pub fn cross_entropy<T: Float>(classes: usize, logits: &mut [T], targets: &[i64]) -> Result<f64, Error> {
    let rows = targets.len();
    expect_shape("targets", &[logits.len() / classes.max(1)], &[rows])?;
    let outside = |&target: &i64| usize::try_from(target).map_or(true, |target| target >= classes);
    if let Some(at) = targets.iter().position(outside) {
        let got = format!("{} at position {at}", targets[at]);
        return Err(Error::value("targets", format!("classes in 0..{classes}"), got));
    }
    let mut loss = 0.0;
    for (row, &target) in logits.chunks_mut(classes.max(1)).zip(targets) {
        let target = target.unsigned_abs() as usize;
        let largest = row.iter().fold(row[0], |a, &b| if b > a { b } else { a });
        let sum: f64 = row.iter().map(|&value| libm::exp((value - largest).to_f64())).sum();
        loss += libm::log(sum) - (row[target] - largest).to_f64();
        for (class, value) in row.iter_mut().enumerate() {
            let probability = libm::exp((*value - largest).to_f64()) / sum;
            *value = T::from_f64((probability - f64::from(u8::from(class == target))) / rows as f64);
        }
    }
    Ok(loss / rows.max(1) as f64)
}

/// Computes the mean squared error over all numbers, and replaces the predictions by its gradient.
///
/// # Errors
/// [`Error::Value`] if a size does not fit.
pub fn mean_squared_error<T: Float>(prediction: &mut [T], target: &[T]) -> Result<f64, Error> {
    expect_shape("target", &[prediction.len()], &[target.len()])?;
    let count = prediction.len().max(1) as f64;
    let mut loss = 0.0;
    for (value, &target) in prediction.iter_mut().zip(target) {
        let error = (*value - target).to_f64();
        loss += error * error;
        *value = T::from_f64(2.0 * error / count);
    }
    Ok(loss / count)
}
