//! The kernels of one step of the recurrence: the recurrent product, followed by the equations of the cell while the
//! sums are still in registers.

use std::ops::Range;

use crate::cell::equations;
use crate::cell::functions::{Custom, Functions, Plain};
use crate::gemm::tile::{Accumulators, Next, PanelOrder, Rows, Sums, Tile, accumulate, cover, cover_mixed};
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// The arguments of the step kernels.
pub struct StepArgs<T> {
    pub(super) rows: usize,
    pub(super) hidden: usize,
    pub(super) padded: usize,
    pub(super) projected: *const T, // [rows, 3 * padded]: b + W x, columns [unit block][gate][lane]
    pub(super) h: *const T,         // [rows, padded]
    pub(super) next: *mut T,        // [rows, padded]
    pub(super) z: *mut T,           // [rows, padded], reset-before
    pub(super) rh: *mut T,          // [rows, padded], reset-before
    pub(super) u: *const T,         // packed for this kernel
    pub(super) width: usize,        // of the panels of u
    pub(super) b_hh: *const T,      // [padded], reset-after
    pub(super) y: *const *mut T,    // [rows][hidden]
    pub(super) tape: *const *mut T, // [rows][r | z | c | q, hidden each], or null
    pub(super) down: bool,          // the order of the panels
    pub(super) functions: *const Custom<T>, // null for those of the plain cell
}

// SAFETY: the parts of a step write to different units, and nothing else writes to the memory that the pointers refer
// to while it runs.
unsafe impl<T: Send + Sync> Sync for StepArgs<T> {}

impl<T> StepArgs<T> {
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

    /// Writes one vector of a tape row's segment, cut at H.
    #[inline(always)]
    unsafe fn record<L: Lanes<Elem = T>>(&self, row: usize, segment: usize, offset: usize, value: L) {
        // SAFETY: a tape row holds 4 segments of H numbers, and the store is cut at the segment's end.
        unsafe { value.store_first((*self.tape.add(row)).add(segment * self.hidden + offset), self.hidden - offset) }
    }

    /// Writes one vector of the new state: whole to the running state, and cut at H to y.
    #[inline(always)]
    unsafe fn output<L: Lanes<Elem = T>>(&self, row: usize, offset: usize, h: L) {
        // SAFETY: the running state is padded to whole vectors; the store to y is cut at H.
        unsafe {
            h.store(self.next.add(row * self.padded + offset));
            h.store_first((*self.y.add(row)).add(offset), self.hidden - offset);
        }
    }
}

/// Reset-after: the whole step in one product. A panel is the three gates of one vector of units.
struct ResetAfter<'a, T, F>(&'a StepArgs<T>, F);

impl<L: Lanes, F: Functions<L::Elem>> Tile<L> for ResetAfter<'_, L::Elem, F> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let (s, functions) = (self.0, self.1);
        // SAFETY: the tile is within rows x units, and the buffers are as `step` promised.
        unsafe {
            let projected = |r: usize, p: usize, gate: usize| {
                s.projected.add((row + r) * 3 * s.padded + ((panel + p) * 3 + gate) * L::COUNT)
            };
            let mut acc: Accumulators<L, R, P, V> = [[[L::broadcast(L::Elem::ZERO); V]; P]; R];
            for r in 0..R {
                for p in 0..P {
                    acc[r][p][0] = L::load(projected(r, p, 0));
                    acc[r][p][1] = L::load(projected(r, p, 1));
                    acc[r][p][2] = L::load(s.b_hh.add((panel + p) * L::COUNT));
                }
            }
            s.product::<L, R, P, V>(&mut acc, s.h, row, 3, panel, next);
            let sums = Sums::from(acc);
            for r in 0..R.min(s.rows - row) {
                for p in 0..P {
                    let offset = (panel + p) * L::COUNT;
                    let [a_r, a_z, a_hh] = [sums.at(r, p, 0), sums.at(r, p, 1), sums.at(r, p, 2)];
                    let h = L::load(s.h.add((row + r) * s.padded + offset));
                    let (gate_r, z) = equations::gates(functions, a_r, a_z);
                    let (c, new) = equations::update(
                        functions,
                        equations::reset_after(gate_r, L::load(projected(r, p, 2)), a_hh),
                        z,
                        h,
                    );
                    s.output(row + r, offset, new);
                    if !s.tape.is_null() {
                        s.record(row + r, 0, offset, gate_r);
                        s.record(row + r, 1, offset, z);
                        s.record(row + r, 2, offset, c);
                        s.record(row + r, 3, offset, a_hh);
                    }
                }
            }
        }
    }
}

