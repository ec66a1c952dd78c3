//! Sums of outer products over many steps: gradients of weights.

use super::Kernels;
use super::matmul::{Start, matmul};
use super::pack::{Aligned, PackedMatrix};
use super::real::Real;
use super::weights::WIDTH;

/// Steps in a block of the sum.
pub const BLOCK: usize = 256;

/// out += sum over steps k in 0..steps of a(k) b(k)^T; out is `[rows, columns]`, a(k) has `rows` numbers, b(k) `columns`.
///
/// The sum is cut into blocks of [`BLOCK`] steps, each one chain, which are added in order: the bits do not depend on
/// which rows are computed together. Calls `check` before each block.
///
/// # Errors
/// What `check` returns.
pub fn outer_sum<'a, T: Real, E>(
    kernels: &Kernels<T>,
    steps: usize,
    a: impl Fn(usize) -> &'a [T],
    b: impl Fn(usize) -> &'a [T],
    columns: usize,
    out: &mut [T],
    check: impl Fn() -> Result<(), E>,
) -> Result<(), E> {
    let rows = out.len() / columns.max(1);
    let mut transposed = Aligned::zeros(rows * BLOCK);
    let mut packed = PackedMatrix::new(kernels.lanes, WIDTH);
    for first in (0..steps).step_by(BLOCK) {
        check()?;
        let depth = BLOCK.min(steps - first);
        for k in 0..depth {
            for (r, &value) in a(first + k)[..rows].iter().enumerate() {
                transposed[r * BLOCK + k] = value;
            }
        }
        packed.pack_rows(depth, columns, |k| b(first + k));
        matmul(kernels, rows, |r| &transposed[r * BLOCK..], &packed, Start::Sum, out, columns);
    }
    Ok(())
}
