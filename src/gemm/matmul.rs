//! Matrix products on the register tile: C = A B, A given by rows or transposed, B packed.

use std::ops::Range;

use crate::gemm::pack::PackedMatrix;
use crate::gemm::tile::{Accumulators, Columns, Left, Next, Pointers, Rows, Tile, Walk, accumulate, cover_mixed};
use crate::simd::float::Real;
use crate::simd::lanes::Lanes;
use crate::threads::team::{Engine, share};

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
    a: Operand<T>,
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

// SAFETY: the parts of a product write to different columns of C, and nothing else writes to what the pointers point to
// while it runs.
unsafe impl<T: Send + Sync> Sync for MatmulArgs<T> {}

/// The left operand of a chunk.
pub(crate) enum Operand<T> {
    Rows(*const *const T),           // [rows][depth]
    Columns(*const *const T, usize), // [depth][rows], and the first row
}

/// C[r][j] = start + sum over k of a(r)[k] B[k][j], for r in 0..rows; C's rows are `stride` apart.
///
/// # Panics
/// Where an operand is too short for the product.
pub fn matmul<'a, T: Real>(
    engine: Engine<T>,
    rows: usize,
    a: impl Fn(usize) -> &'a [T],
    b: &PackedMatrix<T>,
    start: Start<T>,
    c: &mut [T],
    stride: usize,
) {
    let mut starts = Pointers::<_, MOST_ROWS>::default();
    let chunk = |first: usize, count| Operand::Rows(starts.fill(count, |r| a(first + r)[..b.depth].as_ptr()).as_ptr());
    in_chunks(engine, rows, chunk, b, start, c, stride);
}

/// As [`matmul`], with a(k)[r] in the place of a(r)[k]; B is [`MOST_DEEP`] at most.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_transposed<'a, T: Real>(
    engine: Engine<T>,
    rows: usize,
    a: impl Fn(usize) -> &'a [T],
    b: &PackedMatrix<T>,
    start: Start<T>,
    c: &mut [T],
    stride: usize,
) {
    let mut starts = Pointers::<_, MOST_DEEP>::default();
    let starts = starts.fill(b.depth, |k| a(k)[..rows].as_ptr()).as_ptr();
    let chunk = |first: usize, _| Operand::Columns(starts, first);
    in_chunks(engine, rows, chunk, b, start, c, stride);
}

/// Rows of a chunk at most. All of B is read for each chunk, and the chunk's part of A and C for each panel of B: many
/// rows for a B beyond the caches, few for one that stays in them, so that A and C do too.
const MOST_ROWS: usize = 256;
const FEW_ROWS: usize = 64;

/// Bytes of a B beyond the second-level cache.
const LARGE: usize = 1 << 20;

/// Depth of a product with a transposed operand; its pointers live on the stack.
pub const MOST_DEEP: usize = 256;

/// Runs the kernel on the chunks of rows; `a` gives the left operand of a chunk from its first row and their number,
/// readable for all of them at `depth` places.
fn in_chunks<T: Real>(
    engine: Engine<T>,
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
    let most = if size_of_val(&b.data[..]) > LARGE { MOST_ROWS } else { FEW_ROWS };
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
        engine.crew.run(|i, n| {
            // SAFETY: the kernels exist only for instruction sets of this machine. A is readable for `rows` and `depth`
            // (its makers' promise), B is packed for these lanes, C and the bias hold what the asserts say.
            unsafe { kernel(&args, share(b.panels(), i, n)) }
        });
    }
}

/// The kernel, for some of the panels.
///
/// # Safety
/// The instruction set of `L` is present and the arguments are as [`matmul`] makes them.
#[inline(always)]
pub unsafe fn run<L: Lanes>(args: &MatmulArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        match args.a {
            Operand::Rows(starts) => cover_panels::<L>(args, panels, &ByRows { args, starts }),
            Operand::Columns(starts, first) => cover_panels::<L>(args, panels, &ByColumns { args, starts, first }),
        }
    }
}

#[inline(always)]
unsafe fn cover_panels<L: Lanes>(args: &MatmulArgs<L::Elem>, panels: Range<usize>, tile: &impl Tile<L>) {
    let walk = Walk { range: panels, down: false };
    // SAFETY: the caller's promise.
    unsafe { cover_mixed::<L>(args.rows, args.columns.div_ceil(L::COUNT), args.width, walk, tile) }
}

