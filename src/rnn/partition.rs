//! Distributes a batch's arrays to the groups of sequences that write them.

use crate::cell::Real;
use crate::rnn::group::LayerSlices;
use crate::rnn::plan::Plan;
use crate::rnn::tape::LayerTape;
use crate::shape::{Dims, Sequences};

/// A layer's tape, distributed to the groups.
pub(super) struct LayerParts<'a, T> {
    cells: Vec<std::vec::IntoIter<Vec<&'a mut [T]>>>,
    states: std::vec::IntoIter<Vec<&'a mut [T]>>,
    input: std::vec::IntoIter<Vec<&'a mut [T]>>,
}

impl<'a, T: Real> LayerParts<'a, T> {
    pub fn new(partition: &Partition, seqs: &Sequences, tape: &'a mut LayerTape<T>, dims: &Dims) -> Self {
        let rows = |data: &'a mut [T], width: usize| {
            // Arrays that are not recorded become empty parts.
            let width = if data.is_empty() { 0 } else { width };
            partition.distribute(seqs.split_compact_mut(data, width)).into_iter()
        };
        Self {
            cells: tape.cells.iter_mut().map(|cell| rows(cell, dims.record_len())).collect(),
            states: rows(&mut tape.states, dims.states_size()),
            input: rows(&mut tape.input, dims.output_size()),
        }
    }

    pub fn next(&mut self) -> LayerSlices<'a, T> {
        LayerSlices {
            cells: self.cells.iter_mut().map(|cell| cell.next().unwrap_or_default()).collect(),
            states: self.states.next().unwrap_or_default(),
            input: self.input.next().unwrap_or_default(),
        }
    }
}

/// The group of each sequence of a batch. Within a group, the longest sequence is the first.
pub(super) struct Partition {
    /// The group of each sequence, and its position in it.
    places: Vec<(usize, usize)>,
    sizes: Vec<usize>,
}

impl Partition {
    pub fn new(plan: &Plan, sequences: &Sequences) -> Self {
        let mut places = vec![(0, 0); sequences.count()];
        for (group, range) in plan.groups.iter().enumerate() {
            for (place, &n) in sequences.order()[range.clone()].iter().enumerate() {
                places[n] = (group, place);
            }
        }
        Self { places, sizes: plan.groups.iter().map(ExactSizeIterator::len).collect() }
    }

    /// Distributes one slice for each sequence.
    pub fn distribute<'a, T>(&self, slices: Vec<&'a mut [T]>) -> Vec<Vec<&'a mut [T]>> {
        let mut groups: Vec<Vec<&'a mut [T]>> =
            self.sizes.iter().map(|&size| (0..size).map(|_| Default::default()).collect()).collect();
        for (slice, &(group, place)) in slices.into_iter().zip(&self.places) {
            groups[group][place] = slice;
        }
        groups
    }

    /// Distributes one slice for each cell and sequence, cell by cell.
    pub fn distribute_cells<'a, T>(
        &self,
        slices: Vec<&'a mut [T]>,
        batch: usize,
    ) -> Vec<std::vec::IntoIter<Vec<&'a mut [T]>>> {
        let mut cells = Vec::new();
        let mut slices = slices.into_iter();
        loop {
            let cell: Vec<_> = slices.by_ref().take(batch).collect();
            if cell.is_empty() {
                return cells;
            }
            cells.push(self.distribute(cell).into_iter());
        }
    }
}
