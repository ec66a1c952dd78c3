//! Matrix products: C = A B, with A given by rows or transposed, and B packed.

use crate::gemm::kernels::ProductKernels;
use crate::gemm::pack::PackedMatrix;
use crate::gemm::product::{MatmulArgs, Operand};
use crate::gemm::tile::Pointers;
use crate::simd::float::Float;
use crate::threads::team::{Engine, share};

/// The numbers that the chains of a product start from.
#[derive(Clone, Copy)]
pub enum Start<'a, T> {
    /// A row, `[columns]`, which is the same for every row of C.
    Bias(&'a [T]),
    /// The numbers in C, whose chains the product continues.
    Continue,
    /// 0. The finished sum is added to C, as one block of a blocked sum.
    Sum,
}

/// Computes `C[r][j] = start + sum over k of a(r)[k] B[k][j]`, for r in 0..rows. The rows of C are `stride` numbers
/// apart.
///
/// # Panics
/// If an operand is too short for the product.
pub fn matmul<'a, T: Float>(
    engine: Engine<ProductKernels<T>>,
    rows: usize,
    a: impl Fn(usize) -> &'a [T],
    b: &PackedMatrix<T>,
    start: Start<T>,
    c: &mut [T],
    stride: usize,
) {
    let mut starts = Pointers::<_, MANY_ROWS>::default();
    let chunk = |first: usize, count| Operand::Rows(starts.fill(count, |r| a(first + r)[..b.depth].as_ptr()).as_ptr());
    in_chunks(engine, rows, chunk, b, start, c, stride);
}

/// As [`matmul`], with `a(k)[r]` in place of `a(r)[k]`. The depth of B is [`MAX_DEPTH`] at most.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_transposed<'a, T: Float>(
    engine: Engine<ProductKernels<T>>,
    rows: usize,
    a: impl Fn(usize) -> &'a [T],
    b: &PackedMatrix<T>,
    start: Start<T>,
    c: &mut [T],
    stride: usize,
) {
    let mut starts = Pointers::<_, MAX_DEPTH>::default();
    let starts = starts.fill(b.depth, |k| a(k)[..rows].as_ptr()).as_ptr();
    let chunk = |first: usize, _| Operand::Columns(starts, first);
    in_chunks(engine, rows, chunk, b, start, c, stride);
}

/// The largest number of rows of a chunk. All of B is read for each chunk, and the chunk's rows of A and C for each
/// panel of B. A chunk has many rows if B exceeds the caches, and few if B stays in them, so that A and C stay there
/// too.
const MANY_ROWS: usize = 256;
const FEW_ROWS: usize = 64;

/// A B of more bytes exceeds the second-level cache.
const LARGE_BYTES: usize = 1 << 20;

/// The largest depth of a product with a transposed operand, whose pointers are on the stack.
pub const MAX_DEPTH: usize = 256;

/// Runs the kernel on chunks of rows. `a` returns the left operand of a chunk, given its first row and its number of
/// rows; the operand must be readable for all of them and `depth` numbers.
fn in_chunks<T: Float>(
    engine: Engine<ProductKernels<T>>,
    rows: usize,
    mut a: impl FnMut(usize, usize) -> Operand<T>,
    b: &PackedMatrix<T>,
    start: Start<T>,
    c: &mut [T],
    stride: usize,
) {
    if rows == 0 || b.columns == 0 {
        return;
    }
    assert_eq!(b.lanes, engine.kernels.lanes, "matrix packed for another instruction set");
    let last = (rows - 1).checked_mul(stride).and_then(|last| last.checked_add(b.columns));
    assert!(stride >= b.columns && last.is_some_and(|last| c.len() >= last), "output too short");
    if let Start::Bias(bias) = start {
        assert!(bias.len() >= b.columns, "bias too short");
    }
    let most = if size_of_val(&b.data[..]) > LARGE_BYTES { MANY_ROWS } else { FEW_ROWS };
    for first in (0..rows).step_by(most) {
        let chunk = most.min(rows - first);
        let c = c[first * stride..].as_mut_ptr();
        let (init, init_stride) = match start {
            Start::Bias(bias) => (bias.as_ptr(), 0),
            Start::Continue => (c.cast_const(), stride),
            Start::Sum => (std::ptr::null(), 0),
        };
        let args = MatmulArgs {
            rows: chunk,
            a: a(first, chunk),
            b: b.data.as_ptr(),
            depth: b.depth,
            columns: b.columns,
            init,
            init_stride,
            add: matches!(start, Start::Sum),
            c,
            c_stride: stride,
            width: b.width,
        };
        let kernel = engine.kernels.matmul;
        engine.team.run(|i, n| {
            // SAFETY: the kernels exist only for instruction sets of this machine. The callers promise that A is
            // readable for `rows` and `depth`; B is packed for these lanes; C and the bias have the asserted lengths.
            unsafe { kernel(&args, share(b.panels(), i, n)) }
        });
    }
}
