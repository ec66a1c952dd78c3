//! The outputs of two directions as one.

use crate::shape::Merge;
use crate::simd::float::Float;

/// Writes the merged rows `[rows, H]` of the states of both directions `[rows, 2H]`.
pub fn merge<T: Float>(kind: Merge, hidden: usize, states: &[T], out: &mut [T]) {
    if kind == Merge::Concat {
        return out.copy_from_slice(states);
    }
    for (both, out) in states.chunks_exact(2 * hidden).zip(out.chunks_exact_mut(hidden)) {
        let (forward, reverse) = both.split_at(hidden);
        for ((out, &f), &r) in out.iter_mut().zip(forward).zip(reverse) {
            *out = match kind {
                Merge::Mean => (f + r) * T::from_f64(0.5),
                Merge::Product => f * r,
                Merge::Sum | Merge::Concat => f + r,
            };
        }
    }
}

/// The backward pass of [`merge`]: writes the gradients `d` of the states for those of the merged rows, `dy`.
pub(super) fn merge_backward<T: Float>(kind: Merge, hidden: usize, states: &[T], dy: &[T], d: &mut [T]) {
    if kind == Merge::Concat {
        return d.copy_from_slice(dy);
    }
    let rows = states.chunks_exact(2 * hidden).zip(dy.chunks_exact(hidden)).zip(d.chunks_exact_mut(2 * hidden));
    for ((both, dy), d) in rows {
        let ((forward, reverse), (d_forward, d_reverse)) = (both.split_at(hidden), d.split_at_mut(hidden));
        for (i, &dy) in dy.iter().enumerate() {
            (d_forward[i], d_reverse[i]) = match kind {
                Merge::Mean => (dy * T::from_f64(0.5), dy * T::from_f64(0.5)),
                Merge::Product => (dy * reverse[i], dy * forward[i]),
                Merge::Sum | Merge::Concat => (dy, dy),
            };
        }
    }
}
