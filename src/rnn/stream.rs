//! A stack that runs step by step and keeps its states between calls.

use std::ops::Range;
use std::sync::Arc;

use crate::cell::Real;
use crate::cell::step::{OutputRows, SingleInput, State, StepMasks, is_single, step, step_single};
use crate::error::Error;
use crate::memory::aligned::{Aligned, zeros};
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::plan::Plan;
use crate::shape::{Sequences, expect_shape};
use crate::threads::runtime::{Grant, num_threads};
use crate::threads::team::{Engine, Team};

/// The states of N sequences in a unidirectional stack, which advance one step at a time. The outputs have the bits
/// of a run over whole sequences.
///
/// [`Gru::stream`](crate::Gru::stream) starts one.
///
/// ```
/// use rgru::{Dims, Gru};
///
/// let dims = Dims::new(3, 8);
/// let mut stream = Gru::<f32>::seeded(dims, 0)?.stream(2)?; // two sequences
/// let (x, mut y) = ([0.5; 2 * 3], [0.0; 2 * 8]);
/// stream.step(&x, &mut y)?;
/// let mut h = [0.0; 2 * 8];
/// stream.states(&mut h)?; // with one layer, the states are the outputs
/// assert_eq!(h, y);
/// # Ok::<(), rgru::Error>(())
/// ```
pub struct Stream<T: Real> {
    packed: Arc<PackedWeights<T>>,
    batch: usize,
    plan: Plan,
    groups: Vec<StreamGroup<T>>,
    /// The input projections of a layer, `[N, projected_len]`.
    projected: Aligned<T>,
    /// The outputs of a layer other than the last, `[N, H]`.
    between: Vec<T>,
}

/// The sequences of a group of the plan, and their states by layer.
struct StreamGroup<T: Real> {
    members: Range<usize>,
    states: Vec<State<T>>,
    /// Whether it has one sequence, and cells for [`step_single`].
    single: bool,
}

/// The rows that a group reads and writes in a step.
struct GroupRows<'a, T> {
    x: &'a [T],
    projected: &'a mut [T],
    between: &'a mut [T],
    y: &'a mut [T],
}

impl<T: Real> Stream<T> {
    #[doc(hidden)]
    /// Starts `batch` sequences from the initial states of the stack.
    ///
    /// # Errors
    /// [`Error::Value`] if the stack is bidirectional or runs in reverse: its outputs need the whole sequence; [`Error::Memory`].
    pub fn new(packed: Arc<PackedWeights<T>>, batch: usize) -> Result<Self, Error> {
        packed.dims.check_stepwise()?;
        // The largest buffers first and in one piece: if `batch` is absurd, this fails before any memory is touched.
        let projected = Aligned::zeros(batch.saturating_mul(packed.cells[0].projected_len()))?;
        let between = zeros(batch.saturating_mul(packed.dims.hidden_size))?;
        let plan = Plan::new(&packed.dims, &Sequences::padded(batch, 1, None)?, num_threads()?);
        let group = |members: &Range<usize>| {
            let states: Result<_, Error> = packed.cells.iter().map(|cell| State::new(cell, members.len())).collect();
            let single =
                members.len() == 1 && packed.cells.iter().all(|cell| is_single(cell) && cell.vocabulary().is_none());
            Ok(StreamGroup { members: members.clone(), states: states?, single })
        };
        let groups = plan.groups.iter().map(group).collect::<Result<_, Error>>()?;
        Ok(Self { packed, batch, plan, groups, projected, between })
    }

