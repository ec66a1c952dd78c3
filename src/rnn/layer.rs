//! One direction of one layer over a group of sequences, forward and backward.
//!
//! A group's sequences are sorted by length, longest first, so that those still running are always its first rows. A
//! finished sequence costs nothing.

use crate::cell::Real;
use crate::cell::kernels::CellKernels;
use crate::cell::step::{OutputRows, SingleInput, State, StepMasks, is_single, step, step_single};
use crate::cell::step_back::{BackwardState, Gradients, StepRecord, backward_step};
use crate::cell::weights::{BackwardCell, PackedCell};
use crate::error::Error;
use crate::gemm::matmul::{MANY_ROWS, Start, matmul};
use crate::gemm::tile::MAX_ROWS_PER_STEP;
use crate::memory::aligned::zeros;
use crate::memory::buffer_pool::PooledBuffer;
use crate::threads::runtime::Check;
use crate::threads::team::Engine;

/// How many numbers of input projections are computed ahead: so few that they stay in the second-level cache, or, for a
/// large W, 1 / `WEIGHTS_PER_PROJECTED` of its size, where reading W again would take longer than writing and reading
/// projections.
const PROJECTED_AHEAD: std::ops::Range<usize> = 1 << 16..1 << 18;
const WEIGHTS_PER_PROJECTED: usize = 12;

/// The most steps that are projected ahead.
const STEPS_AHEAD: usize = 64;

/// Rows times H^2 between two checks for interruption: about a tenth of a millisecond.
const WORK_BETWEEN_CHECKS: usize = 1 << 22;

/// The most numbers of input gradients that are gathered, unless these are fewer rows than a step has.
const GATHERED_NUMBERS: usize = 1 << 20;

/// Rows of input gradients between two checks for interruption.
const ROWS_BETWEEN_CHECKS: usize = 1024;

/// Writes the factors of z of a row of a sequence, in training with zoneout.
pub type Kept<'a, T> = &'a dyn Fn(usize, usize, &mut [T]);

/// One direction of a layer, over the steps of a group of sequences.
pub struct LayerPass<'a, T: 'static> {
    pub engine: Engine<'a, CellKernels<T>>,
    pub cell: &'a PackedCell<T>,
    /// The number of steps of each sequence, descending.
    pub lengths: &'a [usize],
    pub hidden: usize,
    /// Number of features of the layer's input.
    pub input: usize,
    /// Number of features of the states of all directions, D * H.
    pub width: usize,
    /// The first of this direction's features among them.
    pub column: usize,
    /// Whether this direction runs from the last step to the first.
    pub reverse: bool,
    /// The factors of the states in the recurrent products, `[sequences, padded]`, if they are dropped out.
    pub mask: Option<Vec<T>>,
    pub check: Check<'a>,
}

/// The backward pass of one direction of a layer.
pub struct BackwardPass<'a, 'b, T: 'static> {
    pub pass: &'a LayerPass<'b, T>,
    pub weights: &'a BackwardCell<T>,
}

