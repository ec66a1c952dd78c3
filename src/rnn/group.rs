//! Runs a group of sequences through all layers and directions of a stack.

use crate::cell::Real;
use crate::cell::weights::BackwardCell;
use crate::error::Error;
use crate::memory::aligned::zeros;
use crate::memory::buffer_pool::PooledBuffer;
use crate::rnn::dropout::{Masks, RecurrentDropout};
use crate::rnn::layer::{BackwardPass, Kept, LayerPass};
use crate::rnn::merge::{merge, merge_backward};
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::states::States;
use crate::rnn::tape::Tape;
use crate::shape::{Merge, Sequences};
use crate::threads::runtime::Check;
use crate::threads::team::{Engine, Team};

/// How many numbers of a layer's output are computed at a time if only the next layer or the final states need it.
const WINDOW_NUMBERS: usize = 1 << 17;

/// The data of a batch that all groups share.
pub(super) struct BatchContext<'a, T: 'static> {
    pub packed: &'a PackedWeights<T>,
    pub sequences: &'a Sequences,
    pub h0: States<'a, T>,
    /// The weights of every cell for the backward pass; empty in inference.
    pub backward: &'a [BackwardCell<T>],
}

/// Sequences that one team runs through the stack together, longest first.
pub(super) struct Group<'a> {
    members: &'a [usize],
    lengths: &'a [usize],
    team: &'a Team<'a>,
    check: Check<'a>,
}

/// The arrays that a group writes in the forward pass. Lists are by member; lists of cells are by cell, then member.
pub(super) struct ForwardJob<'a, T> {
    pub members: &'a [usize],
    /// `None` if only the final states are wanted.
    pub y: Option<Vec<&'a mut [T]>>,
    pub h_n: Vec<Vec<&'a mut [T]>>,
    pub tape: Option<Vec<LayerSlices<'a, T>>>,
}

/// The arrays that a group writes in the backward pass.
pub(super) struct BackwardJob<'a, T> {
    pub members: &'a [usize],
    pub dx: Vec<&'a mut [T]>,
    pub dh: Vec<Vec<&'a mut [T]>>,
    pub d: Vec<Vec<&'a mut [T]>>,
}

/// A group's part of a layer's tape.
pub(super) struct LayerSlices<'a, T> {
    pub cells: Vec<Vec<&'a mut [T]>>,
    pub states: Vec<&'a mut [T]>,
    pub input: Vec<&'a mut [T]>,
}

/// What a run in training records of a layer, and its masks.
struct Recording<'a, 'b, T> {
    cells: &'a mut Vec<Vec<&'b mut [T]>>,
    masks: Masks,
}