/// Reset-before, first product. A panel is r and z of one vector of units.
struct Gates<'a, T, F>(&'a StepArgs<T>, F);

impl<L: Lanes, F: Functions<L::Elem>> Tile<L> for Gates<'_, L::Elem, F> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let (s, functions) = (self.0, self.1);
        // SAFETY: the tile is within rows x units, and the buffers are as `step` promised.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::broadcast(L::Elem::ZERO); V]; P]; R];
            for r in 0..R {
                for p in 0..P {
                    for v in 0..V {
                        let column = ((panel + p) * 3 + v) * L::COUNT;
                        acc[r][p][v] = L::load(s.projected.add((row + r) * 3 * s.padded + column));
                    }
                }
            }
            s.product::<L, R, P, V>(&mut acc, s.h, row, 2, panel, next);
            let sums = Sums::from(acc);
            for r in 0..R.min(s.rows - row) {
                for p in 0..P {
                    let offset = (panel + p) * L::COUNT;
                    let at = (row + r) * s.padded + offset;
                    let (gate_r, z) = equations::gates(functions, sums.at(r, p, 0), sums.at(r, p, 1));
                    let rh = equations::reset(gate_r, L::load(s.h.add(at)));
                    z.store(s.z.add(at));
                    rh.store(s.rh.add(at));
                    if !s.tape.is_null() {
                        s.record(row + r, 0, offset, gate_r);
                        s.record(row + r, 1, offset, z);
                        s.record(row + r, 3, offset, rh);
                    }
                }
            }
        }
    }
}

/// Reset-before, second product: the candidate and the new state. A panel is V vectors of units.
struct Candidate<'a, T, F>(&'a StepArgs<T>, F);

impl<L: Lanes, F: Functions<L::Elem>> Tile<L> for Candidate<'_, L::Elem, F> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let (s, functions) = (self.0, self.1);
        let unit = |p: usize, v: usize| (panel + p) * s.width + v;
        // SAFETY: the tile is within rows x units, and the buffers are as `step` promised.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::broadcast(L::Elem::ZERO); V]; P]; R];
            for r in 0..R {
                for p in 0..P {
                    for v in 0..V {
                        let column = (unit(p, v) * 3 + 2) * L::COUNT;
                        acc[r][p][v] = L::load(s.projected.add((row + r) * 3 * s.padded + column));
                    }
                }
            }
            s.product::<L, R, P, V>(&mut acc, s.rh, row, s.width, panel, next);
            let sums = Sums::from(acc);
            for r in 0..R.min(s.rows - row) {
                for p in 0..P {
                    for v in 0..V {
                        let offset = unit(p, v) * L::COUNT;
                        let at = (row + r) * s.padded + offset;
                        let (c, new) =
                            equations::update(functions, sums.at(r, p, v), L::load(s.z.add(at)), L::load(s.h.add(at)));
                        s.output(row + r, offset, new);
                        if !s.tape.is_null() {
                            s.record(row + r, 2, offset, c);
                        }
                    }
                }
            }
        }
    }
}

/// Runs the reset-after kernel on some of the panels.
///
/// # Safety
/// The instruction set of `L` is present, and the arguments are those that `step` passes.
#[inline(always)]
pub unsafe fn reset_after<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    let order = PanelOrder { range: panels, down: args.down };
    // SAFETY: the caller's promise.
    unsafe {
        match args.functions.as_ref() {
            None => cover::<L, 3>(args.rows, order, &ResetAfter(args, Plain)),
            Some(custom) => cover::<L, 3>(args.rows, order, &ResetAfter(args, custom)),
        }
    }
}

/// Runs the first reset-before kernel on some of the panels.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_gates<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    let order = PanelOrder { range: panels, down: args.down };
    // SAFETY: the caller's promise.
    unsafe {
        match args.functions.as_ref() {
            None => cover::<L, 2>(args.rows, order, &Gates(args, Plain)),
            Some(custom) => cover::<L, 2>(args.rows, order, &Gates(args, custom)),
        }
    }
}

/// Runs the second reset-before kernel on some of the panels.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_candidate<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    let (vectors, width) = (args.padded / L::COUNT, args.width);
    let order = PanelOrder { range: panels, down: args.down };
    // SAFETY: the caller's promise.
    unsafe {
        match args.functions.as_ref() {
            None => cover_mixed::<L>(args.rows, vectors, width, order, &Candidate(args, Plain)),
            Some(custom) => cover_mixed::<L>(args.rows, vectors, width, order, &Candidate(args, custom)),
        }
    }
}