    /// Returns the number of sequences, N.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let gru = Gru::<f32>::seeded(Dims::new(3, 8), 0)?;
    /// assert_eq!(gru.stream(4)?.batch(), 4);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn batch(&self) -> usize {
        self.batch
    }

    #[doc(hidden)]
    /// Returns the weights of the stack.
    pub fn packed(&self) -> &PackedWeights<T> {
        &self.packed
    }

    /// Advances all sequences by one step: reads their inputs `x` `[N, I]` and writes their outputs `y` `[N, H]`.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let mut stream = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.stream(1)?;
    /// let mut y_t = [0.0; 8];
    /// for x_t in [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]] {
    ///     stream.step(&x_t, &mut y_t)?;
    /// }
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if the size of an array does not fit.
    pub fn step(&mut self, x: &[T], y: &mut [T]) -> Result<(), Error> {
        self.step_with(x, y, Options::default())
    }

    /// As [`Stream::step`], with options.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let mut stream = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.stream(1)?;
    /// # let mut y_t = [0.0; 8];
    /// let options = rgru::Options { threads: Some(1), stop: None };
    /// stream.step_with(&[0.1, 0.2, 0.3], &mut y_t, options)?;
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Stream::step`]; [`Error::Interrupted`] if `options.stop` returned true, which leaves some sequences one
    /// step behind the others.
    pub fn step_with(&mut self, x: &[T], y: &mut [T], options: Options) -> Result<(), Error> {
        let dims = &self.packed.dims;
        expect_shape("x", &[self.batch * dims.input_size], &[x.len()])?;
        expect_shape("y", &[self.batch * dims.hidden_size], &[y.len()])?;
        self.packed.check_ids(|n, _| format!("sequence {n}"), x.chunks_exact(dims.input_size))?;
        let (packed, projected_len) = (&*self.packed, self.packed.cells[0].projected_len());
        // Each group takes the first rows that are left.
        let (mut x, mut projected, mut between, mut y) = (x, &mut self.projected[..], &mut self.between[..], y);
        let jobs = self.groups.iter_mut().map(move |group| {
            let count = group.members.len();
            let rows = GroupRows {
                x: x.split_off(..count * dims.input_size).unwrap_or_default(),
                projected: projected.split_off_mut(..count * projected_len).unwrap_or_default(),
                between: between.split_off_mut(..count * dims.hidden_size).unwrap_or_default(),
                y: y.split_off_mut(..count * dims.hidden_size).unwrap_or_default(),
            };
            (group, rows)
        });
        let threads = if self.plan.threads() == 1 { 1 } else { options.threads()? };
        if threads == 1 {
            jobs.for_each(|(group, rows)| group.step(packed, rows, &Team::alone()));
            return Ok(());
        }
        Grant::new(threads.min(self.plan.threads()))?.execute(
            self.plan.members,
            jobs.collect(),
            options.stop(),
            |(group, rows), team, _| {
                group.step(packed, rows, team);
                Ok(())
            },
        )
    }

    /// Returns the position of a sequence's state: the group, and the row in it.
    fn place(&self, n: usize) -> (usize, usize) {
        let group = self.groups.partition_point(|group| group.members.end <= n);
        (group, n - self.groups[group].members.start)
    }

    /// Starts sequence `n` anew, from the initial states of the stack. The others are not affected.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let mut stream = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.stream(1)?;
    /// let (mut first, mut again) = ([0.0; 8], [0.0; 8]);
    /// stream.step(&[0.5; 3], &mut first)?;
    /// stream.restart(0)?;
    /// stream.step(&[0.5; 3], &mut again)?;
    /// assert_eq!(first, again);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if there is no such sequence.
    pub fn restart(&mut self, n: usize) -> Result<(), Error> {
        if n >= self.batch {
            return Err(Error::value("n", format!("a sequence below {}", self.batch), n.to_string()));
        }
        let (group, row) = self.place(n);
        for (cell, state) in self.packed.cells.iter().zip(&mut self.groups[group].states) {
            state.restart(cell, row);
        }
        Ok(())
    }

    /// Copies the states to `h`, `[L, N, H]`.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let mut stream = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.stream(1)?;
    /// let mut h = [1.0; 8];
    /// stream.states(&mut h)?;
    /// assert_eq!(h, [0.0; 8]); // before the first step
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if `h` has another size.
    pub fn states(&self, h: &mut [T]) -> Result<(), Error> {
        let hidden = self.packed.dims.hidden_size;
        expect_shape("h", &[self.packed.dims.num_layers * self.batch * hidden], &[h.len()])?;
        for (i, row) in h.chunks_mut(hidden).enumerate() {
            let (group, place) = self.place(i % self.batch);
            row.copy_from_slice(&self.groups[group].states[i / self.batch].row(place)[..hidden]);
        }
        Ok(())
    }

    /// Sets the states to `h`, `[L, N, H]`.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let mut stream = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.stream(1)?;
    /// stream.set_states(&[0.5; 8])?;
    /// let mut h = [0.0; 8];
    /// stream.states(&mut h)?;
    /// assert_eq!(h, [0.5; 8]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if `h` has another size.
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

impl<T: Real> StreamGroup<T> {
    fn step(&mut self, packed: &PackedWeights<T>, rows: GroupRows<T>, team: &Team) {
        let GroupRows { x, projected, between, y } = rows;
        if self.single {
            return self.step_single(packed, x, y);
        }
        let (dims, rows) = (&packed.dims, self.members.len());
        let engine = Engine { kernels: packed.kernels, team };
        for (layer, (cell, state)) in packed.cells.iter().zip(&mut self.states).enumerate() {
            let input = dims.layer_input(layer);
            let from = if layer == 0 { x } else { &*between };
            cell.project(engine.products(), rows, |r| &from[r * input..], projected);
            let array = if layer + 1 == dims.num_layers { &mut *y } else { &mut *between };
            let to = OutputRows::Apart { array, stride: dims.hidden_size };
            step(engine, cell, rows, projected, state, StepMasks::default(), to, None);
        }
    }

    fn step_single(&mut self, packed: &PackedWeights<T>, x: &[T], y: &mut [T]) {
        let hidden = packed.dims.hidden_size;
        for (layer, cell) in packed.cells.iter().enumerate() {
            let (below, states) = self.states.split_at_mut(layer);
            let x = below.last().map_or(x, |below| &below.row(0)[..hidden]);
            step_single(packed.kernels, cell, SingleInput::X(x), &mut states[0]);
        }
        if let Some(last) = self.states.last() {
            y.copy_from_slice(&last.row(0)[..hidden]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Dims;

    #[test]
    fn a_stream_that_exceeds_memory_is_an_error() {
        let dims = Dims::new(1, 2);
        let packed = Arc::new(PackedWeights::<f64>::new(dims, &vec![0.5; dims.num_params()], false).unwrap());
        for batch in [usize::MAX, 1 << 60] {
            assert!(matches!(Stream::new(Arc::clone(&packed), batch), Err(Error::Memory { .. })));
        }
    }
}
