//! The values of a forward pass that its backward pass needs.

use crate::cell::Real;
use crate::error::Error;
use crate::memory::buffer_pool::PooledBuffer;
use crate::rnn::dropout::Masks;
use crate::shape::{Dims, Merge, Sequences};

/// The record of [`crate::rnn::forward_tape`]: at least 4H numbers for every step and cell, and the states of all layers but
/// the last. Rows are compact: padding takes no memory.
pub struct Tape<T: Real> {
    pub(super) sequences: Sequences,
    pub(super) masks: Masks,
    pub(super) layers: Vec<LayerTape<T>>,
}

pub(super) struct LayerTape<T: Real> {
    /// By direction, `[steps, record]`, of `Dims::record_len` numbers a step.
    pub cells: Vec<PooledBuffer<T>>,
    /// The states of all directions, `[steps, D * H]`; empty for the last layer if they are its output, which the
    /// caller has.
    pub states: PooledBuffer<T>,
    /// The input, `[steps, input]`; empty if it is x, or the states of the layer below as they are.
    pub input: PooledBuffer<T>,
}

impl<T: Real> Tape<T> {
    pub(super) fn new(dims: &Dims, sequences: Sequences, masks: Masks) -> Result<Self, Error> {
        let steps = sequences.steps();
        let merged = dims.merge != Merge::Concat;
        let len = |needed: bool, width: usize| if needed { steps * width } else { 0 };
        let layers = (0..dims.num_layers)
            .map(|layer| {
                let cells = (0..dims.directions()).map(|_| PooledBuffer::new(steps * dims.record_len()));
                Ok(LayerTape {
                    cells: cells.collect::<Result<_, Error>>()?,
                    states: PooledBuffer::new(len(merged || layer + 1 < dims.num_layers, dims.states_size()))?,
                    input: PooledBuffer::new(len(
                        layer > 0 && (merged || masks.dropout.is_some()),
                        dims.output_size(),
                    ))?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { sequences, masks, layers })
    }

    /// Returns the record of each cell of a layer, `[steps, record]`, which begins with r, z and the candidate.
    pub fn gates(&self, layer: usize) -> impl Iterator<Item = &[T]> {
        self.layers[layer].cells.iter().map(|cell| &**cell)
    }

    /// Returns the states of all directions of a layer, `[steps, D * H]`. For a last layer whose directions are not
    /// merged they are the output of the run, and empty here.
    pub fn states(&self, layer: usize) -> &[T] {
        &self.layers[layer].states
    }

    /// Returns the sequences of the batch.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }
}