impl<T: Real> LayerPass<'_, T> {
    /// Returns how many sequences have a t-th step.
    fn active(&self, t: usize) -> usize {
        self.lengths.partition_point(|&length| length > t)
    }

    fn steps(&self) -> usize {
        self.lengths.first().copied().unwrap_or(0)
    }

    /// Returns the row of the t-th step of sequence r, in this direction.
    fn row(&self, r: usize, t: usize) -> usize {
        if self.reverse { self.lengths[r] - 1 - t } else { t }
    }

    /// Returns the position in sequence r's outputs of this direction's t-th state.
    fn output_at(&self, r: usize, t: usize) -> usize {
        self.row(r, t) * self.width + self.column
    }

    /// Returns the state of sequence r after its last step, if it has any.
    pub fn final_state<'a>(&self, r: usize, y: &'a [T]) -> Option<&'a [T]> {
        self.lengths[r].checked_sub(1).map(|last| &y[self.output_at(r, last)..][..self.hidden])
    }

    /// Runs over all steps. `x` and `y` hold each sequence's rows, `tape` its record of each step.
    pub fn forward<'a>(
        &self,
        x: &[&'a [T]],
        h0: impl Fn(usize) -> &'a [T],
        kept: Option<Kept<T>>,
        y: &mut [&mut [T]],
        mut tape: Option<&mut [&mut [T]]>,
    ) -> Result<(), Error> {
        let (rows, hidden, record_len) = (self.active(0), self.hidden, self.cell.record_len);
        let mut state = State::new(self.cell, rows)?;
        for r in 0..rows {
            state.row_mut(r)[..hidden].copy_from_slice(h0(r));
        }
        let projected_len = self.cell.projected_len();
        let numbers_ahead =
            (projected_len * self.input / WEIGHTS_PER_PROJECTED).clamp(PROJECTED_AHEAD.start, PROJECTED_AHEAD.end);
        let all_steps = self.lengths.iter().sum::<usize>();
        let rows_ahead = (numbers_ahead / projected_len).max(rows).min(all_steps);
        let mut projected = PooledBuffer::<T>::new(rows_ahead * projected_len)?;
        let mut ahead = Vec::with_capacity(rows_ahead);
        let (mut at_y, mut at_tape) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let padded = hidden.next_multiple_of(self.cell.lanes);
        let mut factors = zeros(if kept.is_some() { rows * padded } else { 0 })?;
        let mut read = zeros(if self.mask.is_some() { rows * padded } else { 0 })?;
        let single = rows == 1 && is_single(self.cell) && tape.is_none() && kept.is_none() && self.mask.is_none();
        let mut t = 0;
        while t < self.steps() {
            (self.check)()?;
            let block = (rows_ahead / self.active(t)).clamp(1, STEPS_AHEAD);
            let last = (t + block).min(self.steps());
            ahead.clear();
            for t in t..last {
                ahead.extend((0..self.active(t)).map(|r| (r, self.row(r, t) * self.input)));
            }
            let x = |i: usize| -> &[T] {
                let (r, at): (usize, usize) = ahead[i];
                &x[r][at..]
            };
            self.cell.project(self.engine.products(), ahead.len(), x, &mut projected);
            if single {
                for (t, projected) in (t..last).zip(projected.chunks_exact(projected_len)) {
                    step_single(self.engine.kernels, self.cell, SingleInput::Projected(projected), &mut state);
                    y[0][self.output_at(0, t)..][..hidden].copy_from_slice(&state.row(0)[..hidden]);
                }
                t = last;
                continue;
            }
            let mut done = 0;
            for t in t..last {
                let rows = self.active(t);
                at_y.clear();
                at_y.extend((0..rows).map(|r| self.output_at(r, t)));
                at_tape.clear();
                at_tape.extend((0..rows).map(|r| self.row(r, t) * record_len));
                let tape = tape.as_deref_mut().map(|rows| OutputRows::Listed { rows, at: &at_tape });
                let y = OutputRows::Listed { rows: y, at: &at_y };
                let kept = kept.map(|kept| {
                    for (r, factors) in factors.chunks_exact_mut(padded).take(rows).enumerate() {
                        kept(r, self.row(r, t), &mut factors[..hidden]);
                    }
                    &factors[..]
                });
                let masks = StepMasks { kept, recurrent: self.mask.as_deref().map(|mask| (mask, &mut read[..])) };
                let projected = &projected[done * projected_len..];
                step(self.engine, self.cell, rows, projected, &mut state, masks, y, tape);
                done += rows;
            }
            t = last;
        }
        Ok(())
    }
}

