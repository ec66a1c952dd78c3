//! The kernels of one step of the recurrence: the recurrent product tile by tile, each followed by the equations of the
//! cell for its sums.
//!
//! Each tile contains the equations of the plain cell. Those of all other cells are functions that tiles of all sizes call,
//! so that there is one copy of them.

use std::ops::Range;

use crate::cell::finish;
use crate::cell::functions::Plain;
use crate::cell::step_args::{FinishedTile, StepArgs};
use crate::gemm::tile::{Accumulators, Next, PanelOrder, Rows, Tile, accumulate, cover, cover_mixed, store};
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

impl<T> StepArgs<T> {
    /// Computes the equations for the sums of a tile: those of the plain cell in place, all others by a call.
    #[inline(always)]
    unsafe fn finish<L: Lanes<Elem = T>, const R: usize, const P: usize, const V: usize>(
        &self,
        acc: Accumulators<L, R, P, V>,
        row: usize,
        panel: usize,
        plain: impl FnOnce(&Self, &FinishedTile<T>),
    ) {
        let rows = R.min(self.rows - row);
        let sums = store(acc);
        let tile = FinishedTile { sums: sums.as_ptr().cast(), row, rows, panel, panels: P, vectors: V };
        if self.functions.is_null() {
            plain(self, &tile);
        } else {
            // SAFETY: the sums are those of this tile.
            unsafe { (self.finish)(self, &tile) }
        }
    }

    /// Adds the product of R rows of a `[rows, padded]` buffer with P panels of U, `width` vectors each.
    #[inline(always)]
    unsafe fn product<L: Lanes<Elem = T>, const R: usize, const P: usize, const V: usize>(
        &self,
        acc: &mut Accumulators<L, R, P, V>,
        buffer: *const T,
        row: usize,
        width: usize,
        panel: usize,
        next: Next,
    ) {
        let start = |panel: usize| self.u.wrapping_add(panel * width * self.hidden * L::COUNT);
        // SAFETY: the buffer has these rows, and the packed weights have these panels.
        unsafe {
            let a = Rows::<_, R>::apart(buffer.add(row * self.padded), self.padded);
            let b = std::array::from_fn(|p| start(panel + p));
            accumulate(acc, &a, &b, self.hidden, next.prefetch::<L, V>(start(next.panel), self.hidden));
        }
    }
}

/// Reset-after: the whole step in one product. A panel is the three gates of one vector of units.
struct ResetAfter<'a, T>(&'a StepArgs<T>);

impl<L: Lanes> Tile<L> for ResetAfter<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let s = self.0;
        // SAFETY: the tile is within rows x units, and the buffers are as `step` promised.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::broadcast(L::Elem::ZERO); V]; P]; R];
            for r in 0..R {
                for p in 0..P {
                    acc[r][p][0] = L::load(s.projected::<L>(row + r, panel + p, 0));
                    acc[r][p][1] = L::load(s.projected::<L>(row + r, panel + p, 1));
                    acc[r][p][2] = L::load(s.b_hh.add((panel + p) * L::COUNT));
                }
            }
            s.product::<L, R, P, V>(&mut acc, s.read, row, 3, panel, next);
            s.finish(
                acc,
                row,
                panel,
                #[inline(always)]
                |s, tile| finish::reset_after::<L, Plain>(s, tile),
            );
        }
    }
}

/// Reset-before, first product. A panel is r and z of one vector of units.
struct Gates<'a, T>(&'a StepArgs<T>);

impl<L: Lanes> Tile<L> for Gates<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let s = self.0;
        // SAFETY: the tile is within rows x units, and the buffers are as `step` promised.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::broadcast(L::Elem::ZERO); V]; P]; R];
            for r in 0..R {
                for p in 0..P {
                    for v in 0..V {
                        acc[r][p][v] = L::load(s.projected::<L>(row + r, panel + p, v));
                    }
                }
            }
            s.product::<L, R, P, V>(&mut acc, s.read, row, 2, panel, next);
            s.finish(
                acc,
                row,
                panel,
                #[inline(always)]
                |s, tile| finish::reset_before_gates::<L, Plain>(s, tile),
            );
        }
    }
}

/// Reset-before, second product: the candidate and the new state. A panel is V vectors of units.
struct Candidate<'a, T>(&'a StepArgs<T>);

impl<L: Lanes> Tile<L> for Candidate<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let s = self.0;
        // SAFETY: the tile is within rows x units, and the buffers are as `step` promised.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::broadcast(L::Elem::ZERO); V]; P]; R];
            for r in 0..R {
                for p in 0..P {
                    for v in 0..V {
                        acc[r][p][v] = L::load(s.projected::<L>(row + r, (panel + p) * s.width + v, 2));
                    }
                }
            }
            s.product::<L, R, P, V>(&mut acc, s.rh, row, s.width, panel, next);
            s.finish(
                acc,
                row,
                panel,
                #[inline(always)]
                |s, tile| finish::reset_before_candidate::<L, Plain>(s, tile),
            );
        }
    }
}

/// Runs the reset-after kernel on some of the panels.
///
/// # Safety
/// The instruction set of `L` is present, and the arguments are those that `step` passes.
#[inline(always)]
pub unsafe fn reset_after<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { cover::<L, 3>(args.rows, PanelOrder { range: panels, down: args.down }, &ResetAfter(args)) }
}

/// Runs the first reset-before kernel on some of the panels.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_gates<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { cover::<L, 2>(args.rows, PanelOrder { range: panels, down: args.down }, &Gates(args)) }
}

/// Runs the second reset-before kernel on some of the panels.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_candidate<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    let order = PanelOrder { range: panels, down: args.down };
    // SAFETY: the caller's promise.
    unsafe { cover_mixed::<L>(args.rows, args.padded / L::COUNT, args.width, order, &Candidate(args)) }
}
