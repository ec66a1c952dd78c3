//! The weights of one cell, packed for the kernels of one instruction set.

use super::Kernels;
use super::crew::Engine;
use super::matmul::{Start, matmul};
use super::pack::{Aligned, PackedMatrix};
use super::real::Real;
use crate::params::Cell;

/// Vectors in a panel of a matrix whose panels one thread multiplies.
pub const WIDTH: usize = 3;

/// Vectors in a panel of a matrix of that many, whose panels threads may share: of few vectors, panels of two give more
/// equal parts.
fn shared_width(vectors: usize) -> usize {
    if vectors < 12 && !vectors.is_multiple_of(6) { 2 } else { 3 }
}

/// Gates of a cell: r, z and the candidate.
const GATES: usize = 3;

/// Forward weights of one cell: one layer, one direction.
pub struct PackedCell<T> {
    pub(super) lanes: usize,
    pub(super) hidden: usize,
    /// H rounded up to whole vectors.
    pub(super) padded: usize,
    w: PackedMatrix<T>, // [I, 3 * padded], columns [vector of units][gate][lane]
    bias: Aligned<T>,   // [3 * padded], likewise
    pub(super) recurrent: Recurrent<T>,
}

/// Recurrent weights.
pub enum Recurrent<T> {
    /// Reset-after: all gates in one product, which has a bias of its own in the candidate.
    After {
        /// `[H, 3 * padded]`, columns [vector of units][gate][lane].
        u: PackedMatrix<T>,
        /// `[padded]`.
        b_hh: Aligned<T>,
    },
    /// Reset-before: the candidate's product waits for r.
    Before {
        /// `[H, 2 * padded]`, columns [vector of units][r, z][lane].
        gates: PackedMatrix<T>,
        /// `[H, H]`.
        candidate: PackedMatrix<T>,
    },
}

impl<T: Real> PackedCell<T> {
    /// Packs a cell's parameters.
    pub fn new(kernels: &Kernels<T>, cell: &Cell<T>) -> Self {
        let (lanes, hidden, input) = (kernels.lanes, cell.hidden, cell.input);
        let padded = hidden.next_multiple_of(lanes);
        // The canonical row of a packed column when `gates` gates are interleaved vector by vector.
        let row = |column: usize, gates: usize| {
            let (vector, gate, lane) = (column / (gates * lanes), column / lanes % gates, column % lanes);
            let unit = vector * lanes + lane;
            (unit < hidden).then_some(gate * hidden + unit)
        };
        let rows_of_w = |c| row(c, GATES).map(|r| &cell.w[r * input..][..input]);
        let mut bias = Aligned::zeros(GATES * padded);
        for (column, value) in bias.iter_mut().enumerate() {
            if let Some(r) = row(column, GATES) {
                *value = cell.b.get(r).copied().unwrap_or(T::ZERO);
            }
        }
        let u = |gates| move |c| row(c, gates).map(|r| &cell.u[r * hidden..][..hidden]);
        let recurrent = if cell.reset_after {
            let mut b_hh = Aligned::zeros(padded);
            b_hh[..cell.b_hh.len()].copy_from_slice(cell.b_hh);
            Recurrent::After { u: PackedMatrix::from_columns(lanes, GATES, hidden, GATES * padded, u(GATES)), b_hh }
        } else {
            let candidate = |c| Some(&cell.u[(2 * hidden + c) * hidden..][..hidden]);
            Recurrent::Before {
                gates: PackedMatrix::from_columns(lanes, 2, hidden, 2 * padded, u(2)),
                candidate: PackedMatrix::from_columns(lanes, shared_width(padded / lanes), hidden, hidden, candidate),
            }
        };
        let w = PackedMatrix::from_columns(lanes, WIDTH, input, GATES * padded, rows_of_w);
        Self { lanes, hidden, padded, w, bias, recurrent }
    }

    /// Whether it is a reset-after cell.
    pub fn reset_after(&self) -> bool {
        matches!(self.recurrent, Recurrent::After { .. })
    }

    /// Numbers in a row of [`PackedCell::project`]'s output.
    pub fn projected_len(&self) -> usize {
        GATES * self.padded
    }

    /// out[r] = b + W x(r) for r in 0..rows, in the order that [`super::forward::step`] reads.
    pub fn project<'a>(&self, engine: Engine<T>, rows: usize, x: impl Fn(usize) -> &'a [T], out: &mut [T]) {
        matmul(engine, rows, x, &self.w, Start::Bias(&self.bias), out, self.projected_len());
    }
}

/// What the backward pass multiplies gradients of pre-activations with: rows are the rows of W and U.
pub struct BackwardCell<T> {
    /// U of r and z, `[2H, H]`.
    pub u_gates: PackedMatrix<T>,
    /// U of the candidate, `[H, H]`.
    pub u_candidate: PackedMatrix<T>,
    /// W of r and z, `[2H, I]`.
    pub w_gates: PackedMatrix<T>,
    /// W of the candidate, `[H, I]`.
    pub w_candidate: PackedMatrix<T>,
}

impl<T: Real> BackwardCell<T> {
    /// Packs a cell's parameters.
    pub fn new(kernels: &Kernels<T>, cell: &Cell<T>) -> Self {
        let pack = |matrix: &[T], columns: usize, from: usize, to: usize| {
            let mut packed = PackedMatrix::new(kernels.lanes, WIDTH);
            packed.pack_rows((to - from) * cell.hidden, columns, |k| {
                &matrix[(from * cell.hidden + k) * columns..][..columns]
            });
            packed
        };
        Self {
            u_gates: pack(cell.u, cell.hidden, 0, 2),
            u_candidate: pack(cell.u, cell.hidden, 2, 3),
            w_gates: pack(cell.w, cell.input, 0, 2),
            w_candidate: pack(cell.w, cell.input, 2, 3),
        }
    }
}
