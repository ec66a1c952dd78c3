//! Layers and directions of a stack over a batch: forward and backward.
//!
//! The batch is split into groups of sequences (`plan.rs`); each goes through the whole stack by itself.

use super::dropout::Dropout;
use super::gradients::weight_gradients;
use super::layer::{BackwardWalk, Walk};
use super::tape::{LayerTape, Tape};
use crate::error::Error;
use crate::kernels::pack::zeros;
use crate::kernels::real::Real;
use crate::kernels::weights::BackwardCell;
use crate::packed::Packed;
use crate::plan::Plan;
use crate::runtime::{Check, Stop, execute};
use crate::shape::{Dims, Sequences, expect_shape};

/// Inference. x `[rows, I]`, h0 `[L*D, N, H]` or zeros; writes y `[rows, D*H]`, whose padding is left as it is, and
/// `h_n` `[L*D, N, H]`. Uses up to `threads` threads.
///
/// # Errors
/// Sizes that do not fit; interrupted by `stop`.
pub fn forward<T: Real>(
    packed: &Packed<T>,
    x: &[T],
    sequences: &Sequences,
    h0: Option<&[T]>,
    y: &mut [T],
    h_n: &mut [T],
    threads: usize,
    stop: Stop,
) -> Result<(), Error> {
    run(packed, x, sequences, h0, y, h_n, None, threads, stop)
}

/// As [`forward`], recording what [`backward`] needs, and with dropout between the layers.
///
/// # Errors
/// As [`forward`].
pub fn forward_tape<T: Real>(
    packed: &Packed<T>,
    x: &[T],
    sequences: Sequences,
    h0: Option<&[T]>,
    y: &mut [T],
    h_n: &mut [T],
    dropout: f64,
    seed: u64,
    threads: usize,
    stop: Stop,
) -> Result<Tape<T>, Error> {
    let dropout = Dropout::new(dropout, seed)?;
    let mut tape = Tape::new(&packed.dims, sequences.clone(), dropout)?;
    run(packed, x, &sequences, h0, y, h_n, Some(&mut tape), threads, stop)?;
    Ok(tape)
}

/// Gradients of sum(y * dy) + sum(`h_n` * `dh_n`), for the arrays that [`forward_tape`] was given and wrote. Writes
/// dx `[rows, I]`, whose padding is left as it is; dh0 `[L*D, N, H]`; and the flat gradients of the parameters, which
/// must come as zeros like dx. dy and `dh_n` count as zeros where not given.
///
/// # Errors
/// Sizes that do not fit, weights not packed for training; interrupted by `stop`.
pub fn backward<T: Real>(
    packed: &Packed<T>,
    tape: &Tape<T>,
    x: &[T],
    h0: Option<&[T]>,
    y: &[T],
    dy: Option<&[T]>,
    dh_n: Option<&[T]>,
    dx: &mut [T],
    dh0: &mut [T],
    dparams: &mut [T],
    threads: usize,
    stop: Stop,
) -> Result<(), Error> {
    let (dims, sequences) = (&packed.dims, &tape.sequences);
    let width = dims.output_size();
    let rows = sequences.rows();
    let states = dims.num_cells() * sequences.count() * dims.hidden_size;
    for (name, expected, got) in [
        ("x", rows * dims.input_size, x.len()),
        ("y", rows * width, y.len()),
        ("dy", rows * width, dy.map_or(rows * width, <[T]>::len)),
        ("h0", states, h0.map_or(states, <[T]>::len)),
        ("dh_n", states, dh_n.map_or(states, <[T]>::len)),
        ("dx", rows * dims.input_size, dx.len()),
        ("dh0", states, dh0.len()),
        ("dparams", dims.num_params(), dparams.len()),
    ] {
        expect_shape(name, &[expected], &[got])?;
    }
    let backward = packed.backward.as_deref().ok_or_else(|| Error::value("weights", "packed for training", "not"))?;
    let segments = BackwardWalk::<T>::segments(dims.reset_after);
    let d = (0..dims.num_cells()).map(|_| zeros(sequences.steps() * segments * dims.hidden_size));
    let mut d: Vec<Vec<T>> = d.collect::<Result<_, Error>>()?;

    let plan = Plan::new(dims, sequences, threads);
    match dh_n {
        Some(dh_n) => dh0.copy_from_slice(dh_n),
        None => dh0.fill(T::ZERO),
    }
    let batch = Batch { packed, sequences, h0: States::new(dims, sequences, h0), backward };
    let outputs: Vec<Vec<&[T]>> = (0..dims.num_layers).map(|layer| batch.output_of(tape, layer, y)).collect();
    let dealt = Dealt::new(&plan, sequences);
    let mut dx = dealt.deal(sequences.split_mut(dx, dims.input_size)).into_iter();
    let mut dh = dealt.deal_cells(dh0.chunks_mut(dims.hidden_size.max(1)).collect(), sequences.count());
    let mut d_cells: Vec<_> = d
        .iter_mut()
        .map(|d| dealt.deal(sequences.split_compact_mut(d, segments * dims.hidden_size)).into_iter())
        .collect();
    let dy = dy.map(|dy| sequences.split(dy, width));
    let jobs: Vec<BackwardJob<T>> = plan
        .groups
        .iter()
        .map(|group| BackwardJob {
            members: &sequences.order()[group.clone()],
            dx: dx.next().unwrap_or_default(),
            dh: dh.iter_mut().map(|cell| cell.next().unwrap_or_default()).collect(),
            d: d_cells.iter_mut().map(|cell| cell.next().unwrap_or_default()).collect(),
        })
        .collect();
    execute(plan.threads, jobs, stop, |job, check| batch.backward_group(job, tape, &outputs, dy.as_deref(), check))?;
    drop(d_cells);
    weight_gradients(&batch, tape, x, &outputs, &d, dparams, plan.sharing, stop)
}

