//! Training in little memory: only every k-th state is stored, and the backward pass recomputes the steps between (Chen
//! et al., "Training deep nets with sublinear memory cost", 2016).

use std::ops::Range;

use crate::cell::Real;
use crate::error::Error;
use crate::memory::aligned::zeros;
use crate::options::Options;
use crate::rnn::arguments::{ForwardArrays, InputGrads, Inputs, OutputGrads, Outputs};
use crate::rnn::dropout::Masks;
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::stack::{backward, forward_tape};
use crate::rnn::states::add_initial_grads;
use crate::shape::{SPAN, Sequences, expect_shape};

/// The record of [`forward_checkpoints`]: the states `[L, N, H]` before each window of steps.
pub struct Checkpoints<T> {
    sequences: Sequences,
    masks: Masks,
    /// Whether the run was given initial states.
    with_h0: bool,
    windows: Vec<(Range<usize>, Vec<T>)>,
}

impl<T> Checkpoints<T> {
    /// Returns the sequences of the batch.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }
}

/// As [`forward_tape`], but stores only every `every`-th state, rounded up to a multiple of [`SPAN`] steps.
///
/// # Errors
/// As [`forward_tape`]; [`Error::Value`] if `every` is 0, or if the stack is bidirectional or runs in reverse: a
/// reverse direction starts at the last step, so no window can run before the next.
pub fn forward_checkpoints<T: Real>(
    packed: &PackedWeights<T>,
    inputs: Inputs<T>,
    outputs: Outputs<T>,
    masks: Masks,
    every: usize,
    options: Options,
) -> Result<Checkpoints<T>, Error> {
    let Inputs { x, sequences, h0 } = inputs;
    let Outputs { y, h_n } = outputs;
    if packed.dims.bidirectional || packed.dims.reverse {
        return Err(Error::value("checkpoint", "None for a GRU with a reverse direction", every.to_string()));
    }
    if every == 0 {
        return Err(Error::value("checkpoint", "at least 1 step", "0"));
    }
    expect_shape("h_n", &[packed.dims.num_cells() * sequences.count() * packed.dims.hidden_size], &[h_n.len()])?;
    let mut state = zeros(h_n.len())?;
    if let Some(h0) = h0 {
        expect_shape("h0", &[h_n.len()], &[h0.len()])?;
        state.copy_from_slice(h0);
    } else {
        let initial = packed.cells.iter().flat_map(|cell| std::iter::repeat_n(cell.h0(), sequences.count()));
        for (state, initial) in state.chunks_exact_mut(packed.dims.hidden_size).zip(initial) {
            state.copy_from_slice(initial);
        }
    }
    let longest = sequences.order().first().map_or(0, |&n| sequences.length(n));
    let every = every.checked_next_multiple_of(SPAN).unwrap_or(usize::MAX);
    let mut windows = Vec::new();
    for first in (0..longest.max(1)).step_by(every) {
        let span = first..longest.min(first.saturating_add(every));
        let part = sequences.window(span.clone())?;
        let inputs = Inputs { x, sequences: &part, h0: Some(&state) };
        forward_tape(packed, inputs, Outputs { y, h_n }, masks, options)?;
        windows.push((span, std::mem::replace(&mut state, h_n.to_vec())));
    }
    Ok(Checkpoints { sequences: sequences.clone(), masks, with_h0: h0.is_some(), windows })
}

/// As [`backward`] and with the same bits, for the arrays that were passed to [`forward_checkpoints`].
///
/// # Errors
/// As [`backward`].
pub fn backward_checkpoints<T: Real>(
    packed: &PackedWeights<T>,
    checkpoints: &Checkpoints<T>,
    x: &[T],
    output_grads: OutputGrads<T>,
    input_grads: InputGrads<T>,
    options: Options,
) -> Result<(), Error> {
    let OutputGrads { dy, dh_n } = output_grads;
    let InputGrads { dx, dh0, dparams } = input_grads;
    let (input, width) = (packed.dims.input_size, packed.dims.output_size());
    let sequences = &checkpoints.sequences;
    for (name, expected, got) in [
        ("x", sequences.rows() * input, x.len()),
        ("dx", sequences.rows() * input, dx.len()),
        ("dy", sequences.rows() * width, dy.map_or(sequences.rows() * width, <[T]>::len)),
        ("dh_n", dh0.len(), dh_n.map_or(dh0.len(), <[T]>::len)),
    ] {
        expect_shape(name, &[expected], &[got])?;
    }
    match dh_n {
        Some(dh_n) => dh0.copy_from_slice(dh_n),
        None => dh0.fill(T::ZERO),
    }
    for (span, state) in checkpoints.windows.iter().rev() {
        let window = sequences.window(span.clone())?;
        let own = window.compacted()?;
        let gathered = |from: &[T], width: usize| -> Result<Vec<T>, Error> {
            let mut rows = zeros(own.steps() * width)?;
            for (to, from) in own.split_mut(&mut rows, width).into_iter().zip(window.split(from, width)) {
                to.copy_from_slice(from);
            }
            Ok(rows)
        };
        let (x, dy) = (gathered(x, input)?, dy.map(|dy| gathered(dy, width)).transpose()?);
        let (mut y, mut own_dx) = (zeros(own.steps() * width)?, zeros(own.steps() * input)?);
        let (mut h_n, dh_n) = (zeros(state.len())?, dh0.to_vec());
        let inputs = Inputs { x: &x, sequences: &own, h0: Some(state) };
        let outputs = Outputs { y: &mut y, h_n: &mut h_n };
        let tape = forward_tape(packed, inputs, outputs, checkpoints.masks, options)?;
        let arrays = ForwardArrays { x: &x, h0: Some(state), y: &y };
        let output_grads = OutputGrads { dy: dy.as_deref(), dh_n: Some(&dh_n) };
        backward(packed, &tape, arrays, output_grads, InputGrads { dx: &mut own_dx, dh0, dparams }, options)?;
        for (to, from) in window.split_mut(dx, input).into_iter().zip(own.split(&own_dx, input)) {
            to.copy_from_slice(from);
        }
    }
    if !checkpoints.with_h0 {
        add_initial_grads(packed, sequences.count(), dh0, dparams);
    }
    Ok(())
}
