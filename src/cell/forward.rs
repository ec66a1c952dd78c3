//! One step of the recurrence for a chunk of rows: the recurrent product and, while its sums are still in registers,
//! the equations of the cell.

use std::ops::Range;

use crate::cell::equations;
use crate::cell::weights::{PackedCell, Recurrent};
use crate::error::Error;
use crate::gemm::pack::PackedMatrix;
use crate::gemm::tile::{
    Accumulators, CHUNK, Next, RowPointers, Rows, Sums, Tile, Walk, accumulate, cover, cover_mixed,
};
use crate::memory::buffer_pool::Spare;
use crate::simd::float::Real;
use crate::simd::lanes::Lanes;
use crate::threads::team::{Engine, share};

/// Running states of up to [`CHUNK`] rows, and what a step needs beside them.
pub struct State<T: Real> {
    padded: usize,
    rows: usize,
    /// Parts of `[rows, padded]`: two for the states before and after a step, in turns; in reset-before also z and r * h.
    parts: Spare<T>,
    /// An odd number of steps is done: the states are in the second part, and the next walk over the weights goes down.
    odd: bool,
}

impl<T: Real> State<T> {
    /// States of `rows` rows, all 0.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(cell: &PackedCell<T>, rows: usize) -> Result<Self, Error> {
        let padded = cell.padded;
        let mut parts = Spare::new(parts_of(cell) * rows * padded)?;
        parts[..rows * padded].fill(T::ZERO);
        Ok(Self { padded, rows, parts, odd: false })
    }

    fn at(&self, row: usize) -> usize {
        (usize::from(self.odd) * self.rows + row) * self.padded
    }

    /// The state of a row; its first H numbers count.
    pub fn row(&self, row: usize) -> &[T] {
        &self.parts[self.at(row)..][..self.padded]
    }

    /// The state of a row, to be set.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        let at = self.at(row);
        &mut self.parts[at..][..self.padded]
    }
}

/// Parts of a cell's states.
fn parts_of<T: Real>(cell: &PackedCell<T>) -> usize {
    if cell.reset_after() { 2 } else { 4 }
}

/// Rows to be written: row i is `rows[i][at[i]..]`.
pub struct Outputs<'a, 'b, T> {
    /// What the rows lie in.
    pub rows: &'a mut [&'b mut [T]],
    /// Where each row starts.
    pub at: &'a [usize],
}

impl<T> Outputs<'_, '_, T> {
    /// Where the first `count` rows are to be written, `len` numbers each.
    ///
    /// # Panics
    /// Where a row is missing or too short.
    fn fill(&mut self, list: &mut RowPointers<*mut T>, count: usize, len: usize) -> *const *mut T {
        list.fill(count, |r| self.rows[r][self.at[r]..][..len].as_mut_ptr()).as_ptr()
    }
}

/// Arguments of the step kernels.
pub struct StepArgs<T> {
    rows: usize,
    hidden: usize,
    padded: usize,
    projected: *const T, // [rows, 3 * padded]: b + W x, columns [unit block][gate][lane]
    h: *const T,         // [rows, padded]
    next: *mut T,        // [rows, padded]
    z: *mut T,           // [rows, padded], reset-before
    rh: *mut T,          // [rows, padded], reset-before
    u: *const T,         // packed, of this kernel
    width: usize,        // of its panels
    b_hh: *const T,      // [padded], reset-after
    y: *const *mut T,    // [rows][hidden]
    tape: *const *mut T, // [rows][r | z | c | q, hidden each], or null
    down: bool,          // walk over the panels
}

// SAFETY: the parts of a step write to different units, and nothing else writes to what the pointers point to while it
// runs.
unsafe impl<T: Send + Sync> Sync for StepArgs<T> {}