fn run<T: Real>(
    packed: &Packed<T>,
    x: &[T],
    sequences: &Sequences,
    h0: Option<&[T]>,
    y: &mut [T],
    h_n: &mut [T],
    tape: Option<&mut Tape<T>>,
    threads: usize,
    stop: Stop,
) -> Result<(), Error> {
    let dims = &packed.dims;
    let (width, hidden) = (dims.output_size(), dims.hidden_size);
    let states = dims.num_cells() * sequences.count() * hidden;
    for (name, expected, got) in [
        ("x", sequences.rows() * dims.input_size, x.len()),
        ("h0", states, h0.map_or(states, <[T]>::len)),
        ("y", sequences.rows() * width, y.len()),
        ("h_n", states, h_n.len()),
    ] {
        expect_shape(name, &[expected], &[got])?;
    }
    let plan = Plan::new(dims, sequences, threads);
    let batch = Batch { packed, sequences, h0: States::new(dims, sequences, h0), backward: &[] };
    let x = sequences.split(x, dims.input_size);
    let dealt = Dealt::new(&plan, sequences);
    let mut y = dealt.deal(sequences.split_mut(y, width)).into_iter();
    let mut h_n = dealt.deal_cells(h_n.chunks_mut(hidden).collect(), sequences.count());
    let dropout = tape.as_ref().and_then(|tape| tape.dropout);
    let mut layers: Option<Vec<DealtLayer<T>>> = tape.map(|tape| {
        tape.layers.iter_mut().map(|layer| DealtLayer::new(&dealt, sequences, layer, width, hidden)).collect()
    });
    let jobs: Vec<ForwardJob<T>> = plan
        .groups
        .iter()
        .map(|group| ForwardJob {
            members: &sequences.order()[group.clone()],
            y: y.next().unwrap_or_default(),
            h_n: h_n.iter_mut().map(|cell| cell.next().unwrap_or_default()).collect(),
            tape: layers.as_mut().map(|layers| layers.iter_mut().map(DealtLayer::next).collect()),
        })
        .collect();
    execute(plan.threads, jobs, stop, |job, check| batch.forward_group(job, &x, dropout, check))
}

/// Initial states `[L*D, N, H]`, zeros if there are none.
pub(super) struct States<'a, T> {
    given: Option<&'a [T]>,
    zeros: Vec<T>,
    batch: usize,
    hidden: usize,
}

impl<'a, T: Real> States<'a, T> {
    fn new(dims: &Dims, sequences: &Sequences, given: Option<&'a [T]>) -> Self {
        Self { given, zeros: vec![T::ZERO; dims.hidden_size], batch: sequences.count(), hidden: dims.hidden_size }
    }

