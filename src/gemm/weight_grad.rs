//! Sums over many steps: of outer products for the gradients of weights, of rows for those of biases.

use super::kernels::ProductKernels;
use crate::error::Error;
use crate::gemm::matmul::{MAX_DEPTH, Start, matmul_transposed};
use crate::gemm::pack::{PackedMatrix, WIDTH};
use crate::gemm::tile::Pointers;
use crate::memory::aligned::Aligned;
use crate::simd::float::Float;
use crate::threads::team::{Engine, Team};

/// Steps in a block of a sum. Each result is one chain within a block, and blocks are added in order, so the bits
/// depend only on how the steps are cut into blocks.
pub const BLOCK: usize = MAX_DEPTH;

/// Adds sums of outer products.
pub struct OuterSum<T: 'static> {
    kernels: &'static ProductKernels<T>,
    packed: PackedMatrix<T>,
    copy: Aligned<T>,
}

impl<T: Float> OuterSum<T> {
    /// Uses the kernels of an instruction set.
    pub fn new(kernels: &'static ProductKernels<T>) -> Self {
        Self { kernels, packed: PackedMatrix::new(kernels.lanes, WIDTH), copy: Aligned::default() }
    }

    /// out += sum over a block's steps k of a(k) b(k)^T: out `[rows, columns]`, a(k) `[rows]`, b(k) `[columns]`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    ///
    /// # Panics
    /// If an operand is too short, or there are more than [`BLOCK`] steps.
    pub fn add<'a>(
        &mut self,
        steps: usize,
        a: impl Fn(usize) -> &'a [T],
        b: impl Fn(usize) -> &'a [T],
        columns: usize,
        out: &mut [T],
    ) -> Result<(), Error> {
        let engine = Engine { kernels: self.kernels, team: &Team::alone() };
        self.packed.pack_rows(steps, columns, b)?;
        let rows = out.len() / columns.max(1);
        matmul_transposed(engine, rows, a, &self.packed, Start::Sum, out, columns, &mut self.copy)
    }
}

/// out += sum over a block's steps k of a(k), `[rows]`.
///
/// # Panics
/// If a row is too short, or there are more than [`BLOCK`] steps.
pub fn add_rows<'a, T: Float>(kernels: &ProductKernels<T>, steps: usize, a: impl Fn(usize) -> &'a [T], out: &mut [T]) {
    let mut starts = Pointers::<_, BLOCK>::default();
    let starts = starts.fill(steps, |k| a(k)[..out.len()].as_ptr());
    // SAFETY: the kernels exist only for instruction sets of this machine; the rows hold as many numbers as `out`.
    unsafe { (kernels.add_rows)(starts, out) }
}
