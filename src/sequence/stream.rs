//! A stack run step by step, its states kept between calls.

use std::sync::Arc;

use crate::error::Error;
use crate::kernels::forward::{Outputs, State, step};
use crate::kernels::pack::{Aligned, zeros};
use crate::kernels::real::Real;
use crate::kernels::tile::CHUNK;
use crate::packed::Packed;
use crate::plan::{INLINE_FLOPS, step_flops};
use crate::runtime::{Stop, execute};
use crate::shape::expect_shape;

/// Running states of `batch` sequences of a unidirectional stack. A step gives the bits that the whole sequence would.
pub struct Stream<T: 'static> {
    packed: Arc<Packed<T>>,
    batch: usize,
    chunks: Vec<Running<T>>,
}

/// Some of the sequences: at most [`CHUNK`].
struct Running<T> {
    rows: usize,
    states: Vec<State<T>>, // by layer
    projected: Aligned<T>,
    between: Vec<T>, // [rows, H], outputs of the layers but the last
}

impl<T: Real> Stream<T> {
    /// Starts `batch` sequences from zero states.
    ///
    /// # Errors
    /// The stack is bidirectional: its outputs need the whole sequence.
    pub fn new(packed: Arc<Packed<T>>, batch: usize) -> Result<Self, Error> {
        if packed.dims.bidirectional {
            return Err(Error::value("bidirectional", "False, since a step cannot look ahead", "True"));
        }
        // Asked for at once and given back, so that too many sequences are an error before they are an abort.
        let floats = packed.cells.iter().map(|cell| 5 * cell.projected_len()).sum::<usize>();
        drop(zeros::<T>(batch.saturating_mul(floats))?);
        let running = |first: usize| {
            let rows = CHUNK.min(batch - first);
            Running {
                rows,
                states: packed.cells.iter().map(|cell| State::new(cell, rows)).collect(),
                projected: Aligned::zeros(rows * packed.cells[0].projected_len()),
                between: vec![T::ZERO; rows * packed.dims.hidden_size],
            }
        };
        let chunks = (0..batch).step_by(CHUNK).map(running).collect();
        Ok(Self { packed, batch, chunks })
    }

    /// Sequences.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The stack.
    pub fn packed(&self) -> &Packed<T> {
        &self.packed
    }

    /// Takes one step: x `[N, I]`, y `[N, H]`.
    ///
    /// # Errors
    /// Sizes that do not fit; interrupted by `stop`, which leaves the states of some sequences a step behind.
    pub fn step(&mut self, x: &[T], y: &mut [T], threads: usize, stop: Stop) -> Result<(), Error> {
        let dims = &self.packed.dims;
        expect_shape("x", &[self.batch * dims.input_size], &[x.len()])?;
        expect_shape("y", &[self.batch * dims.hidden_size], &[y.len()])?;
        let threads = if self.batch * step_flops(dims) < INLINE_FLOPS { 1 } else { threads };
        let packed = &*self.packed;
        let work = self
            .chunks
            .iter_mut()
            .zip(x.chunks(CHUNK * dims.input_size))
            .zip(y.chunks_mut(CHUNK * dims.hidden_size))
            .collect();
        execute(threads, work, stop, |((running, x), y), _| {
            running.step(packed, x, y);
            Ok(())
        })
    }

    /// Copies the states out, `[L, N, H]`.
    ///
    /// # Errors
    /// `h` has another size.
    pub fn states(&self, h: &mut [T]) -> Result<(), Error> {
        let hidden = self.packed.dims.hidden_size;
        expect_shape("h", &[self.packed.dims.num_layers * self.batch * hidden], &[h.len()])?;
        for (i, row) in h.chunks_mut(hidden).enumerate() {
            let (layer, n) = (i / self.batch, i % self.batch);
            row.copy_from_slice(&self.chunks[n / CHUNK].states[layer].row(n % CHUNK)[..hidden]);
        }
        Ok(())
    }

    /// Sets the states, `[L, N, H]`.
    ///
    /// # Errors
    /// `h` has another size.
    pub fn set_states(&mut self, h: &[T]) -> Result<(), Error> {
        let hidden = self.packed.dims.hidden_size;
        expect_shape("h", &[self.packed.dims.num_layers * self.batch * hidden], &[h.len()])?;
        for (i, row) in h.chunks(hidden).enumerate() {
            let (layer, n) = (i / self.batch, i % self.batch);
            self.chunks[n / CHUNK].states[layer].row_mut(n % CHUNK)[..hidden].copy_from_slice(row);
        }
        Ok(())
    }
}

impl<T: Real> Running<T> {
    fn step(&mut self, packed: &Packed<T>, x: &[T], y: &mut [T]) {
        let (dims, kernels, rows) = (&packed.dims, packed.kernels, self.rows);
        let at = [0; CHUNK];
        for (layer, (cell, state)) in packed.cells.iter().zip(&mut self.states).enumerate() {
            let input = dims.layer_input(layer);
            let from = if layer == 0 { x } else { &self.between };
            cell.project(kernels, rows, |r| &from[r * input..], &mut self.projected);
            let to = if layer + 1 == dims.num_layers { &mut *y } else { &mut self.between };
            let mut to: Vec<&mut [T]> = to.chunks_mut(dims.hidden_size).collect();
            step(kernels, cell, rows, &self.projected, state, Outputs { rows: &mut to, at: &at }, None);
        }
    }
}
