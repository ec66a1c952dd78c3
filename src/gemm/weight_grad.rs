//! Sums over many steps: of outer products, the gradients of weights, and of rows, those of biases.

use crate::cell::weights::WIDTH;
use crate::gemm::matmul::{MOST_DEEP, Start, matmul_transposed};
use crate::gemm::pack::PackedMatrix;
use crate::gemm::tile::Pointers;
use crate::simd::Kernels;
use crate::simd::float::Real;
use crate::simd::lanes::Lanes;
use crate::threads::team::{Crew, Engine};

/// Steps in a block of a sum. A block is one chain for each result; blocks are added in order. So the bits depend on how
/// the steps are cut into blocks alone.
pub const BLOCK: usize = MOST_DEEP;

/// Adds sums of outer products.
pub struct OuterSum<T: 'static> {
    kernels: &'static Kernels<T>,
    packed: PackedMatrix<T>,
}

impl<T: Real> OuterSum<T> {
    /// With the kernels of an instruction set.
    pub fn new(kernels: &'static Kernels<T>) -> Self {
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
        let engine = Engine { kernels: self.kernels, crew: &Crew::alone() };
        self.packed.pack_rows(steps, columns, b);
        matmul_transposed(engine, out.len() / columns.max(1), a, &self.packed, Start::Sum, out, columns);
    }
}

/// out += sum over a block's steps k of a(k), `[rows]`.
///
/// # Panics
/// As [`OuterSum::add`].
pub fn add_rows<'a, T: Real>(kernels: &Kernels<T>, steps: usize, a: impl Fn(usize) -> &'a [T], out: &mut [T]) {
    let mut starts = Pointers::<_, BLOCK>::default();
    let starts = starts.fill(steps, |k| a(k)[..out.len()].as_ptr());
    // SAFETY: the kernels exist only for instruction sets of this machine; the rows hold as many numbers as `out`.
    unsafe { (kernels.add_rows)(starts, out) }
}

/// The kernel.
///
/// # Safety
/// The instruction set of `L` is present; at each start are as many numbers as in `out`.
#[inline(always)]
pub unsafe fn add_block<L: Lanes>(starts: &[*const L::Elem], out: &mut [L::Elem]) {
    let mut column = 0;
    while column < out.len() {
        let n = out.len() - column;
        // SAFETY: the caller's promise; loads and stores are cut at the end of `out` and of the rows.
        unsafe {
            let to = out.as_mut_ptr().add(column);
            // Several chains at once, since each waits for itself.
            if n >= CHAINS * L::COUNT {
                let mut sums = [L::splat(L::Elem::ZERO); CHAINS];
                for start in starts {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = *sum + L::load(start.add(column + v * L::COUNT));
                    }
                }
                for (v, sum) in sums.into_iter().enumerate() {
                    let to = to.add(v * L::COUNT);
                    (L::load(to) + sum).store(to);
                }
                column += CHAINS * L::COUNT;
            } else {
                let mut sum = L::splat(L::Elem::ZERO);
                for start in starts {
                    sum = sum + L::load_first(start.add(column), n);
                }
                (L::load_first(to, n) + sum).store_first(to, n);
                column += L::COUNT;
            }
        }
    }
}

/// Vectors whose sums are taken side by side.
const CHAINS: usize = 6;
