//! Sums over many steps: of outer products, the gradients of weights, and of rows, those of biases.

use super::Kernels;
use super::crew::{Crew, Engine};
use super::lanes::Lanes;
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
/// which rows are computed together. b is asked for ascending steps. Calls `check` before each block.
///
/// # Errors
/// What `check` returns.
pub fn outer_sum<'a, T: Real, E>(
    kernels: &'static Kernels<T>,
    steps: usize,
    a: &'a [T],
    stride: usize,
    mut b: impl FnMut(usize) -> &'a [T],
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

/// out += sum over steps k in 0..steps of the numbers of `a` from `k * stride` on, in blocks as [`outer_sum`].
///
/// # Panics
/// Where `a` is too short.
pub fn row_sum<T: Real>(kernels: &Kernels<T>, steps: usize, a: &[T], stride: usize, out: &mut [T]) {
    for first in (0..steps).step_by(BLOCK) {
        let count = BLOCK.min(steps - first);
        let a = &a[first * stride..][..(count - 1) * stride + out.len()];
        // SAFETY: the kernels exist only for instruction sets of this machine; `a` holds all rows, as just sliced.
        unsafe { (kernels.row_sum)(a, count, stride, out) }
    }
}

/// The kernel: one block.
///
/// # Safety
/// The instruction set of `L` is present; `a` holds `count` rows of as many numbers as `out`, `stride` apart.
#[inline(always)]
pub unsafe fn sum_block<L: Lanes>(a: &[L::Elem], count: usize, stride: usize, out: &mut [L::Elem]) {
    let mut column = 0;
    while column < out.len() {
        let n = out.len() - column;
        // SAFETY: the caller's promise; loads and stores are cut at the end of `out` and of the rows.
        unsafe {
            let (from, to) = (a.as_ptr().add(column), out.as_mut_ptr().add(column));
            // Several chains at once, since each waits for itself.
            if n >= CHAINS * L::COUNT {
                let mut sums = [L::splat(L::Elem::ZERO); CHAINS];
                for k in 0..count {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = *sum + L::load(from.add(k * stride + v * L::COUNT));
                    }
                }
                for (v, sum) in sums.into_iter().enumerate() {
                    let to = to.add(v * L::COUNT);
                    (L::load(to) + sum).store(to);
                }
                column += CHAINS * L::COUNT;
            } else {
                let mut sum = L::splat(L::Elem::ZERO);
                for k in 0..count {
                    sum = sum + L::load_first(from.add(k * stride), n);
                }
                (L::load_first(to, n) + sum).store_first(to, n);
                column += L::COUNT;
            }
        }
    }
}

/// Vectors whose sums are taken side by side.
const CHAINS: usize = 6;