    /// That of sequence n in a cell.
    pub(super) fn of(&self, cell: usize, n: usize) -> &[T] {
        self.given.map_or(&self.zeros, |all| &all[(cell * self.batch + n) * self.hidden..][..self.hidden])
    }
}

/// What all groups share.
pub(super) struct Batch<'a, T: 'static> {
    pub packed: &'a Packed<T>,
    pub sequences: &'a Sequences,
    pub h0: States<'a, T>,
    /// Of every cell; empty in inference.
    pub backward: &'a [BackwardCell<T>],
}

/// Sequences that one thread takes through the stack together, longest first.
struct Group<'a> {
    members: &'a [usize],
    lengths: &'a [usize],
    check: Check<'a>,
}

/// What a group writes, forward; lists are by member, those of cells by cell first.
struct ForwardJob<'a, T> {
    members: &'a [usize],
    y: Vec<&'a mut [T]>,
    h_n: Vec<Vec<&'a mut [T]>>,
    tape: Option<Vec<LayerSlices<'a, T>>>,
}

/// What a group writes, backward.
struct BackwardJob<'a, T> {
    members: &'a [usize],
    dx: Vec<&'a mut [T]>,
    dh: Vec<Vec<&'a mut [T]>>,
    d: Vec<Vec<&'a mut [T]>>,
}

/// A group's part of a layer's tape.
struct LayerSlices<'a, T> {
    cells: Vec<Vec<&'a mut [T]>>,
    output: Vec<&'a mut [T]>,
    dropped: Vec<&'a mut [T]>,
}

/// A layer's tape, dealt to the groups.
struct DealtLayer<'a, T> {
    cells: Vec<std::vec::IntoIter<Vec<&'a mut [T]>>>,
    output: std::vec::IntoIter<Vec<&'a mut [T]>>,
    dropped: std::vec::IntoIter<Vec<&'a mut [T]>>,
}

impl<'a, T: Real> DealtLayer<'a, T> {
    fn new(dealt: &Dealt, seqs: &Sequences, tape: &'a mut LayerTape<T>, width: usize, hidden: usize) -> Self {
        let rows = |data: &'a mut Vec<T>, width: usize| {
            // What is not recorded is dealt as empty parts.
            let width = if data.is_empty() { 0 } else { width };
            dealt.deal(seqs.split_compact_mut(data, width)).into_iter()
        };
        Self {
            cells: tape.cells.iter_mut().map(|cell| rows(cell, 4 * hidden)).collect(),
            output: rows(&mut tape.output, width),
            dropped: rows(&mut tape.dropped, width),
        }
    }

    fn next(&mut self) -> LayerSlices<'a, T> {
        LayerSlices {
            cells: self.cells.iter_mut().map(|cell| cell.next().unwrap_or_default()).collect(),
            output: self.output.next().unwrap_or_default(),
            dropped: self.dropped.next().unwrap_or_default(),
        }
    }
}

/// Deals things of the batch's sequences to the groups, in each longest sequence first.
struct Dealt {
    /// Group and place in it of each sequence.
    places: Vec<(usize, usize)>,
    sizes: Vec<usize>,
}

impl Dealt {
    fn new(plan: &Plan, sequences: &Sequences) -> Self {
        let mut places = vec![(0, 0); sequences.count()];
        for (group, range) in plan.groups.iter().enumerate() {
            for (place, &n) in sequences.order()[range.clone()].iter().enumerate() {
                places[n] = (group, place);
            }
        }
        Self { places, sizes: plan.groups.iter().map(ExactSizeIterator::len).collect() }
    }

    /// One thing a sequence.
    fn deal<'a, T>(&self, things: Vec<&'a mut [T]>) -> Vec<Vec<&'a mut [T]>> {
        let mut hands: Vec<Vec<&'a mut [T]>> =
            self.sizes.iter().map(|&size| (0..size).map(|_| Default::default()).collect()).collect();
        for (thing, &(group, place)) in things.into_iter().zip(&self.places) {
            hands[group][place] = thing;
        }
        hands
    }

    /// One thing a cell and sequence, cell by cell.
    fn deal_cells<'a, T>(&self, things: Vec<&'a mut [T]>, batch: usize) -> Vec<std::vec::IntoIter<Vec<&'a mut [T]>>> {
        let mut cells = Vec::new();
        let mut things = things.into_iter();
        loop {
            let cell: Vec<_> = things.by_ref().take(batch).collect();
            if cell.is_empty() {
                return cells;
            }
            cells.push(self.deal(cell).into_iter());
        }
    }
}

