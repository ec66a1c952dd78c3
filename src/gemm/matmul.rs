//! Matrix products: C = A B, with A given by rows or transposed, and B packed.

use crate::error::Error;
use crate::gemm::kernels::ProductKernels;
use crate::gemm::pack::PackedMatrix;
use crate::gemm::product::{MatmulArgs, Operand};
use crate::gemm::tile::Pointers;
use crate::memory::aligned::Aligned;
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

/// As [`matmul`], with `a(k)[r]` in place of `a(r)[k]`. The depth of B is [`MAX_DEPTH`] at most. Rows of A may be
/// copied to `copy`, whose size is changed as needed.
///
/// # Errors
/// [`Error::Memory`].
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
    copy: &mut Aligned<T>,
) -> Result<(), Error> {
    let mut starts = Pointers::<_, MAX_DEPTH>::default();
    if b.panels() < COPIED_PANELS {
        let starts = starts.fill(b.depth, |k| a(k)[..rows].as_ptr()).as_ptr();
        in_chunks(engine, rows, |first, _| Operand::Columns(starts, first), b, start, c, stride);
        return Ok(());
    }
    let pitch = most_rows(b) + COPY_PAD;
    copy.resize(pitch * b.depth)?;
    let chunk = |first: usize, count: usize| {
        for (k, to) in copy.chunks_exact_mut(pitch).enumerate() {
            to[..count].copy_from_slice(&a(k)[first..first + count]);
        }
        Operand::Columns(starts.fill(b.depth, |k| copy[k * pitch..].as_ptr()).as_ptr(), 0)
    };
    in_chunks(engine, rows, chunk, b, start, c, stride);
    Ok(())
}

/// With so many panels of B, a copy of A's rows pays: each panel reads all of them, and a power of two bytes from one k
/// to the next, as most sizes of a cell make it, leaves them few lines of the caches.
const COPIED_PANELS: usize = 4;

/// Numbers between the rows of a copy, so that they do not compete for the same lines of the first-level cache.
const COPY_PAD: usize = 16;

/// The largest number of rows of a chunk. All of B is read for each chunk, and the chunk's rows of A and C for each
/// panel of B. A chunk has many rows if B exceeds the caches, and few if B stays in them, so that A and C stay there
/// too.
pub const MANY_ROWS: usize = 256;
const FEW_ROWS: usize = 64;

/// Returns the largest number of rows of a chunk of a product with B.
fn most_rows<T: Float>(b: &PackedMatrix<T>) -> usize {
    if b.exceeds_cache() { MANY_ROWS } else { FEW_ROWS }
}

/// The largest depth of a product with a transposed operand, whose pointers are on the stack.
pub const MAX_DEPTH: usize = 256;

/// Runs the kernel on chunks of rows. `a` returns the left operand of a chunk, given its first row and its number of
/// rows; the operand must be readable for all of them and `depth` numbers, until `a` is called again.
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
    let most = most_rows(b);
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
