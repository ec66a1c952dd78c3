//! The weights of one cell, packed for the kernels of one instruction set.

use crate::cell::functions::Custom;
use crate::cell::norm::Norm;
use crate::error::Error;
use crate::gemm::kernels::ProductKernels;
use crate::gemm::matmul::{Start, matmul};
use crate::gemm::pack::{PackedMatrix, WIDTH};
use crate::memory::aligned::Aligned;
use crate::memory::prefetch::prefetch;
use crate::shape::params::CellParams;
use crate::simd::float::Float;
use crate::threads::team::{Engine, Team};

/// How many rows of a table are read after the one that is prefetched.
const AHEAD: usize = 8;

/// Returns the vectors in a panel of a matrix of `vectors` vectors whose panels threads may share. If there are few
/// vectors, panels of two make the threads' parts more equal.
fn shared_width(vectors: usize) -> usize {
    if vectors < 12 && !vectors.is_multiple_of(6) { 2 } else { 3 }
}

/// Returns the canonical row of a column of input projections, if it has one. They are in the order of the recurrent
/// product: with layer normalisation the canonical one.
fn input_row<T>(column: usize, lanes: usize, cell: &CellParams<T>) -> Option<usize> {
    if cell.options.layer_norm.is_some() {
        return (column < GATES * cell.hidden).then_some(column);
    }
    packed_row(column, GATES, lanes, cell.hidden)
}

/// Returns the canonical row of a packed column, if it has one, when `gates` gates are interleaved vector by vector.
fn packed_row(column: usize, gates: usize, lanes: usize, hidden: usize) -> Option<usize> {
    let (vector, gate, lane) = (column / (gates * lanes), column / lanes % gates, column % lanes);
    let unit = vector * lanes + lane;
    (unit < hidden).then_some(gate * hidden + unit)
}

/// The number of gates of a cell: r, z and the candidate.
const GATES: usize = 3;

/// The forward weights of one cell: one layer, one direction.
pub struct PackedCell<T> {
    pub(crate) lanes: usize,
    pub(crate) hidden: usize,
    /// The length of the record of a step.
    pub(crate) record_len: usize,
    /// H rounded up to whole vectors.
    pub(crate) padded: usize,
    /// `[I, 3 * padded]`, columns `[vector of units][gate][lane]`, or canonical with layer normalisation.
    pub(crate) w: PackedMatrix<T>,
    /// `[3 * padded]`, likewise; zeros with layer normalisation.
    pub(crate) bias: Aligned<T>,
    /// If the first feature is an id: b + W e of every id's embedding e, `[V, 3 * padded]`.
    table: Option<Aligned<T>>,
    pub(crate) recurrent: Recurrent<T>,
    /// The initial state, `[padded]`.
    h0: Aligned<T>,
    functions: Option<Custom<T>>,
}

/// The recurrent weights of the forward pass.
pub enum Recurrent<T> {
    /// Reset-after: all gates in one product, with the recurrent bias of the candidate.
    After {
        /// `[H, 3 * padded]`, columns `[vector of units][gate][lane]`.
        u: PackedMatrix<T>,
        /// `[padded]`.
        b_hh: Aligned<T>,
    },
    /// Reset-before: the candidate's product waits for r.
    Before {
        /// `[H, 2 * padded]`, columns `[vector of units][r, z][lane]`.
        gates: PackedMatrix<T>,
        /// `[H, H]`.
        candidate: PackedMatrix<T>,
    },
    /// Reset-after with layer normalisation: the equations wait for all sums.
    Normalised {
        /// `[H, 3H]`, columns in the canonical order.
        u: PackedMatrix<T>,
        /// The gains and biases.
        norm: Norm<T>,
    },
}

