//! Sums of outer products over many steps: gradients of weights.

use super::Kernels;
use super::crew::{Crew, Engine};
use super::matmul::{Start, matmul_transposed};
use super::pack::PackedMatrix;
use super::real::Real;
use super::weights::WIDTH;

/// Steps in a block of the sum.
pub const BLOCK: usize = 256;

/// out += sum over steps k in 0..steps of `a_k` b(k)^T; out is `[rows, columns]`, `a_k` are the `rows` numbers of `a` from
/// `k * stride` on, b(k) has `columns` numbers.
///
/// The sum is cut into blocks of [`BLOCK`] steps, each one chain, which are added in order: the bits do not depend on
/// which rows are computed together. Calls `check` before each block.
///
/// # Errors
/// What `check` returns.
pub fn outer_sum<'a, T: Real, E>(
    kernels: &'static Kernels<T>,
    steps: usize,
    a: &'a [T],
    stride: usize,
    b: impl Fn(usize) -> &'a [T],
    columns: usize,
    out: &mut [T],
    check: impl Fn() -> Result<(), E>,
) -> Result<(), E> {
    let rows = out.len() / columns.max(1);
    let engine = Engine { kernels, crew: &Crew::alone() };
    let mut packed = PackedMatrix::new(kernels.lanes, WIDTH);
    for first in (0..steps).step_by(BLOCK) {
        check()?;
        packed.pack_rows(BLOCK.min(steps - first), columns, |k| b(first + k));
        let a = &a[first * stride..];
        matmul_transposed(engine, rows, a, stride, &packed, Start::Sum, out, columns);
    }
    Ok(())
}