impl<T: Real> BackwardPass<'_, '_, T> {
    /// Runs over all steps from the last to the first. Writes each step's gradients of the pre-activations to `d`, in
    /// the layout of [`backward_step`]. `dh` holds the gradients of the final states and is replaced by those of the
    /// initial ones.
    pub fn recurrence<'a>(
        &self,
        tape: &[&'a [T]],
        y: &[&'a [T]],
        h0: &dyn Fn(usize) -> &'a [T],
        dy: Option<&[&'a [T]]>,
        d: &mut [&mut [T]],
        dh: &mut [&mut [T]],
    ) -> Result<(), Error> {
        let pass = self.pass;
        let (engine, hidden, mask) = (pass.engine, pass.hidden, pass.mask.as_deref());
        let padded = hidden.next_multiple_of(engine.kernels.products.lanes);
        let (width, record_len) = (self.weights.segments().count * hidden, pass.cell.record_len);
        let rows = pass.active(0);
        let mut state = BackwardState::new(self.weights, rows, padded, pass.mask.is_some())?;
        for (r, dh) in dh[..rows].iter().enumerate() {
            state.carry[r * padded..][..hidden].copy_from_slice(dh);
        }
        let steps_between_checks = (WORK_BETWEEN_CHECKS / (rows * hidden * hidden).max(1)).clamp(1, STEPS_AHEAD);
        let (mut at, mut after) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for t in (0..pass.steps()).rev() {
            if t % steps_between_checks == 0 {
                (pass.check)()?;
            }
            let rows = pass.active(t);
            std::mem::swap(&mut at, &mut after);
            at.clear();
            at.extend((0..rows).map(|r| pass.row(r, t) * width));
            let recorded = StepRecord {
                tape: &|r| &tape[r][pass.row(r, t) * record_len..],
                h: &|r| t.checked_sub(1).map_or(h0(r), |before| &y[r][pass.output_at(r, before)..]),
            };
            let dy_row = |r: usize| dy.map_or(&[][..], |dy| &dy[r][pass.output_at(r, t)..]);
            let dy_row: Option<&dyn Fn(usize) -> &'a [T]> = if dy.is_some() { Some(&dy_row) } else { None };
            let mut d = Gradients { rows: d, at: &at, after: &after };
            backward_step(engine, self.weights, hidden, rows, &recorded, dy_row, mask, &mut d, &mut state);
        }
        state.finish(self.weights, engine, rows, |r| &d[r][at[r]..], mask);
        for (r, dh) in dh[..rows].iter_mut().enumerate() {
            dh.copy_from_slice(&state.carry[r * padded..][..hidden]);
        }
        Ok(())
    }

    /// Adds the gradients of the inputs of all steps to `dx`.
    pub fn input(&self, d: &[&mut [T]], dx: &mut [&mut [T]]) -> Result<(), Error> {
        let (pass, w) = (self.pass, &self.weights.w);
        let (hidden, input, segments) = (pass.hidden, pass.input, self.weights.segments());
        let (width, first_column) = (segments.count * hidden, segments.w * hidden);
        let d = |r: usize, t: usize| &d[r][t * width + first_column..];
        if self.gathers_input() {
            return self.gathered_input(d, dx);
        }
        for (r, (dx, &length)) in dx.iter_mut().zip(pass.lengths).enumerate() {
            for first in (0..length).step_by(ROWS_BETWEEN_CHECKS) {
                (pass.check)()?;
                let rows = ROWS_BETWEEN_CHECKS.min(length - first);
                let dx = &mut dx[first * input..][..rows * input];
                matmul(pass.engine.products(), rows, |t| d(r, first + t), w, Start::Continue, dx, input);
            }
        }
        Ok(())
    }

    /// Returns whether products take rows of several sequences. The product of a short one reads all of W from memory,
    /// 3H numbers for each feature, where copying its steps moves 4 a step.
    fn gathers_input(&self) -> bool {
        let (w, lengths) = (&self.weights.w, self.pass.lengths);
        let mean = lengths.iter().sum::<usize>() / lengths.len().max(1);
        w.exceeds_cache() && mean < MANY_ROWS && 4 * mean < w.depth
    }

    /// As [`Self::input`], by products of rows of several sequences.
    fn gathered_input<'d>(&self, d: impl Fn(usize, usize) -> &'d [T], dx: &mut [&mut [T]]) -> Result<(), Error> {
        let (pass, input) = (self.pass, self.pass.input);
        let mut steps = pass.lengths.iter().enumerate().flat_map(|(r, &length)| (0..length).map(move |t| (r, t)));
        let most = (GATHERED_NUMBERS / input).clamp(MAX_ROWS_PER_STEP, MANY_ROWS).min(pass.lengths.iter().sum());
        let (mut rows, mut sums) = (Vec::with_capacity(most), PooledBuffer::new(most * input)?);
        loop {
            (pass.check)()?;
            rows.clear();
            rows.extend(steps.by_ref().take(most));
            if rows.is_empty() {
                return Ok(());
            }
            for (sums, &(r, t)) in sums.chunks_exact_mut(input).zip(&rows) {
                sums.copy_from_slice(&dx[r][t * input..][..input]);
            }
            let d = |i: usize| d(rows[i].0, rows[i].1);
            matmul(pass.engine.products(), rows.len(), d, &self.weights.w, Start::Continue, &mut sums, input);
            for (sums, &(r, t)) in sums.chunks_exact(input).zip(&rows) {
                dx[r][t * input..][..input].copy_from_slice(sums);
            }
        }
    }
}