impl<T: Float> PackedCell<T> {
    /// Packs a cell's parameters for registers of `lanes` numbers. `functions` is `None` for those of the plain cell.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(lanes: usize, cell: &CellParams<T>, functions: Option<Custom<T>>) -> Result<Self, Error> {
        let (hidden, input) = (cell.hidden, cell.input);
        let padded = hidden.next_multiple_of(lanes);
        let row = |column, gates| packed_row(column, gates, lanes, hidden);
        let rows_of_w = |c| input_row(c, lanes, cell).map(|r| &cell.w[r * input..][..input]);
        let norm = Norm::of(cell)?;
        let mut bias = Aligned::zeros(GATES * padded)?;
        for (column, value) in bias.iter_mut().enumerate() {
            if let Some(r) = row(column, GATES).filter(|_| norm.is_none()) {
                *value = cell.b.get(r).copied().unwrap_or(T::ZERO);
            }
        }
        let u = |gates| move |c| row(c, gates).map(|r| &cell.u[r * hidden..][..hidden]);
        let recurrent = if let Some(norm) = norm {
            let rows_of_u = |c: usize| Some(&cell.u[c * hidden..][..hidden]);
            Recurrent::Normalised {
                u: PackedMatrix::from_columns(lanes, WIDTH, hidden, GATES * hidden, rows_of_u)?,
                norm,
            }
        } else if cell.reset_after {
            let mut b_hh = Aligned::zeros(padded)?;
            b_hh[..cell.b_hh.len()].copy_from_slice(cell.b_hh);
            Recurrent::After { u: PackedMatrix::from_columns(lanes, GATES, hidden, GATES * padded, u(GATES))?, b_hh }
        } else {
            let candidate = |c| Some(&cell.u[(2 * hidden + c) * hidden..][..hidden]);
            Recurrent::Before {
                gates: PackedMatrix::from_columns(lanes, 2, hidden, 2 * padded, u(2))?,
                candidate: PackedMatrix::from_columns(lanes, shared_width(padded / lanes), hidden, hidden, candidate)?,
            }
        };
        let w = PackedMatrix::from_columns(lanes, WIDTH, input, GATES * padded, rows_of_w)?;
        let mut h0 = Aligned::zeros(padded)?;
        h0[..cell.h0.len()].copy_from_slice(cell.h0);
        let record_len = cell.options.record_len(hidden);
        Ok(Self { lanes, hidden, record_len, padded, w, bias, table: None, recurrent, h0, functions })
    }

    /// Makes the first feature of inputs an id, in the place of the first `size` features: those of the id's embedding
    /// in `embeddings`, `[V, size]`. The results have the same bits.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn embed(
        &mut self,
        kernels: &'static ProductKernels<T>,
        cell: &CellParams<T>,
        embeddings: &[T],
        size: usize,
    ) -> Result<(), Error> {
        let (input, lanes, columns) = (cell.input, self.lanes, GATES * self.padded);
        let row_of_w = |c| input_row(c, lanes, cell).map(|r| &cell.w[r * input..][..input]);
        let embedded = PackedMatrix::from_columns(lanes, WIDTH, size, columns, row_of_w)?;
        let count = embeddings.len() / size;
        let mut table = Aligned::zeros(count.saturating_mul(columns))?;
        let engine = Engine { kernels, team: &Team::alone() };
        let start = Start::Bias(&self.bias);
        matmul(engine, count, |id| &embeddings[id * size..], &embedded, start, &mut table, columns);
        let rest = |c| row_of_w(c).map(|w| &w[size..]);
        self.w = PackedMatrix::from_columns(lanes, WIDTH, input - size, columns, rest)?;
        self.table = Some(table);
        Ok(())
    }

    /// Returns the number of ids, if the first feature is one.
    pub fn vocabulary(&self) -> Option<usize> {
        self.table.as_ref().map(|table| table.len() / self.projected_len())
    }

    /// Returns whether the cell is reset-after.
    pub fn reset_after(&self) -> bool {
        !matches!(self.recurrent, Recurrent::Before { .. })
    }

    /// Returns the state that a sequence starts from if it is given none, H numbers.
    pub fn h0(&self) -> &[T] {
        &self.h0[..self.hidden]
    }

    /// Returns the functions in the equations, or null for those of the plain cell.
    pub(crate) fn functions(&self) -> *const Custom<T> {
        self.functions.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    }

    /// Returns the length of a row of [`PackedCell::project`]'s output.
    pub fn projected_len(&self) -> usize {
        GATES * self.padded
    }

    /// Computes `out[r] = b + W x(r)` for r in 0..rows, in the order that [`crate::cell::step::step`] reads, and without
    /// b for layer normalisation. An id that has no embedding makes it NaN.
    pub fn project<'a>(
        &self,
        engine: Engine<ProductKernels<T>>,
        rows: usize,
        x: impl Fn(usize) -> &'a [T],
        out: &mut [T],
    ) {
        let len = self.projected_len();
        let Some(table) = &self.table else {
            return matmul(engine, rows, x, &self.w, Start::Bias(&self.bias), out, len);
        };
        let row_of = |r| as_id(x(r)[0], table.len() / len).map(|id| &table[id * len..][..len]);
        for (r, out) in out.chunks_exact_mut(len).take(rows).enumerate() {
            if r + AHEAD < rows {
                row_of(r + AHEAD).into_iter().for_each(prefetch);
            }
            match row_of(r) {
                Some(row) => out.copy_from_slice(row),
                None => out.fill(T::NAN),
            }
        }
        if self.w.depth > 0 {
            matmul(engine, rows, |r| &x(r)[1..], &self.w, Start::Continue, out, len);
        }
    }
}

/// Converts a feature to an id below `count`; `None` if it is none.
pub fn as_id<T: Float>(feature: T, count: usize) -> Option<usize> {
    let number = feature.to_f64();
    let id = number as usize; // saturates; 0 for NaN
    (id as f64 == number && id < count).then_some(id)
}