struct ByRows<'a, T> {
    args: &'a MatmulArgs<T>,
    starts: *const *const T,
}

impl<L: Lanes> Tile<L> for ByRows<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        // SAFETY: the caller's promise.
        unsafe { self.args.tile::<L, R, P, V>(&Rows::<_, R>::from(self.starts.add(row)), row, panel, next) }
    }
}

struct ByColumns<'a, T> {
    args: &'a MatmulArgs<T>,
    starts: *const *const T,
    first: usize,
}

impl<L: Lanes> Tile<L> for ByColumns<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        // SAFETY: the caller's promise.
        unsafe {
            let columns = Columns { starts: self.starts, first: self.first + row };
            self.args.tile::<L, R, P, V>(&columns, row, panel, next);
        }
    }
}

impl<T: Real> MatmulArgs<T> {
    /// Of C + A B for one chunk; the caller answers for the operands.
    pub(crate) fn adding(
        rows: usize,
        a: Operand<T>,
        b: &PackedMatrix<T>,
        columns: usize,
        c: *mut T,
        c_stride: usize,
    ) -> Self {
        Self {
            rows,
            a,
            b: b.data.as_ptr(),
            depth: b.depth,
            columns,
            init: c,
            init_stride: c_stride,
            add: false,
            c,
            c_stride,
            width: b.width,
        }
    }

    #[inline(always)]
    unsafe fn tile<L: Lanes<Elem = T>, const R: usize, const P: usize, const V: usize>(
        &self,
        a: &impl Left<T>,
        row: usize,
        panel: usize,
        next: Next,
    ) {
        let first = panel * self.width * L::COUNT;
        let valid = self.columns - first;
        // SAFETY: the tile lies within the output, and the operands are as the caller of the kernel promised. Where a
        // tile is wider than what is left of the output, or its sums are to be added, it works on a copy.
        unsafe {
            let (to, from) =
                (self.c.add(row * self.c_stride + first), self.init.wrapping_add(row * self.init_stride + first));
            let mut acc: Accumulators<L, R, P, V> = [[[L::splat(T::ZERO); V]; P]; R];
            let mut copy = acc;
            let copy: *mut T = (&raw mut copy).cast();
            let width = P * V * L::COUNT;
            let direct = valid >= width && !self.add;
            let vectors = valid.min(width).div_ceil(L::COUNT);
            let rows = R.min(self.rows - row); // R, which the compiler shall not know here: it would unroll
            let (start, stride) = if direct { (from, self.init_stride) } else { (copy.cast_const(), width) };
            if !self.init.is_null() {
                if !direct {
                    for r in 0..rows {
                        for v in 0..vectors {
                            let at = v * L::COUNT;
                            L::load_first(from.add(r * self.init_stride + at), valid - at)
                                .store(copy.add(r * width + at));
                        }
                    }
                }
                for r in 0..R {
                    for p in 0..P {
                        for v in 0..V {
                            acc[r][p][v] = L::load(start.add(r * stride + (p * V + v) * L::COUNT));
                        }
                    }
                }
            }
            let start = |panel: usize| self.b.wrapping_add(panel * self.width * self.depth * L::COUNT);
            let b = std::array::from_fn(|p| start(panel + p));
            accumulate(&mut acc, a, &b, self.depth, next.fetch::<L, V>(start(next.panel), self.depth));
            let (out, stride) = if direct { (to, self.c_stride) } else { (copy, width) };
            for r in 0..R {
                for p in 0..P {
                    for v in 0..V {
                        acc[r][p][v].store(out.add(r * stride + (p * V + v) * L::COUNT));
                    }
                }
            }
            if !direct {
                for r in 0..rows {
                    for v in 0..vectors {
                        let at = v * L::COUNT;
                        let (sum, to) = (L::load(copy.add(r * width + at)), to.add(r * self.c_stride + at));
                        let sum = if self.add { L::load_first(to, valid - at) + sum } else { sum };
                        sum.store_first(to, valid - at);
                    }
                }
            }
        }
    }
}
