//! Dot products in f64, in a fixed order that compilers can vectorise.

use crate::simd::float::Float;

/// The number of interleaved chains of the sum.
const CHAINS: usize = 8;

/// Computes the sum of a * b in f64, in eight interleaved chains that are added at the end.
pub fn dot<T: Float>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0.0; CHAINS];
    for (a, b) in a.chunks(CHAINS).zip(b.chunks(CHAINS)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.to_f64() * b.to_f64();
        }
    }
    sums.iter().sum()
}
