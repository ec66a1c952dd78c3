//! Runs the events of a batch through the stack: groups of segments, step by step, like a stream.

use std::sync::{Mutex, PoisonError};

use super::segments::{Segment, Segments};
use super::slab::Slab;
use crate::cell::Real;
use crate::cell::step::{OutputRows, State, StepMasks, step};
use crate::error::Error;
use crate::gemm::tile::MAX_ROWS_PER_STEP;
use crate::memory::aligned::{Aligned, zeros};
use crate::memory::try_alloc::{try_collect, try_from_fn, try_with_capacity};
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::plan::Plan;
use crate::shape::Sequences;
use crate::threads::runtime::{Check, Grant};
use crate::threads::team::{Engine, Team};

/// The data of a batch that all groups share.
struct SessionBatch<'a, T: Real> {
    packed: &'a PackedWeights<T>,
    slab: &'a Slab<T>,
    x: &'a [T],
    segments: &'a [Segment],
}

/// The buffers for running a group of segments, reused from batch to batch.
pub struct Workspace<T: Real> {
    states: Vec<State<T>>, // by layer
    projected: Aligned<T>,
    between: Vec<T>, // [MAX_ROWS_PER_STEP, H], outputs of the layers but the last
}

/// The unused workspaces.
pub type Workspaces<T> = Mutex<Vec<Workspace<T>>>;

/// A group of the plan.
struct Job<'a, T> {
    /// The segments, longest first.
    members: &'a [usize],
    /// The segments of the group that the same team is likely to run next.
    next: &'a [usize],
    /// The events of `members`, step by step.
    events: &'a [u32],
    /// The output of each event.
    y: Vec<&'a mut [T]>,
    /// The final states of all layers but the last, `[members, L - 1, H]`. Those of the last layer are outputs.
    below: &'a mut [T],
}

/// The final states of a batch's segments, except those of the last layer, which are in y.
pub struct FinalStates<T> {
    /// The segments in the order of `below`.
    pub order: Vec<usize>,
    /// The states of all layers but the last, `[segments, L - 1, H]`.
    pub below: Vec<T>,
}

/// Runs all events: x `[M, I]`, y `[M, H]`. The slab is only read.
///
/// # Errors
/// [`Error::Memory`]; [`Error::Interrupted`] if `options.stop` returned true.
pub fn execute<T: Real>(
    packed: &PackedWeights<T>,
    slab: &Slab<T>,
    segments: &Segments,
    x: &[T],
    y: &mut [T],
    spaces: &Workspaces<T>,
    options: Options,
) -> Result<FinalStates<T>, Error> {
    let (dims, of, segments) = (&packed.dims, segments.of(), segments.list());
    let lengths = try_from_fn(segments.len(), |n| i64::from(segments[n].len))?;
    let longest = segments.iter().map(|segment| segment.len as usize).max().unwrap_or(0);
    let sequences = Sequences::padded(segments.len(), longest, Some(&lengths))?;
    let plan = Plan::new(dims, &sequences, options.threads()?);
    let grant = Grant::new(plan.threads())?;
    let plan = if grant.threads() < plan.threads() { Plan::new(dims, &sequences, grant.threads()) } else { plan };

    let events = by_step(segments, of, &sequences, &plan)?;
    let width = (dims.num_layers - 1) * dims.hidden_size;
    let mut below = zeros::<T>(segments.len() * width)?;
    let mut rows = try_collect(of.len(), y.chunks_mut(dims.hidden_size))?;
    let (mut rest, mut rest_below) = (&events[..], &mut below[..]);
    let mut jobs = try_with_capacity(plan.groups.len())?;
    for (n, group) in plan.groups.iter().enumerate() {
        let members = &sequences.order()[group.clone()];
        let next = plan.groups.get(n + plan.teams).map_or(&[][..], |group| &sequences.order()[group.clone()]);
        let count = members.iter().map(|&segment| sequences.length(segment)).sum();
        let (events, after) = rest.split_at(count);
        let (below, after_below) = rest_below.split_at_mut(members.len() * width);
        (rest, rest_below) = (after, after_below);
        let y = try_from_fn(count, |n| std::mem::take(&mut rows[events[n] as usize]))?;
        jobs.push(Job { members, next, events, y, below });
    }
    let batch = SessionBatch { packed, slab, x, segments };
    grant.execute(plan.members, jobs, options.stop(), |job, team, check| {
        let space = spaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut space = space.map_or_else(|| Workspace::new(packed), Ok)?;
        batch.run(job, &mut space, team, check)?;
        spaces.lock().unwrap_or_else(PoisonError::into_inner).push(space);
        Ok(())
    })?;
    Ok(FinalStates { order: sequences.into_order(), below })
}

