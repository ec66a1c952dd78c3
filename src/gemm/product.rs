//! The kernel of matrix products: C = A B, with A given by rows or transposed, and B packed.

use std::ops::Range;

use crate::gemm::pack::PackedMatrix;
use crate::gemm::tile::{Accumulators, Columns, Left, Next, PanelOrder, Rows, Tile, accumulate, cover_mixed};
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// The arguments of the kernel, for one chunk of rows.
pub struct MatmulArgs<T> {
    pub(super) rows: usize,
    pub(super) a: Operand<T>,
    pub(super) b: *const T, // packed
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) init: *const T, // [rows or 1, columns], or null for zeros
    pub(super) init_stride: usize,
    pub(super) add: bool,
    pub(super) c: *mut T, // [rows, columns]
    pub(super) c_stride: usize,
    pub(super) width: usize,
}

// SAFETY: the parts of a product write to different columns of C, and nothing else writes to the memory that the
// pointers refer to while it runs.
unsafe impl<T: Send + Sync> Sync for MatmulArgs<T> {}

/// The left operand of a chunk.
pub(crate) enum Operand<T> {
    Rows(*const *const T),           // [rows][depth]
    Columns(*const *const T, usize), // [depth][rows], and the first row
}

/// Runs the kernel on some of the panels.
///
/// # Safety
/// The instruction set of `L` is present and the arguments are as `matmul` makes them.
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
    let order = PanelOrder { range: panels, down: false };
    // SAFETY: the caller's promise.
    unsafe { cover_mixed::<L>(args.rows, args.columns.div_ceil(L::COUNT), args.width, order, tile) }
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

impl<T: Float> MatmulArgs<T> {
    /// Returns the arguments for C + A B, for one chunk. The caller guarantees that the operands are valid.
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
        // SAFETY: the tile is within the output, and the caller of the kernel promised valid operands. A tile works on
        // a copy if it is wider than the rest of the output.
        unsafe {
            let (to, from) =
                (self.c.add(row * self.c_stride + first), self.init.wrapping_add(row * self.init_stride + first));
            let mut acc: Accumulators<L, R, P, V> = [[[L::broadcast(T::ZERO); V]; P]; R];
            let mut copy = acc;
            let copy: *mut T = (&raw mut copy).cast();
            let width = P * V * L::COUNT;
            let direct = valid >= width;
            let vectors = valid.min(width).div_ceil(L::COUNT);
            let rows = R.min(self.rows - row); // always R, but the compiler would unroll the loops if it knew
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
            accumulate(&mut acc, a, &b, self.depth, next.prefetch::<L, V>(start(next.panel), self.depth));
            if direct && self.add {
                for r in 0..R {
                    for p in 0..P {
                        for v in 0..V {
                            let to = to.add(r * self.c_stride + (p * V + v) * L::COUNT);
                            acc[r][p][v] = L::load(to) + acc[r][p][v];
                        }
                    }
                }
            }
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
