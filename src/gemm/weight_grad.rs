//! Sums over many steps: of outer products, the gradients of weights, and of rows, those of biases.

use super::kernels::ProductKernels;
use crate::gemm::matmul::{MOST_DEEP, Start, matmul_transposed};
use crate::gemm::pack::{PackedMatrix, WIDTH};
use crate::gemm::tile::Pointers;
use crate::simd::float::Float;
use crate::threads::team::{Engine, Team};

/// Steps in a block of a sum. A block is one chain for each result; blocks are added in order. So the bits depend on how
/// the steps are cut into blocks alone.
pub const BLOCK: usize = MOST_DEEP;

/// Adds sums of outer products.
pub struct OuterSum<T: 'static> {
    kernels: &'static ProductKernels<T>,
    packed: PackedMatrix<T>,
}

impl<T: Float> OuterSum<T> {
    /// With the kernels of an instruction set.
    pub fn new(kernels: &'static ProductKernels<T>) -> Self {
        Self { kernels, packed: PackedMatrix::new(kernels.lanes, WIDTH) }
    }

    /// out += sum over a block's steps k of a(k) b(k)^T: out `[rows, columns]`, a(k) `[rows]`, b(k) `[columns]`.
    ///
    /// # Panics
    /// Where an operand is too short, or with more than [`BLOCK`] steps.
    pub fn add<'a>(
        &mut self,
        steps: usize,
        a: impl Fn(usize) -> &'a [T],
        b: impl Fn(usize) -> &'a [T],
        columns: usize,
        out: &mut [T],
    ) {
        let engine = Engine { kernels: self.kernels, team: &Team::alone() };
        self.packed.pack_rows(steps, columns, b);
        matmul_transposed(engine, out.len() / columns.max(1), a, &self.packed, Start::Sum, out, columns);
    }
}

/// out += sum over a block's steps k of a(k), `[rows]`.
///
/// # Panics
/// As [`OuterSum::add`].
pub fn add_rows<'a, T: Float>(kernels: &ProductKernels<T>, steps: usize, a: impl Fn(usize) -> &'a [T], out: &mut [T]) {
    let mut starts = Pointers::<_, BLOCK>::default();
    let starts = starts.fill(steps, |k| a(k)[..out.len()].as_ptr());
    // SAFETY: the kernels exist only for instruction sets of this machine; the rows hold as many numbers as `out`.
    unsafe { (kernels.add_rows)(starts, out) }
}