impl<T: Real> Batch<'_, T> {
    /// The steps of a group's members.
    fn lengths(&self, members: &[usize]) -> Vec<usize> {
        members.iter().map(|&n| self.sequences.length(n)).collect()
    }

    fn walk<'b>(&'b self, layer: usize, direction: usize, lengths: &'b [usize], check: Check<'b>) -> Walk<'b, T> {
        let dims = &self.packed.dims;
        Walk {
            kernels: self.packed.kernels,
            cell: &self.packed.cells[layer * dims.directions() + direction],
            lengths,
            hidden: dims.hidden_size,
            input: dims.layer_input(layer),
            width: dims.output_size(),
            direction,
            check,
        }
    }

    /// Each sequence's output of a layer.
    fn output_of<'b>(&self, tape: &'b Tape<T>, layer: usize, y: &'b [T]) -> Vec<&'b [T]> {
        let width = self.packed.dims.output_size();
        if layer + 1 == self.packed.dims.num_layers {
            self.sequences.split(y, width)
        } else {
            self.sequences.split_compact(&tape.layers[layer].output, width)
        }
    }

    fn forward_group(
        &self,
        mut job: ForwardJob<T>,
        x: &[&[T]],
        dropout: Option<Dropout>,
        check: Check,
    ) -> Result<(), Error> {
        let dims = &self.packed.dims;
        let (width, last) = (dims.output_size(), dims.num_layers - 1);
        let lengths = self.lengths(job.members);
        let group = Group { members: job.members, lengths: &lengths, check };
        let x: Vec<&[T]> = job.members.iter().map(|&n| x[n]).collect();
        let Some(layers) = &mut job.tape else {
            // Outputs of the layer before and of this one.
            let (mut before, mut current) = (Vec::new(), Vec::new());
            let steps: usize = lengths.iter().sum();
            for layer in 0..=last {
                let input = if layer == 0 { x.clone() } else { split_steps(&before, &lengths, width) };
                if layer == last {
                    self.forward_layer(layer, &group, &input, &mut job.y, None, &mut job.h_n)?;
                } else {
                    if current.is_empty() {
                        current = zeros(steps * width)?;
                    }
                    let mut output = split_steps_mut(&mut current, &lengths, width);
                    self.forward_layer(layer, &group, &input, &mut output, None, &mut job.h_n)?;
                    std::mem::swap(&mut before, &mut current);
                }
            }
            return Ok(());
        };
        for layer in 0..=last {
            let (done, rest) = layers.split_at_mut(layer);
            let LayerSlices { cells, output, dropped } = &mut rest[0];
            let input: Vec<&[T]> = match (done.last(), dropout) {
                (None, _) => x.clone(),
                (Some(below), None) => below.output.iter().map(|rows| &**rows).collect(),
                (Some(below), Some(dropout)) => {
                    for ((dropped, output), &n) in dropped.iter_mut().zip(&below.output).zip(group.members) {
                        dropped.copy_from_slice(output);
                        dropout.apply(layer, self.sequences.compact_range(n).start, width, dropped);
                    }
                    dropped.iter().map(|rows| &**rows).collect()
                }
            };
            let output = if layer == last { &mut job.y } else { output };
            self.forward_layer(layer, &group, &input, output, Some(cells), &mut job.h_n)?;
        }
        Ok(())
    }

    /// One layer, all directions; `h_n` has all cells, `tape` those of this layer.
    fn forward_layer(
        &self,
        layer: usize,
        group: &Group,
        input: &[&[T]],
        output: &mut [&mut [T]],
        mut tape: Option<&mut Vec<Vec<&mut [T]>>>,
        h_n: &mut [Vec<&mut [T]>],
    ) -> Result<(), Error> {
        for direction in 0..self.packed.dims.directions() {
            let cell = layer * self.packed.dims.directions() + direction;
            let walk = self.walk(layer, direction, group.lengths, group.check);
            let h0 = |r: usize| self.h0.of(cell, group.members[r]);
            walk.forward(input, h0, output, tape.as_mut().map(|tape| tape[direction].as_mut_slice()))?;
            for (r, h_n) in h_n[cell].iter_mut().enumerate() {
                h_n.copy_from_slice(walk.final_state(r, output[r], h0(r)));
            }
        }
        Ok(())
    }

    fn backward_group(
        &self,
        mut job: BackwardJob<T>,
        tape: &Tape<T>,
        outputs: &[Vec<&[T]>],
        dy: Option<&[&[T]]>,
        check: Check,
    ) -> Result<(), Error> {
        let dims = &self.packed.dims;
        let (width, last) = (dims.output_size(), dims.num_layers - 1);
        let lengths = self.lengths(job.members);
        let group = Group { members: job.members, lengths: &lengths, check };
        let steps: usize = lengths.iter().sum();
        // Gradients of the output of the layer below and of this one.
        let (mut below, mut current) = (Vec::new(), Vec::new());
        for layer in (0..=last).rev() {
            let dy: Option<Vec<&[T]>> = if layer == last {
                dy.map(|dy| job.members.iter().map(|&n| dy[n]).collect())
            } else {
                Some(split_steps(&current, &lengths, width))
            };
            let (cells, dh) = (&mut job.d, &mut job.dh);
            if layer == 0 {
                self.backward_layer(layer, &group, tape, outputs, dy.as_deref(), cells, dh, &mut job.dx)?;
                break;
            }
            below.clear();
            below
                .try_reserve_exact(steps * width)
                .map_err(|_| Error::Memory { bytes: steps * width * size_of::<T>() })?;
            below.resize(steps * width, T::ZERO);
            let mut dx = split_steps_mut(&mut below, &lengths, width);
            self.backward_layer(layer, &group, tape, outputs, dy.as_deref(), cells, dh, &mut dx)?;
            if let Some(dropout) = tape.dropout {
                for (dx, &n) in dx.iter_mut().zip(group.members) {
                    dropout.apply(layer, self.sequences.compact_range(n).start, width, dx);
                }
            }
            std::mem::swap(&mut below, &mut current);
        }
        Ok(())
    }

    /// One layer, all directions; `d` and `dh` have all cells.
    fn backward_layer(
        &self,
        layer: usize,
        group: &Group,
        tape: &Tape<T>,
        outputs: &[Vec<&[T]>],
        dy: Option<&[&[T]]>,
        d: &mut [Vec<&mut [T]>],
        dh: &mut [Vec<&mut [T]>],
        dx: &mut [&mut [T]],
    ) -> Result<(), Error> {
        let dims = &self.packed.dims;
        let y: Vec<&[T]> = group.members.iter().map(|&n| outputs[layer][n]).collect();
        for direction in 0..dims.directions() {
            let cell = layer * dims.directions() + direction;
            let walk = self.walk(layer, direction, group.lengths, group.check);
            let back = BackwardWalk { walk: &walk, weights: &self.backward[cell], reset_after: dims.reset_after };
            let recorded = &tape.layers[layer].cells[direction];
            let recorded: Vec<&[T]> = group
                .members
                .iter()
                .map(|&n| self.sequences.compact_range(n))
                .map(|rows| &recorded[rows.start * 4 * dims.hidden_size..rows.end * 4 * dims.hidden_size])
                .collect();
            let h0 = |r: usize| self.h0.of(cell, group.members[r]);
            back.recurrence(&recorded, &y, &h0, dy, &mut d[cell], &mut dh[cell])?;
            back.input(&d[cell], dx)?;
        }
        Ok(())
    }
}

/// A group's rows, member after member.
fn split_steps<'a, T>(mut data: &'a [T], lengths: &[usize], width: usize) -> Vec<&'a [T]> {
    let part = |&length: &usize| {
        let (part, rest) = data.split_at(length * width);
        data = rest;
        part
    };
    lengths.iter().map(part).collect()
}

/// A group's rows, member after member, to be written.
fn split_steps_mut<'a, T>(mut data: &'a mut [T], lengths: &[usize], width: usize) -> Vec<&'a mut [T]> {
    let part = |&length: &usize| {
        let (part, rest) = std::mem::take(&mut data).split_at_mut(length * width);
        data = rest;
        part
    };
    lengths.iter().map(part).collect()
}
