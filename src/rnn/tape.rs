//! The values of a forward pass that its backward pass needs.

use crate::cell::Real;
use crate::error::Error;
use crate::memory::buffer_pool::PooledBuffer;
use crate::rnn::dropout::Dropout;
use crate::shape::{Dims, Sequences};

/// The record of [`crate::rnn::forward_tape`]: 4H numbers for every step and cell, and the outputs of all layers but
/// the last. Rows are compact: padding takes no memory.
pub struct Tape<T: Real> {
    pub(super) sequences: Sequences,
    pub(super) dropout: Option<Dropout>,
    pub(super) layers: Vec<LayerTape<T>>,
}

pub(super) struct LayerTape<T: Real> {
    /// By direction, `[steps, 4H]`: r, z, candidate, and r * h (reset-before) or `U_hh h + b_hh` (reset-after).
    pub cells: Vec<PooledBuffer<T>>,
    /// The output, `[steps, D * H]`; empty for the last layer, whose output the caller has.
    pub output: PooledBuffer<T>,
    /// The input after dropout, `[steps, D * H]`; empty if there is no dropout.
    pub dropped: PooledBuffer<T>,
}

impl<T: Real> Tape<T> {
    pub(super) fn new(dims: &Dims, sequences: Sequences, dropout: Option<Dropout>) -> Result<Self, Error> {
        let (steps, width) = (sequences.steps(), dims.output_size());
        let layers = (0..dims.num_layers)
            .map(|layer| {
                let cells = (0..dims.directions()).map(|_| PooledBuffer::new(steps * 4 * dims.hidden_size));
                Ok(LayerTape {
                    cells: cells.collect::<Result<_, Error>>()?,
                    output: PooledBuffer::new(if layer + 1 < dims.num_layers { steps * width } else { 0 })?,
                    dropped: PooledBuffer::new(if layer > 0 && dropout.is_some() { steps * width } else { 0 })?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { sequences, dropout, layers })
    }

    /// Returns the sequences of the batch.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }
}