/// The weights that the backward pass multiplies gradients of pre-activations with.
pub struct BackwardCell<T> {
    /// U, `[.., H]`.
    pub(crate) u: BackwardRecurrent<T>,
    /// W of r, z and the candidate, `[3H, I]`.
    pub w: PackedMatrix<T>,
    /// As [`PackedCell`]'s.
    pub(crate) record_len: usize,
    functions: Option<Custom<T>>,
}

/// The recurrent weights of the backward pass.
pub(crate) enum BackwardRecurrent<T> {
    /// Reset-after: rows of the candidate, r and z, `[3H, H]`.
    After(PackedMatrix<T>),
    /// Reset-before.
    Before {
        /// Rows of r and z, `[2H, H]`.
        gates: PackedMatrix<T>,
        /// `[H, H]`.
        candidate: PackedMatrix<T>,
    },
    /// Layer normalisation.
    Normalised {
        /// Rows of r, z and the candidate, `[3H, H]`.
        u: PackedMatrix<T>,
        /// The gains and biases.
        norm: Norm<T>,
    },
}

/// Where the gradients for each parameter begin in a step's row of gradients, in segments of H numbers. For the biases
/// and the gains they are the gradients of a step themselves, for W and U those of the sums.
pub struct Segments {
    /// W.
    pub w: usize,
    /// The rows of U of r and z.
    pub u_gates: usize,
    /// The rows of U of the candidate.
    pub u_candidate: usize,
    /// b.
    pub b: usize,
    /// `b_hh`.
    pub b_hh: usize,
    /// The gains g.
    pub g: usize,
    /// The gains `g_hh`.
    pub g_hh: usize,
    /// The number of segments of a row.
    pub count: usize,
}

impl<T: Float> BackwardCell<T> {
    /// Packs a cell's parameters for registers of `lanes` numbers. `functions` is `None` for those of the plain cell.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(lanes: usize, cell: &CellParams<T>, functions: Option<Custom<T>>) -> Result<Self, Error> {
        let hidden = cell.hidden;
        let pack_u = |rows: usize, from: usize| -> Result<_, Error> {
            let mut packed = PackedMatrix::new(lanes, shared_width(hidden.div_ceil(lanes)));
            packed.pack_rows(rows, hidden, |k| &cell.u[(from + k) % (3 * hidden) * hidden..][..hidden])?;
            Ok(packed)
        };
        let u = if let Some(norm) = Norm::of(cell)? {
            BackwardRecurrent::Normalised { u: pack_u(3 * hidden, 0)?, norm }
        } else if cell.reset_after {
            BackwardRecurrent::After(pack_u(3 * hidden, 2 * hidden)?)
        } else {
            BackwardRecurrent::Before { gates: pack_u(2 * hidden, 0)?, candidate: pack_u(hidden, 2 * hidden)? }
        };
        let mut w = PackedMatrix::new(lanes, WIDTH);
        w.pack_rows(3 * hidden, cell.input, |k| &cell.w[k * cell.input..][..cell.input])?;
        Ok(Self { u, w, record_len: cell.options.record_len(hidden), functions })
    }

    /// As [`PackedCell::functions`].
    pub(crate) fn functions(&self) -> *const Custom<T> {
        self.functions.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    }

    /// Returns the places of the gradients in a step's row: (`da_hh`, `da_r`, `da_z`, `da_h`) in reset-after, (`da_r`,
    /// `da_z`, `da_h`) in reset-before. With layer normalisation they begin with those of the sums U h and W x, or of
    /// both together.
    pub fn segments(&self) -> Segments {
        let none = usize::MAX;
        match &self.u {
            BackwardRecurrent::Before { .. } => {
                Segments { w: 0, u_gates: 0, u_candidate: 2, b: 0, b_hh: none, g: none, g_hh: none, count: 3 }
            }
            BackwardRecurrent::After(_) => {
                Segments { w: 1, u_gates: 1, u_candidate: 0, b: 1, b_hh: 0, g: none, g_hh: none, count: 4 }
            }
            BackwardRecurrent::Normalised { norm, .. } if norm.separate => {
                Segments { w: 3, u_gates: 0, u_candidate: 2, b: 6, b_hh: 9, g: 10, g_hh: 13, count: 16 }
            }
            BackwardRecurrent::Normalised { .. } => {
                Segments { w: 0, u_gates: 0, u_candidate: 2, b: 3, b_hh: none, g: 6, g_hh: none, count: 9 }
            }
        }
    }

    /// Adds the product of the first step's gradients, rows `d`, to `carry` `[rows, padded]`, which becomes the
    /// gradient of the initial state.
    pub fn last_product<'a>(
        &self,
        engine: Engine<ProductKernels<T>>,
        rows: usize,
        d: impl Fn(usize) -> &'a [T],
        carry: &mut [T],
    ) {
        let (BackwardRecurrent::After(u)
        | BackwardRecurrent::Before { gates: u, .. }
        | BackwardRecurrent::Normalised { u, .. }) = &self.u;
        matmul(engine, rows, d, u, Start::Continue, carry, u.columns.next_multiple_of(u.lanes));
    }
}
