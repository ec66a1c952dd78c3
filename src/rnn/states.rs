//! The initial states of sequences.

use crate::cell::Real;
use crate::shape::{Dims, Sequences};

/// Initial states `[L * D, N, H]`, or zeros.
pub(super) struct States<'a, T> {
    given: Option<&'a [T]>,
    zeros: Vec<T>,
    batch: usize,
    hidden: usize,
}

impl<'a, T: Real> States<'a, T> {
    pub fn new(dims: &Dims, sequences: &Sequences, given: Option<&'a [T]>) -> Self {
        Self { given, zeros: vec![T::ZERO; dims.hidden_size], batch: sequences.count(), hidden: dims.hidden_size }
    }

    /// Returns the initial state of sequence n in a cell.
    pub fn of(&self, cell: usize, n: usize) -> &[T] {
        self.given.map_or(&self.zeros, |all| &all[(cell * self.batch + n) * self.hidden..][..self.hidden])
    }
}
