//! The equations of a step for the sums of a finished tile: gates, candidate and new state, and their record.

use crate::cell::equations;
use crate::cell::functions::Functions;
use crate::cell::step_args::{FinishedTile, StepArgs};
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

impl<T: Float> StepArgs<T> {
    /// Returns the address of zoneout's factors, or null.
    #[inline(always)]
    pub(super) fn kept(&self, at: usize) -> *const T {
        if self.kept.is_null() { self.kept } else { self.kept.wrapping_add(at) }
    }

    /// Writes one vector of a tape row's segment, cut at H.
    #[inline(always)]
    pub(super) unsafe fn record<L: Lanes<Elem = T>>(&self, row: usize, segment: usize, offset: usize, value: L) {
        // SAFETY: a tape row holds 4 segments of H numbers, and the store is cut at the segment's end.
        unsafe { value.store_first((*self.tape.add(row)).add(segment * self.hidden + offset), self.hidden - offset) }
    }

    /// Writes one vector of the new state: whole to the running state, and cut at H to y.
    #[inline(always)]
    pub(super) unsafe fn output<L: Lanes<Elem = T>>(&self, row: usize, offset: usize, h: L) {
        // SAFETY: the running state is padded to whole vectors; the store to y is cut at H.
        unsafe {
            h.store(self.next.add(row * self.padded + offset));
            h.store_first((*self.y.add(row)).add(offset), self.hidden - offset);
        }
    }
}

/// Reset-after: the whole step.
///
/// # Safety
/// The instruction set of `L` is present; the arguments are those that `step` passes, and the tile is one of theirs.
#[inline(always)]
pub unsafe fn reset_after<L: Lanes, F: Functions<L::Elem>>(s: &StepArgs<L::Elem>, tile: &FinishedTile<L::Elem>) {
    // SAFETY: the caller's promise.
    unsafe {
        let functions = F::of(s.functions);
        for r in 0..tile.rows {
            let row = tile.row + r;
            for p in 0..tile.panels {
                let vector = tile.panel + p;
                let offset = vector * L::COUNT;
                let [a_r, a_z, a_hh]: [L; 3] = [tile.sum(r, p, 0), tile.sum(r, p, 1), tile.sum(r, p, 2)];
                let h = L::load(s.h.add(row * s.padded + offset));
                let (gate_r, z) = equations::gates(functions, a_r, a_z);
                let z = functions.kept(z, s.kept(row * s.padded + offset));
                let a_x = L::load(s.projected::<L>(row, vector, 2));
                let (c, new) = equations::update(functions, equations::reset_after(gate_r, a_x, a_hh), z, h);
                s.output(row, offset, new);
                if !s.tape.is_null() {
                    s.record(row, 0, offset, gate_r);
                    s.record(row, 1, offset, z);
                    s.record(row, 2, offset, c);
                    s.record(row, 3, offset, a_hh);
                }
            }
        }
    }
}

/// Reset-before: the gates, and r * h for the second product.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_gates<L: Lanes, F: Functions<L::Elem>>(s: &StepArgs<L::Elem>, tile: &FinishedTile<L::Elem>) {
    // SAFETY: the caller's promise.
    unsafe {
        let functions = F::of(s.functions);
        for r in 0..tile.rows {
            let row = tile.row + r;
            for p in 0..tile.panels {
                let offset = (tile.panel + p) * L::COUNT;
                let at = row * s.padded + offset;
                let (gate_r, z): (L, L) = equations::gates(functions, tile.sum(r, p, 0), tile.sum(r, p, 1));
                let z = functions.kept(z, s.kept(at));
                let rh = equations::reset(gate_r, L::load(s.read.add(at)));
                z.store(s.z.add(at));
                rh.store(s.rh.add(at));
                if !s.tape.is_null() {
                    s.record(row, 0, offset, gate_r);
                    s.record(row, 1, offset, z);
                    s.record(row, 3, offset, rh);
                }
            }
        }
    }
}

/// Reset-before: the candidate and the new state.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_candidate<L: Lanes, F: Functions<L::Elem>>(
    s: &StepArgs<L::Elem>,
    tile: &FinishedTile<L::Elem>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let functions = F::of(s.functions);
        for r in 0..tile.rows {
            let row = tile.row + r;
            for p in 0..tile.panels {
                for v in 0..tile.vectors {
                    let offset = ((tile.panel + p) * s.width + v) * L::COUNT;
                    let at = row * s.padded + offset;
                    let (z, h) = (L::load(s.z.add(at)), L::load(s.h.add(at)));
                    let (c, new) = equations::update(functions, tile.sum(r, p, v), z, h);
                    s.output(row, offset, new);
                    if !s.tape.is_null() {
                        s.record(row, 2, offset, c);
                    }
                }
            }
        }
    }
}
