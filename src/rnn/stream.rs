//! A stack run step by step, its states kept between calls.

use std::ops::Range;
use std::sync::Arc;

use crate::cell::Real;
use crate::cell::step::{Outputs, State, step};
use crate::error::Error;
use crate::gemm::tile::MAX_ROWS_PER_STEP;
use crate::memory::aligned::{Aligned, zeros};
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::plan::Plan;
use crate::shape::{Sequences, expect_shape};
use crate::threads::runtime::{Grant, num_threads};
use crate::threads::team::{Engine, Team};

/// Running states of `batch` sequences of a unidirectional stack. A step gives the bits that the whole sequence would.
pub struct Stream<T: Real> {
    packed: Arc<PackedWeights<T>>,
    batch: usize,
    plan: Plan,
    groups: Vec<Running<T>>,
}

/// A group of the plan.
struct Running<T: Real> {
    members: Range<usize>,
    states: Vec<State<T>>, // by layer
    projected: Aligned<T>,
    between: Vec<T>, // [rows, H], outputs of the layers but the last
}

impl<T: Real> Stream<T> {
    #[doc(hidden)]
    /// Starts `batch` sequences from zero states.
    ///
    /// # Errors
    /// The stack is bidirectional: its outputs need the whole sequence.
    pub fn new(packed: Arc<PackedWeights<T>>, batch: usize) -> Result<Self, Error> {
        if packed.dims.bidirectional {
            return Err(Error::value("bidirectional", "False, since a step cannot look ahead", "True"));
        }
        // Best effort: allocated at once and released, so that too many sequences are mostly an error, not an abort.
        let floats = packed.cells.iter().map(|cell| 5 * cell.projected_len()).sum::<usize>();
        drop(zeros::<T>(batch.saturating_mul(floats))?);
        let plan = Plan::new(&packed.dims, &Sequences::padded(batch, 1, None)?, num_threads()?);
        let running = |members: &Range<usize>| {
            let states: Result<_, Error> = packed.cells.iter().map(|cell| State::new(cell, members.len())).collect();
            Ok(Running {
                members: members.clone(),
                states: states?,
                projected: Aligned::zeros(members.len() * packed.cells[0].projected_len()),
                between: vec![T::ZERO; members.len() * packed.dims.hidden_size],
            })
        };
        let groups = plan.groups.iter().map(running).collect::<Result<_, Error>>()?;
        Ok(Self { packed, batch, plan, groups })
    }

    /// Returns the number of sequences.
    pub fn batch(&self) -> usize {
        self.batch
    }

    #[doc(hidden)]
    /// The stack.
    pub fn packed(&self) -> &PackedWeights<T> {
        &self.packed
    }

    /// Takes one step: reads x `[N, I]`, writes y `[N, H]`.
    ///
    /// # Errors
    /// Sizes that do not fit.
    pub fn step(&mut self, x: &[T], y: &mut [T]) -> Result<(), Error> {
        self.step_with(x, y, Options::default())
    }

    /// As [`Stream::step`], with options.
    ///
    /// # Errors
    /// Sizes that do not fit; interrupted by the caller, which leaves the states of some sequences a step behind.
    pub fn step_with(&mut self, x: &[T], y: &mut [T], options: Options) -> Result<(), Error> {
        let dims = &self.packed.dims;
        expect_shape("x", &[self.batch * dims.input_size], &[x.len()])?;
        expect_shape("y", &[self.batch * dims.hidden_size], &[y.len()])?;
        let packed = &*self.packed;
        let work = |running: &mut Running<T>, x: &[T], y: &mut [T], team: &Team| {
            let Range { start, end } = running.members;
            let y = &mut y[..(end - start) * dims.hidden_size];
            running.step(packed, &x[start * dims.input_size..end * dims.input_size], y, team);
        };
        let threads = if self.plan.threads() == 1 { 1 } else { options.threads()? };
        if threads == 1 {
            for running in &mut self.groups {
                let first = running.members.start * dims.hidden_size;
                work(running, x, &mut y[first..], &Team::alone());
            }
            return Ok(());
        }
        let mut rest = y;
        let mut jobs = Vec::with_capacity(self.groups.len());
        for running in &mut self.groups {
            let (y, after) = rest.split_at_mut(running.members.len() * dims.hidden_size);
            jobs.push((running, y));
            rest = after;
        }
        Grant::new(threads.min(self.plan.threads()))?.execute(
            self.plan.members,
            jobs,
            options.stop(),
            |(running, y), team, _| {
                work(running, x, y, team);
                Ok(())
            },
        )
    }

    /// Where a sequence's state is: the group, and the row in it.
    fn place(&self, n: usize) -> (usize, usize) {
        let group = self.groups.partition_point(|running| running.members.end <= n);
        (group, n - self.groups[group].members.start)
    }

    /// Copies the states out, `[L, N, H]`.
    ///
    /// # Errors
    /// `h` has another size.
    pub fn states(&self, h: &mut [T]) -> Result<(), Error> {
        let hidden = self.packed.dims.hidden_size;
        expect_shape("h", &[self.packed.dims.num_layers * self.batch * hidden], &[h.len()])?;
        for (i, row) in h.chunks_mut(hidden).enumerate() {
            let (group, place) = self.place(i % self.batch);
            row.copy_from_slice(&self.groups[group].states[i / self.batch].row(place)[..hidden]);
        }
        Ok(())
    }

    /// Sets the states, `[L, N, H]`.
    ///
    /// # Errors
    /// `h` has another size.
    pub fn set_states(&mut self, h: &[T]) -> Result<(), Error> {
        let hidden = self.packed.dims.hidden_size;
        expect_shape("h", &[self.packed.dims.num_layers * self.batch * hidden], &[h.len()])?;
        for (i, row) in h.chunks(hidden).enumerate() {
            let (group, place) = self.place(i % self.batch);
            self.groups[group].states[i / self.batch].row_mut(place)[..hidden].copy_from_slice(row);
        }
        Ok(())
    }
}

impl<T: Real> Running<T> {
    fn step(&mut self, packed: &PackedWeights<T>, x: &[T], y: &mut [T], team: &Team) {
        let (dims, rows) = (&packed.dims, self.members.len());
        let engine = Engine { kernels: packed.kernels, team };
        let at = [0; MAX_ROWS_PER_STEP];
        for (layer, (cell, state)) in packed.cells.iter().zip(&mut self.states).enumerate() {
            let input = dims.layer_input(layer);
            let from = if layer == 0 { x } else { &self.between };
            cell.project(engine.products(), rows, |r| &from[r * input..], &mut self.projected);
            let to = if layer + 1 == dims.num_layers { &mut *y } else { &mut self.between };
            let mut to: Vec<&mut [T]> = to.chunks_mut(dims.hidden_size).collect();
            step(engine, cell, rows, &self.projected, state, Outputs { rows: &mut to, at: &at }, None);
        }
    }
}