/// Moves the first `rows` rows one step on: their states, `y` (H numbers a row) and, if given, their tape
/// (4H numbers a row: r, z, candidate, and r * h in reset-before or `U_hh h + b_hh` in reset-after).
///
/// `projected` holds b + W x of these rows, as [`PackedCell`] lays it out.
///
/// # Panics
/// Where an operand is too short.
pub fn step<T: Real>(
    engine: Engine<T>,
    cell: &PackedCell<T>,
    rows: usize,
    projected: &[T],
    state: &mut State<T>,
    mut y: Outputs<T>,
    tape: Option<Outputs<T>>,
) {
    let (hidden, padded) = (cell.hidden, cell.padded);
    assert!(rows <= CHUNK.min(state.rows) && state.padded == padded, "state of another size");
    assert!(state.parts.len() >= parts_of(cell) * state.rows * padded, "state of another cell");
    assert!(projected.len() >= rows * 3 * padded, "projection too short");
    assert_eq!(cell.lanes, engine.kernels.lanes, "cell packed for another instruction set");
    let start = state.parts.as_mut_ptr();
    let part = |part: usize| start.wrapping_add(part * state.rows * padded); // the last two in reset-before alone
    let (mut y_list, mut tape_list) = (RowPointers::default(), RowPointers::default());
    let mut args = StepArgs {
        rows,
        hidden,
        padded,
        projected: projected.as_ptr(),
        h: part(usize::from(state.odd)),
        next: part(usize::from(!state.odd)),
        z: part(2),
        rh: part(3),
        u: std::ptr::null(),
        width: 0,
        b_hh: std::ptr::null(),
        y: y.fill(&mut y_list, rows, hidden),
        tape: tape.map_or(std::ptr::null(), |mut tape| tape.fill(&mut tape_list, rows, 4 * hidden)),
        down: state.odd,
    };
    let mut share_out = |kernel: unsafe fn(&StepArgs<T>, Range<usize>), u: &PackedMatrix<T>, b_hh: &[T]| {
        (args.u, args.width, args.b_hh) = (u.data.as_ptr(), u.width, b_hh.as_ptr());
        let args = &args;
        engine.crew.run(|i, n| {
            // SAFETY: the kernels exist only for instruction sets of this machine; all buffers hold `rows` rows of the
            // sizes noted in `StepArgs` (asserted or sliced above), and the weights are packed for these lanes.
            unsafe { kernel(args, share(u.panels(), i, n)) }
        });
    };
    match &cell.recurrent {
        Recurrent::After { u, b_hh } => share_out(engine.kernels.reset_after, u, b_hh),
        Recurrent::Before { gates, candidate } => {
            share_out(engine.kernels.reset_before_gates, gates, &[]);
            share_out(engine.kernels.reset_before_candidate, candidate, &[]);
        }
    }
    state.odd = !state.odd;
}

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
        // SAFETY: the buffer holds these rows, and the packed weights these panels.
        unsafe {
            let a = Rows::<_, R>::apart(buffer.add(row * self.padded), self.padded);
            let b = std::array::from_fn(|p| start(panel + p));
            accumulate(acc, &a, &b, self.hidden, next.fetch::<L, V>(start(next.panel), self.hidden));
        }
    }

    /// Writes one vector of a tape row's segment, cut at H.
    #[inline(always)]
    unsafe fn record<L: Lanes<Elem = T>>(&self, row: usize, segment: usize, offset: usize, value: L) {
        // SAFETY: a tape row holds 4 segments of H numbers, and the store is cut at the segment's end.
        unsafe { value.store_first((*self.tape.add(row)).add(segment * self.hidden + offset), self.hidden - offset) }
    }

    /// Writes one vector of the new state, whole to the running state and cut at H to y.
    #[inline(always)]
    unsafe fn output<L: Lanes<Elem = T>>(&self, row: usize, offset: usize, h: L) {
        // SAFETY: the running state is padded to whole vectors; the store to y is cut at H.
        unsafe {
            h.store(self.next.add(row * self.padded + offset));
            h.store_first((*self.y.add(row)).add(offset), self.hidden - offset);
        }
    }
}

/// Reset-after: everything in one product. A panel is the three gates of one vector of units.
struct ResetAfter<'a, T>(&'a StepArgs<T>);

impl<L: Lanes> Tile<L> for ResetAfter<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let s = self.0;
        // SAFETY: the tile lies within rows x units, and the buffers are as `step` promised.
        unsafe {
            let projected = |r: usize, p: usize, gate: usize| {
                s.projected.add((row + r) * 3 * s.padded + ((panel + p) * 3 + gate) * L::COUNT)
            };
            let mut acc: Accumulators<L, R, P, V> = [[[L::splat(L::Elem::ZERO); V]; P]; R];
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
                    let (gate_r, z) = equations::gates(a_r, a_z);
                    let (c, new) =
                        equations::update(equations::reset_after(gate_r, L::load(projected(r, p, 2)), a_hh), z, h);
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

/// Reset-before, first product: r and z of one vector of units a panel.
struct Gates<'a, T>(&'a StepArgs<T>);

impl<L: Lanes> Tile<L> for Gates<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let s = self.0;
        // SAFETY: the tile lies within rows x units, and the buffers are as `step` promised.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::splat(L::Elem::ZERO); V]; P]; R];
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
                    let (gate_r, z) = equations::gates(sums.at(r, p, 0), sums.at(r, p, 1));
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

/// Reset-before, second product: the candidate and the new state of V vectors of units a panel.
struct Candidate<'a, T>(&'a StepArgs<T>);

impl<L: Lanes> Tile<L> for Candidate<'_, L::Elem> {
    #[inline(always)]
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next) {
        let s = self.0;
        let unit = |p: usize, v: usize| (panel + p) * s.width + v;
        // SAFETY: the tile lies within rows x units, and the buffers are as `step` promised.
        unsafe {
            let mut acc: Accumulators<L, R, P, V> = [[[L::splat(L::Elem::ZERO); V]; P]; R];
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
                        let (c, new) = equations::update(sums.at(r, p, v), L::load(s.z.add(at)), L::load(s.h.add(at)));
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

/// The reset-after kernel, for some of the panels.
///
/// # Safety
/// The instruction set of `L` is present and the arguments are as [`step`] makes them; so for the two below.
#[inline(always)]
pub unsafe fn reset_after<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { cover::<L, 3>(args.rows, Walk { range: panels, down: args.down }, &ResetAfter(args)) }
}

/// The first reset-before kernel.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_gates<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { cover::<L, 2>(args.rows, Walk { range: panels, down: args.down }, &Gates(args)) }
}

/// The second reset-before kernel.
///
/// # Safety
/// As [`reset_after`].
#[inline(always)]
pub unsafe fn reset_before_candidate<L: Lanes>(args: &StepArgs<L::Elem>, panels: Range<usize>) {
    let walk = Walk { range: panels, down: args.down };
    // SAFETY: the caller's promise.
    unsafe { cover_mixed::<L>(args.rows, args.padded / L::COUNT, args.width, walk, &Candidate(args)) }
}