/// Returns the events group after group, within a group step by step, and within a step longest segment first.
fn by_step(segments: &[Segment], of: &[u32], sequences: &Sequences, plan: &Plan) -> Result<Vec<u32>, Error> {
    if segments.len() == of.len() {
        return try_from_fn(of.len(), |event| event as u32); // each event is a segment, in the order of the batch
    }
    let mut ends: Vec<usize> = try_with_capacity(segments.len())?;
    let mut sum = 0;
    for segment in segments {
        ends.push(sum);
        sum += segment.len as usize;
    }
    let mut by_segment = try_from_fn(of.len(), |_| 0)?;
    for (event, &segment) in of.iter().enumerate() {
        let end = &mut ends[segment as usize];
        by_segment[*end] = event as u32;
        *end += 1;
    }
    let start = |segment: usize| ends[segment] - segments[segment].len as usize;
    let mut events = try_with_capacity(of.len())?;
    for group in &plan.groups {
        let members = &sequences.order()[group.clone()];
        for t in 0..sequences.length(members[0]) {
            let running = members.iter().take_while(|&&member| sequences.length(member) > t);
            events.extend(running.map(|&member| by_segment[start(member) + t]));
        }
    }
    Ok(events)
}

impl<T: Real> Workspace<T> {
    fn new(packed: &PackedWeights<T>) -> Result<Self, Error> {
        let states: Result<_, Error> = packed.cells.iter().map(|cell| State::new(cell, MAX_ROWS_PER_STEP)).collect();
        Ok(Self {
            states: states?,
            projected: Aligned::zeros(MAX_ROWS_PER_STEP * packed.cells[0].projected_len())?,
            between: zeros(MAX_ROWS_PER_STEP * packed.dims.hidden_size)?,
        })
    }
}

impl<T: Real> SessionBatch<'_, T> {
    fn run(&self, mut job: Job<T>, space: &mut Workspace<T>, team: &Team, check: Check) -> Result<(), Error> {
        let (hidden, last) = (self.packed.dims.hidden_size, self.packed.dims.num_layers - 1);
        for (layer, state) in space.states.iter_mut().enumerate() {
            for (r, &member) in job.members.iter().enumerate() {
                let segment = &self.segments[member];
                if segment.fresh {
                    state.restart(&self.packed.cells[layer], r);
                } else {
                    self.slab.read(segment.slot, layer, &mut state.row_mut(r)[..hidden]);
                }
            }
        }
        // These states are loaded while this group computes.
        for &member in job.next {
            self.slab.prefetch(self.segments[member].slot);
        }
        let len = |r: usize| self.segments[job.members[r]].len as usize;
        let (mut t, mut done, mut rows) = (0, 0, job.members.len());
        while rows > 0 {
            check()?;
            if t > 0 && self.slab.half() {
                for state in &mut space.states {
                    (0..rows).for_each(|r| self.slab.round(&mut state.row_mut(r)[..hidden]));
                }
            }
            self.step(&job.events[done..][..rows], &mut job.y[done..][..rows], space, team);
            (t, done) = (t + 1, done + rows);
            while rows > 0 && len(rows - 1) == t {
                rows -= 1;
                for (layer, state) in space.states[..last].iter().enumerate() {
                    let to = &mut job.below[(rows * last + layer) * hidden..][..hidden];
                    to.copy_from_slice(&state.row(rows)[..hidden]);
                }
            }
        }
        Ok(())
    }

    /// Runs one step of the first rows.
    fn step(&self, events: &[u32], y: &mut [&mut [T]], space: &mut Workspace<T>, team: &Team) {
        let (packed, dims, rows) = (self.packed, &self.packed.dims, events.len());
        let engine = Engine { kernels: packed.kernels, team };
        let at = [0; MAX_ROWS_PER_STEP];
        for (layer, (cell, state)) in packed.cells.iter().zip(&mut space.states).enumerate() {
            if layer == 0 {
                let x = |r: usize| &self.x[events[r] as usize * dims.input_size..];
                cell.project(engine.products(), rows, x, &mut space.projected);
            } else {
                let between = &space.between;
                cell.project(engine.products(), rows, |r| &between[r * dims.hidden_size..], &mut space.projected);
            }
            let to = if layer + 1 == dims.num_layers {
                OutputRows::Listed { rows: &mut *y, at: &at }
            } else {
                OutputRows::Apart { array: &mut space.between, stride: dims.hidden_size }
            };
            step(engine, cell, rows, &space.projected, state, StepMasks::default(), to, None);
        }
    }
}
