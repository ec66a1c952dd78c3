//! Matrix products on the register tile: C = A B, A given by rows, B packed.

use super::Kernels;
use super::lanes::Lanes;
use super::pack::PackedMatrix;
use super::real::Real;
use super::tile::{Accumulators, CHUNK, RowPointers, Tile, accumulate, cover, rows_from};

/// What the chains of a product start from.
#[derive(Clone, Copy)]
pub enum Start<'a, T> {
    /// The same row, `[columns]`, for every row of C.
    Bias(&'a [T]),
    /// What C holds: the product goes on with C's chains.
    Continue,
    /// 0, and the finished sum is added to C: one block of a blocked sum.
    Sum,
}

/// Arguments of the kernel: one chunk of rows.
pub struct MatmulArgs<T> {
    rows: usize,
    a: RowPointers<T>, // [rows][depth], `step` apart
    step: usize,
    b: *const T, // packed
    depth: usize,
    columns: usize,
    init: *const T, // [rows or 1, columns], or null for zeros
    init_stride: usize,
    add: bool,
    c: *mut T, // [rows, columns]
    c_stride: usize,
    width: usize,
}

/// C[r][j] = start + sum over k of a(r)[k] B[k][j], for r in 0..rows; C's rows are `stride` apart.
///
/// # Panics
/// Where an operand is too short for the product.
pub fn matmul<'a, T: Real>(
    kernels: &Kernels<T>,
    rows: usize,
    a: impl Fn(usize) -> &'a [T],
    b: &PackedMatrix<T>,
    start: Start<T>,
    c: &mut [T],
    stride: usize,
) {
    matmul_strided(kernels, rows, a, 1, b, start, c, stride);
}

/// As [`matmul`], with a(r)[k * step] in the place of a(r)[k]: A may be read down its columns.
///
/// # Panics
/// Where an operand is too short for the product.
pub fn matmul_strided<'a, T: Real>(
    kernels: &Kernels<T>,
    rows: usize,
    a: impl Fn(usize) -> &'a [T],
    step: usize,
    b: &PackedMatrix<T>,
    start: Start<T>,
    c: &mut [T],
    stride: usize,
) {
    if rows == 0 || b.columns == 0 {
        return;
    }
    assert_eq!(b.lanes, kernels.lanes, "matrix packed for another instruction set");
    let last = (rows - 1).checked_mul(stride).and_then(|last| last.checked_add(b.columns));
    assert!(stride >= b.columns && last.is_some_and(|last| c.len() >= last), "output too short");
    if let Start::Bias(bias) = start {
        assert!(bias.len() >= b.columns, "bias too short");
    }
    let span = b.depth.checked_sub(1).map_or(Some(0), |last| last.checked_mul(step)?.checked_add(1));
    let span = span.expect("rows that fit into memory addresses");
    for first in (0..rows).step_by(CHUNK) {
        let chunk = CHUNK.min(rows - first);
        let mut pointers = [std::ptr::null(); CHUNK];
        for (r, pointer) in pointers[..chunk].iter_mut().enumerate() {
            *pointer = a(first + r)[..span].as_ptr();
        }
        let c = c[first * stride..].as_mut_ptr();
        let (init, init_stride) = match start {
            Start::Bias(bias) => (bias.as_ptr(), 0),
            Start::Continue => (c.cast_const(), stride),
            Start::Sum => (std::ptr::null(), 0),
        };
        let args = MatmulArgs {
            rows: chunk,
            a: pointers,
            step,
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
        // SAFETY: the kernels exist only for instruction sets of this machine. Every row of A spans `depth` places
        // (sliced above), B is packed for these lanes, C and the bias hold what the asserts say.
        unsafe { (kernels.matmul)(&args) }
    }
}

/// The kernel.
///
/// # Safety
/// The instruction set of `L` is present and the arguments are as [`matmul`] makes them.
#[inline(always)]
pub unsafe fn run<L: Lanes>(args: &MatmulArgs<L::Elem>) {
    let vectors = args.columns.div_ceil(L::COUNT);
    let (panels, tail) = (vectors / args.width, vectors % args.width);
    // SAFETY: the caller's promise; all full panels, then the narrower one.
    unsafe {
        match args.width {
            1 => cover::<L, 1>(args.rows, 0..panels, args),
            2 => cover::<L, 2>(args.rows, 0..panels, args),
            3 => cover::<L, 3>(args.rows, 0..panels, args),
            width => unreachable!("panels of {width} vectors"),
        }
        match tail {
            0 => {}
            1 => cover::<L, 1>(args.rows, panels..panels + 1, args),
            2 => cover::<L, 2>(args.rows, panels..panels + 1, args),
            width => unreachable!("panels of {width} vectors"),
        }
    }
}

impl<L: Lanes> Tile<L> for MatmulArgs<L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize) {
        let depth = self.depth;
        let column = |p: usize, v: usize| ((panel + p) * self.width + v) * L::COUNT;
        // SAFETY: the tile lies within the output, and the operands are as the caller of the kernel promised: loads
        // and stores of outputs are cut at `columns`.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::splat(L::Elem::ZERO); V]; P]; R];
            if !self.init.is_null() {
                for r in 0..R {
                    for p in 0..P {
                        for v in 0..V {
                            let from = self.init.add((row + r) * self.init_stride + column(p, v));
                            acc[r][p][v] = L::load_first(from, self.columns - column(p, v));
                        }
                    }
                }
            }
            let b = std::array::from_fn(|p| self.b.add((panel + p) * self.width * depth * L::COUNT));
            accumulate::<L, R, P, V>(&mut acc, &rows_from(&self.a, row), &b, depth, self.step);
            for r in 0..R {
                for p in 0..P {
                    for v in 0..V {
                        let to = self.c.add((row + r) * self.c_stride + column(p, v));
                        let n = self.columns - column(p, v);
                        let sum = acc[r][p][v];
                        let sum = if self.add { L::load_first(to, n) + sum } else { sum };
                        sum.store_first(to, n);
                    }
                }
            }
        }
    }
}
