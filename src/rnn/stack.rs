//! The forward and backward pass of a stack over a batch.
//!
//! The batch is split into groups of sequences (`plan.rs`), each of which runs through the whole stack by itself.

use crate::cell::Real;
use crate::error::Error;
use crate::memory::buffer_pool::PooledBuffer;
use crate::options::Options;
use crate::rnn::arguments::{ForwardArrays, InputGrads, Inputs, OutputGrads, Outputs};
use crate::rnn::dropout::Masks;
use crate::rnn::gradients::weight_gradients;
use crate::rnn::group::{BackwardJob, BatchContext, ForwardJob};
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::partition::{LayerParts, Partition};
use crate::rnn::plan::Plan;
use crate::rnn::states::{States, add_initial_grads};
use crate::rnn::tape::Tape;
use crate::shape::{Dims, Sequences, expect_shape};
use crate::threads::runtime::Grant;

/// Runs inference and writes the outputs and the final states.
///
/// # Errors
/// [`Error::Value`] if the size of an array does not fit, [`Error::Memory`], or [`Error::Interrupted`] if
/// `options.stop` returned true.
pub fn forward<T: Real>(
    packed: &PackedWeights<T>,
    inputs: Inputs<T>,
    outputs: Outputs<T>,
    options: Options,
) -> Result<(), Error> {
    run(packed, inputs, Some(outputs.y), outputs.h_n, None, options)
}

/// As [`forward`], for the final states only: no memory is needed for y.
///
/// # Errors
/// As [`forward`].
pub fn final_states<T: Real>(
    packed: &PackedWeights<T>,
    inputs: Inputs<T>,
    h_n: &mut [T],
    options: Options,
) -> Result<(), Error> {
    run(packed, inputs, None, h_n, None, options)
}

/// As [`forward`], and also records the tape that [`backward`] needs.
///
/// # Errors
/// As [`forward`].
pub fn forward_tape<T: Real>(
    packed: &PackedWeights<T>,
    inputs: Inputs<T>,
    outputs: Outputs<T>,
    masks: Masks,
    options: Options,
) -> Result<Tape<T>, Error> {
    let mut tape = Tape::new(&packed.dims, inputs.sequences.clone(), masks)?;
    run(packed, inputs, Some(outputs.y), outputs.h_n, Some(&mut tape), options)?;
    Ok(tape)
}

/// Computes the gradients of sum(y * dy) + sum(`h_n` * `dh_n`), for the arrays that [`forward_tape`] read and wrote.
///
/// # Errors
/// As [`forward`]; [`Error::Value`] if the weights are not packed for training.
pub fn backward<T: Real>(
    packed: &PackedWeights<T>,
    tape: &Tape<T>,
    arrays: ForwardArrays<T>,
    output_grads: OutputGrads<T>,
    input_grads: InputGrads<T>,
    options: Options,
) -> Result<(), Error> {
    let ForwardArrays { x, h0, y } = arrays;
    let OutputGrads { dy, dh_n } = output_grads;
    let InputGrads { dx, dh0, dparams } = input_grads;
    let (dims, sequences) = (&packed.dims, &tape.sequences);
    let width = dims.output_size();
    let rows = sequences.rows();
    let states_len = dims.num_cells() * sequences.count() * dims.hidden_size;
    for (name, expected, got) in [
        ("x", rows * dims.input_size, x.len()),
        ("y", rows * width, y.len()),
        ("dy", rows * width, dy.map_or(rows * width, <[T]>::len)),
        ("h0", states_len, h0.map_or(states_len, <[T]>::len)),
        ("dh_n", states_len, dh_n.map_or(states_len, <[T]>::len)),
        ("dx", rows * dims.input_size, dx.len()),
        ("dh0", states_len, dh0.len()),
        ("dparams", dims.num_params(), dparams.len()),
    ] {
        expect_shape(name, &[expected], &[got])?;
    }
    let backward = packed
        .backward
        .as_deref()
        .ok_or_else(|| Error::value("weights", "weights packed for training", "weights packed for inference only"))?;
    let segments = backward[0].segments().count;
    let d = (0..dims.num_cells()).map(|_| PooledBuffer::new(sequences.steps() * segments * dims.hidden_size));
    let mut d: Vec<PooledBuffer<T>> = d.collect::<Result<_, Error>>()?;

    let (plan, grant) = granted(dims, sequences, options.threads()?, |plan| plan.sharing)?;
    match dh_n {
        Some(dh_n) => dh0.copy_from_slice(dh_n),
        None => dh0.fill(T::ZERO),
    }
    let batch = BatchContext { packed, sequences, h0: States::new(packed, sequences, h0), backward };
    let states: Vec<Vec<&[T]>> = (0..dims.num_layers).map(|layer| batch.states_of(tape, layer, y)).collect();
    let partition = Partition::new(&plan, sequences);
    let mut dx = partition.distribute(sequences.split_mut(dx, dims.input_size)).into_iter();
    let mut dh = partition.distribute_cells(dh0.chunks_mut(dims.hidden_size.max(1)).collect(), sequences.count());
    let mut d_cells: Vec<_> = d
        .iter_mut()
        .map(|d| partition.distribute(sequences.split_compact_mut(d, segments * dims.hidden_size)).into_iter())
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
    grant.execute(plan.members, jobs, options.stop(), |job, team, check| {
        batch.backward_group(job, tape, &states, dy.as_deref(), team, check)
    })?;
    drop(d_cells);
    drop(dh);
    if h0.is_none() {
        add_initial_grads(packed, sequences.count(), dh0, dparams);
    }
    weight_gradients(&batch, tape, x, &states, &d, dparams, &grant, options.stop())
}

