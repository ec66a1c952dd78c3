//! The initial states of sequences.

use crate::cell::Real;
use crate::rnn::packed_weights::PackedWeights;
use crate::shape::Sequences;
use crate::shape::params::split_params_mut;

/// Initial states `[L * D, N, H]`, or those of the stack.
pub(super) struct States<'a, T: 'static> {
    given: Option<&'a [T]>,
    packed: &'a PackedWeights<T>,
    batch: usize,
}

impl<'a, T: Real> States<'a, T> {
    pub fn new(packed: &'a PackedWeights<T>, sequences: &Sequences, given: Option<&'a [T]>) -> Self {
        Self { given, packed, batch: sequences.count() }
    }

    /// Returns the initial state of sequence n in a cell.
    pub fn of(&self, cell: usize, n: usize) -> &[T] {
        let hidden = self.packed.dims.hidden_size;
        match self.given {
            Some(all) => &all[(cell * self.batch + n) * hidden..][..hidden],
            None => self.packed.cells[cell].h0(),
        }
    }
}

/// Adds the gradients of the learned initial states to those of the parameters: for each cell the sum of `dh0`
/// `[L * D, N, H]` over the sequences.
pub(super) fn add_initial_grads<T: Real>(packed: &PackedWeights<T>, batch: usize, dh0: &[T], dparams: &mut [T]) {
    let hidden = packed.dims.hidden_size;
    for (cell, grads) in split_params_mut(&packed.dims, dparams).into_iter().enumerate() {
        for row in dh0[cell * batch * hidden..][..batch * hidden].chunks_exact(hidden) {
            for (sum, &d) in grads.h0.iter_mut().zip(row) {
                *sum += d;
            }
        }
    }
}