impl<T: Real> BatchContext<'_, T> {
    /// Returns the number of steps of each member of a group.
    fn lengths(&self, members: &[usize]) -> Vec<usize> {
        members.iter().map(|&n| self.sequences.length(n)).collect()
    }

    /// Returns the pass over one direction of a layer. In training it has the mask of recurrent dropout.
    fn pass<'b>(
        &'b self,
        layer: usize,
        direction: usize,
        group: &Group<'b>,
        dropout: Option<RecurrentDropout>,
    ) -> Result<LayerPass<'b, T>, Error> {
        let dims = &self.packed.dims;
        let index = layer * dims.directions() + direction;
        let cell = &self.packed.cells[index];
        let mask = dropout.map(|dropout| {
            let mut mask = zeros(group.members.len() * cell.padded)?;
            for (mask, &n) in mask.chunks_exact_mut(cell.padded).zip(group.members) {
                dropout.mask(index, n, &mut mask[..dims.hidden_size]);
            }
            Ok(mask)
        });
        Ok(LayerPass {
            engine: Engine { kernels: self.packed.kernels, team: group.team },
            cell,
            lengths: group.lengths,
            hidden: dims.hidden_size,
            input: dims.layer_input(layer),
            width: dims.states_size(),
            column: direction * dims.hidden_size,
            reverse: dims.runs_backward(direction),
            mask: mask.transpose()?,
            check: group.check,
        })
    }

    /// Returns each sequence's states of all directions of a layer.
    pub fn states_of<'b>(&self, tape: &'b Tape<T>, layer: usize, y: &'b [T]) -> Vec<&'b [T]> {
        let width = self.packed.dims.states_size();
        if layer + 1 == self.packed.dims.num_layers && !self.merges() {
            self.sequences.split(y, width)
        } else {
            self.sequences.split_compact(&tape.layers[layer].states, width)
        }
    }

    /// Returns whether outputs are something else than the states of all directions.
    fn merges(&self) -> bool {
        self.packed.dims.merge != Merge::Concat
    }

    /// Writes each member's outputs for its states of all directions.
    fn merge(&self, states: &[&mut [T]], outputs: &mut [&mut [T]]) {
        for (states, output) in states.iter().zip(outputs) {
            merge(self.packed.dims.merge, self.packed.dims.hidden_size, states, output);
        }
    }

    pub fn forward_group(
        &self,
        mut job: ForwardJob<T>,
        x: &[&[T]],
        masks: Masks,
        team: &Team,
        check: Check,
    ) -> Result<(), Error> {
        let (dims, dropout) = (&self.packed.dims, masks.dropout);
        let (width, last) = (dims.output_size(), dims.num_layers - 1);
        let lengths = self.lengths(job.members);
        let group = Group { members: job.members, lengths: &lengths, team, check };
        let x: Vec<&[T]> = job.members.iter().map(|&n| x[n]).collect();
        for (cell, h_n) in job.h_n.iter_mut().enumerate() {
            for (h_n, &n) in h_n.iter_mut().zip(job.members) {
                h_n.copy_from_slice(self.h0.of(cell, n));
            }
        }
        let Some(layers) = &mut job.tape else { return self.infer(&group, &x, job.y, &mut job.h_n) };
        let mut y = job.y.unwrap_or_default();
        for layer in 0..=last {
            let (done, rest) = layers.split_at_mut(layer);
            let LayerSlices { cells, states, input } = &mut rest[0];
            if let Some(below) = done.last().filter(|_| self.merges() || dropout.is_some()) {
                self.merge(&below.states, input);
                if let Some(dropout) = dropout {
                    for (input, &n) in input.iter_mut().zip(group.members) {
                        dropout.apply(layer, self.sequences.origin(n), width, input);
                    }
                }
            }
            let read: Vec<&[T]> = match done.last() {
                None => x.clone(),
                Some(_) if self.merges() || dropout.is_some() => input.iter().map(|rows| &**rows).collect(),
                Some(below) => below.states.iter().map(|rows| &**rows).collect(),
            };
            let last = layer == last;
            let to = if last && !self.merges() { &mut y } else { &mut *states };
            let record = Some(Recording { cells, masks });
            self.forward_layer(layer, &group, &read, to, record, &mut job.h_n)?;
            if last && self.merges() {
                self.merge(states, &mut y);
            }
        }
        Ok(())
    }

    /// Runs all layers over a window of steps before the next window, so that temporary outputs stay small. If the
    /// stack has a reverse direction, the window is the whole sequence, since that starts at its end.
    fn infer(
        &self,
        group: &Group,
        x: &[&[T]],
        mut y: Option<Vec<&mut [T]>>,
        h_n: &mut [Vec<&mut [T]>],
    ) -> Result<(), Error> {
        let dims = &self.packed.dims;
        let (input, width, last) = (dims.input_size, dims.output_size(), dims.num_layers - 1);
        let longest = group.lengths.first().copied().unwrap_or(0);
        let temporary = last + usize::from(y.is_none()); // layers whose outputs are not kept
        let whole = temporary == 0 || dims.bidirectional || dims.reverse;
        let window = if whole { longest } else { (WINDOW_NUMBERS / (group.lengths.len() * width)).max(1) };
        let steps: usize = group.lengths.iter().map(|&length| length.min(window)).sum();
        // The outputs of even and of odd layers.
        let len = |needed: bool| if needed { steps * width } else { 0 };
        let (mut even, mut odd) = (PooledBuffer::new(len(temporary > 0))?, PooledBuffer::new(len(temporary > 1))?);
        // The states of both directions, before they are merged.
        let mut states = PooledBuffer::new(if self.merges() { steps * dims.states_size() } else { 0 })?;
        for first in (0..longest).step_by(window.max(1)) {
            let lengths: Vec<usize> = group.lengths.iter().map(|&l| l.saturating_sub(first).min(window)).collect();
            let group = Group { lengths: &lengths, ..*group };
            let mut y: Option<Vec<&mut [T]>> =
                y.as_mut().map(|y| y.iter_mut().map(|y| y.split_at_mut(y.len().min(first * width)).1).collect());
            for layer in 0..=last {
                let (before, current) = if layer % 2 == 0 { (&odd, &mut even) } else { (&even, &mut odd) };
                let input = if layer == 0 {
                    x.iter().map(|x| &x[x.len().min(first * input)..]).collect()
                } else {
                    split_steps(before, &lengths, width)
                };
                match &mut y {
                    Some(y) if layer == last => self.infer_layer(layer, &group, &input, y, &mut states, h_n)?,
                    _ => {
                        let mut output = split_steps_mut(current, &lengths, width);
                        self.infer_layer(layer, &group, &input, &mut output, &mut states, h_n)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// As [`Self::forward_layer`], with the outputs of the layer instead of the states of all directions. These are
    /// written to `states` if they are merged.
    fn infer_layer(
        &self,
        layer: usize,
        group: &Group,
        input: &[&[T]],
        output: &mut [&mut [T]],
        states: &mut [T],
        h_n: &mut [Vec<&mut [T]>],
    ) -> Result<(), Error> {
        if !self.merges() {
            return self.forward_layer(layer, group, input, output, None, h_n);
        }
        let mut states = split_steps_mut(states, group.lengths, self.packed.dims.states_size());
        self.forward_layer(layer, group, input, &mut states, None, h_n)?;
        self.merge(&states, output);
        Ok(())
    }

    /// Runs all directions of one layer from the states in `h_n`, which are replaced by the final ones. `h_n` has all
    /// cells.
    fn forward_layer(
        &self,
        layer: usize,
        group: &Group,
        input: &[&[T]],
        output: &mut [&mut [T]],
        mut record: Option<Recording<T>>,
        h_n: &mut [Vec<&mut [T]>],
    ) -> Result<(), Error> {
        for direction in 0..self.packed.dims.directions() {
            let cell = layer * self.packed.dims.directions() + direction;
            let masks = record.as_ref().map_or_else(Masks::default, |record| record.masks);
            let pass = self.pass(layer, direction, group, masks.recurrent)?;
            let kept = masks.zoneout.map(|zoneout| {
                move |r: usize, row: usize, kept: &mut [T]| {
                    zoneout.factors(cell, self.sequences.origin(group.members[r]) + row, kept);
                }
            });
            let kept: Option<Kept<T>> = kept.as_ref().map(|kept| kept as _);
            let tape = record.as_mut().map(|record| record.cells[direction].as_mut_slice());
            pass.forward(input, |r| h_n[cell][r], kept, output, tape)?;
            for (r, h_n) in h_n[cell].iter_mut().enumerate() {
                if let Some(state) = pass.final_state(r, output[r]) {
                    h_n.copy_from_slice(state);
                }
            }
        }
        Ok(())
    }

    pub fn backward_group(
        &self,
        mut job: BackwardJob<T>,
        tape: &Tape<T>,
        states: &[Vec<&[T]>],
        dy: Option<&[&[T]]>,
        team: &Team,
        check: Check,
    ) -> Result<(), Error> {
        let dims = &self.packed.dims;
        let (width, last) = (dims.output_size(), dims.num_layers - 1);
        let lengths = self.lengths(job.members);
        let group = Group { members: job.members, lengths: &lengths, team, check };
        let steps: usize = lengths.iter().sum();
        // The gradients of the output of the layer below, and of this one.
        let len = |between: bool| if between { steps * width } else { 0 };
        let (mut below, mut current) = (PooledBuffer::new(len(last > 0))?, PooledBuffer::new(len(last > 1))?);
        for layer in (0..=last).rev() {
            let dy: Option<Vec<&[T]>> = if layer == last {
                dy.map(|dy| job.members.iter().map(|&n| dy[n]).collect())
            } else {
                Some(split_steps(&current, &lengths, width))
            };
            let (cells, dh) = (&mut job.d, &mut job.dh);
            if layer == 0 {
                self.backward_layer(layer, &group, tape, states, dy.as_deref(), cells, dh, &mut job.dx)?;
                break;
            }
            below.fill(T::ZERO);
            let mut dx = split_steps_mut(&mut below, &lengths, width);
            self.backward_layer(layer, &group, tape, states, dy.as_deref(), cells, dh, &mut dx)?;
            if let Some(dropout) = tape.masks.dropout {
                for (dx, &n) in dx.iter_mut().zip(group.members) {
                    dropout.apply(layer, self.sequences.origin(n), width, dx);
                }
            }
            std::mem::swap(&mut below, &mut current);
        }
        Ok(())
    }

    /// Runs the backward pass of all directions of one layer; `d` and `dh` have all cells.
    fn backward_layer(
        &self,
        layer: usize,
        group: &Group,
        tape: &Tape<T>,
        states: &[Vec<&[T]>],
        dy: Option<&[&[T]]>,
        d: &mut [Vec<&mut [T]>],
        dh: &mut [Vec<&mut [T]>],
        dx: &mut [&mut [T]],
    ) -> Result<(), Error> {
        let dims = &self.packed.dims;
        let states: Vec<&[T]> = group.members.iter().map(|&n| states[layer][n]).collect();
        let merged = dy.filter(|_| self.merges());
        let len = merged.map_or(0, |_| states.iter().map(|states| states.len()).sum());
        let mut d_states = PooledBuffer::new(len)?;
        let dy = match merged {
            None => dy.map(<[_]>::to_vec),
            Some(dy) => {
                let rows = split_steps_mut(&mut d_states, group.lengths, dims.states_size());
                for ((states, dy), d) in states.iter().zip(dy).zip(rows) {
                    merge_backward(dims.merge, dims.hidden_size, states, dy, d);
                }
                Some(split_steps(&d_states, group.lengths, dims.states_size()))
            }
        };
        for direction in 0..dims.directions() {
            let cell = layer * dims.directions() + direction;
            let pass = self.pass(layer, direction, group, tape.masks.recurrent)?;
            let back = BackwardPass { pass: &pass, weights: &self.backward[cell] };
            let recorded = &tape.layers[layer].cells[direction];
            let recorded: Vec<&[T]> = group
                .members
                .iter()
                .map(|&n| self.sequences.compact_range(n))
                .map(|rows| &recorded[rows.start * dims.record_len()..rows.end * dims.record_len()])
                .collect();
            let h0 = |r: usize| self.h0.of(cell, group.members[r]);
            back.recurrence(&recorded, &states, &h0, dy.as_deref(), &mut d[cell], &mut dh[cell])?;
            back.input(&d[cell], dx)?;
        }
        Ok(())
    }
}

/// Splits a group's rows, which are stored member after member.
fn split_steps<'a, T>(mut data: &'a [T], lengths: &[usize], width: usize) -> Vec<&'a [T]> {
    let part = |&length: &usize| {
        let (part, rest) = data.split_at(length * width);
        data = rest;
        part
    };
    lengths.iter().map(part).collect()
}

/// Splits a group's rows, which are stored member after member, for writing.
fn split_steps_mut<'a, T>(mut data: &'a mut [T], lengths: &[usize], width: usize) -> Vec<&'a mut [T]> {
    let part = |&length: &usize| {
        let (part, rest) = std::mem::take(&mut data).split_at_mut(length * width);
        data = rest;
        part
    };
    lengths.iter().map(part).collect()
}