fn run<T: Real>(
    packed: &PackedWeights<T>,
    inputs: Inputs<T>,
    y: Option<&mut [T]>,
    h_n: &mut [T],
    tape: Option<&mut Tape<T>>,
    options: Options,
) -> Result<(), Error> {
    let Inputs { x, sequences, h0 } = inputs;
    let dims = &packed.dims;
    let (width, hidden) = (dims.output_size(), dims.hidden_size);
    let states = dims.num_cells() * sequences.count() * hidden;
    for (name, expected, got) in [
        ("x", sequences.rows() * dims.input_size, x.len()),
        ("h0", states, h0.map_or(states, <[T]>::len)),
        ("y", sequences.rows() * width, y.as_ref().map_or(sequences.rows() * width, |y| y.len())),
        ("h_n", states, h_n.len()),
    ] {
        expect_shape(name, &[expected], &[got])?;
    }
    let (plan, grant) = granted(dims, sequences, options.threads()?, Plan::threads)?;
    let batch = BatchContext { packed, sequences, h0: States::new(packed, sequences, h0), backward: &[] };
    let x = sequences.split(x, dims.input_size);
    packed.check_ids(|n, t| format!("sequence {n}, step {t}"), x.iter().copied())?;
    let partition = Partition::new(&plan, sequences);
    let mut y = y.map(|y| partition.distribute(sequences.split_mut(y, width)).into_iter());
    let mut h_n = partition.distribute_cells(h_n.chunks_mut(hidden).collect(), sequences.count());
    let masks = tape.as_ref().map_or_else(Masks::default, |tape| tape.masks);
    let mut layers: Option<Vec<LayerParts<T>>> = tape
        .map(|tape| tape.layers.iter_mut().map(|layer| LayerParts::new(&partition, sequences, layer, dims)).collect());
    let jobs: Vec<ForwardJob<T>> = plan
        .groups
        .iter()
        .map(|group| ForwardJob {
            members: &sequences.order()[group.clone()],
            y: y.as_mut().map(|y| y.next().unwrap_or_default()),
            h_n: h_n.iter_mut().map(|cell| cell.next().unwrap_or_default()).collect(),
            tape: layers.as_mut().map(|layers| layers.iter_mut().map(LayerParts::next).collect()),
        })
        .collect();
    grant.execute(plan.members, jobs, options.stop(), |job, team, check| {
        batch.forward_group(job, &x, masks, team, check)
    })
}

/// Returns the threads that this call gets, and the plan for them.
fn granted(
    dims: &Dims,
    sequences: &Sequences,
    threads: usize,
    wanted: impl Fn(&Plan) -> usize,
) -> Result<(Plan, Grant), Error> {
    let plan = Plan::new(dims, sequences, threads);
    let grant = Grant::new(wanted(&plan))?;
    let plan = if grant.threads() < wanted(&plan) { Plan::new(dims, sequences, grant.threads()) } else { plan };
    Ok((plan, grant))
}
