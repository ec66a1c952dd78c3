//! One step of the backward pass, for a chunk of rows: the product of the next step's gradients with the recurrent
//! weights, followed by the equations of the cell while the results are in the first-level cache.

use std::ops::Range;

use crate::cell::backward::BackwardArgs;
use crate::cell::kernels::{CellKernels, Real};
use crate::cell::weights::{BackwardCell, BackwardRecurrent};
use crate::error::Error;
use crate::gemm::pack::PackedMatrix;
use crate::gemm::product::{MatmulArgs, Operand};
use crate::gemm::tile::{MAX_ROWS_PER_STEP, RowPointers};
use crate::memory::buffer_pool::PooledBuffer;
use crate::threads::team::{Engine, share};

/// The recorded values that a backward step reads, by row.
pub struct StepRecord<'a, T> {
    /// The record of the step, `Dims::record_len` numbers.
    pub tape: &'a dyn Fn(usize) -> &'a [T],
    /// The state before the step, `[H]`.
    pub h: &'a dyn Fn(usize) -> &'a [T],
}

/// The gradients of the pre-activations, by sequence.
pub struct Gradients<'a, 'b, T> {
    /// For each sequence, the gradients of all its steps.
    pub rows: &'a mut [&'b mut [T]],
    /// The position of this step in each row.
    pub at: &'a [usize],
    /// The position of the next step in time, for the rows that have one.
    pub after: &'a [usize],
}

/// The buffers of a backward pass.
pub struct BackwardState<T: Real> {
    /// The part of the state's gradient that is computed so far, `[rows, padded]`.
    pub carry: PooledBuffer<T>,
    /// The gradient of r * h, `[rows, padded]`; reset-before only.
    drh: PooledBuffer<T>,
    /// With a mask, the gradient of the states as the recurrent products read them, `[rows, padded]`.
    through: PooledBuffer<T>,
}

impl<T: Real> BackwardState<T> {
    /// Returns buffers for `rows` rows, all 0. With recurrent dropout they are `masked`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(weights: &BackwardCell<T>, rows: usize, padded: usize, masked: bool) -> Result<Self, Error> {
        let between = match weights.u {
            BackwardRecurrent::After(_) | BackwardRecurrent::Normalised { .. } => 0,
            BackwardRecurrent::Before { .. } => rows * padded,
        };
        let mut carry = PooledBuffer::new(rows * padded)?;
        carry.fill(T::ZERO);
        let through = PooledBuffer::new(if masked { rows * padded } else { 0 })?;
        Ok(Self { carry, drh: PooledBuffer::new(between)?, through })
    }

    /// Adds the product of the first step's gradients, rows `d`, to `carry`, which becomes the gradient of the initial
    /// state. `mask` is that of the steps.
    pub fn finish<'a>(
        &mut self,
        weights: &BackwardCell<T>,
        engine: Engine<CellKernels<T>>,
        rows: usize,
        d: impl Fn(usize) -> &'a [T],
        mask: Option<&[T]>,
    ) {
        let Some(mask) = mask else { return weights.last_product(engine.products(), rows, d, &mut self.carry) };
        self.through.fill(T::ZERO);
        weights.last_product(engine.products(), rows, d, &mut self.through);
        for ((carry, &through), &mask) in self.carry.iter_mut().zip(&*self.through).zip(mask) {
            *carry = through.mul_add(mask, *carry); // as in the kernels
        }
    }
}

/// Runs one backward step of the first `rows` rows.
///
/// Before the call, `state.carry` is the result of the next step in time, or the gradient of the last state. The step's
/// gradients are written to `d`, in the order of [`BackwardCell::segments`]. `mask` `[rows, padded]` has the factors of
/// the states in the recurrent products.
///
/// # Panics
/// If an operand is too short.
pub fn backward_step<'a, T: Real>(
    engine: Engine<CellKernels<T>>,
    weights: &BackwardCell<T>,
    hidden: usize,
    rows: usize,
    recorded: &StepRecord<T>,
    dy: Option<&dyn Fn(usize) -> &'a [T]>,
    mask: Option<&[T]>,
    d: &mut Gradients<T>,
    state: &mut BackwardState<T>,
) {
    let kernels = engine.kernels;
    let equations = kernels.backward(weights.functions());
    let lanes = kernels.products.lanes;
    let padded = hidden.next_multiple_of(lanes);
    let segments = weights.segments().count;
    assert!(rows <= MAX_ROWS_PER_STEP && state.carry.len() >= rows * padded, "carry too short");
    assert!(d.at.len() >= rows && d.after.len() <= rows && d.rows.len() >= rows, "rows missing");
    assert!(mask.is_none() || state.through.len() >= rows * padded, "through too short");
    state.drh.fill(T::ZERO);
    state.through.fill(T::ZERO);
    let (carry, drh, through) = (state.carry.as_mut_ptr(), state.drh.as_mut_ptr(), state.through.as_mut_ptr());
    let to = if mask.is_some() { through } else { carry };
    let (mut tape, mut h, mut dy_list) = (RowPointers::default(), RowPointers::default(), RowPointers::default());
    let (mut starts, mut at) = (RowPointers::default(), RowPointers::default());
    let norm = match &weights.u {
        BackwardRecurrent::Normalised { norm, .. } => Some(norm),
        _ => None,
    };
    let (mut after, mut candidate) = (RowPointers::default(), RowPointers::default());
    for at in [&d.at[..rows], d.after] {
        let fits = |(&at, row): (&usize, &&mut [T])| row.len().checked_sub(at).is_some_and(|n| n >= segments * hidden);
        assert!(at.iter().zip(&*d.rows).all(fits), "gradients too short");
    }
    assert!(d.at.iter().zip(d.after).all(|(&at, after)| after.abs_diff(at) >= segments * hidden), "steps that overlap");
    let starts = starts.fill(rows, |row| d.rows[row].as_mut_ptr());
    // SAFETY: within the row, as just asserted; likewise below.
    let at = at.fill(rows, |row| unsafe { starts[row].add(d.at[row]) });
    // SAFETY: as above.
    let after = after.fill(d.after.len(), |row| unsafe { starts[row].add(d.after[row]) }.cast_const());
    // SAFETY: the third of at least three segments.
    let candidate = candidate.fill(rows, |row| unsafe { at[row].add(2 * hidden) }.cast_const());
    let mut args = BackwardArgs {
        width: 0,
        rows,
        hidden,
        padded,
        tape: tape.fill(rows, |row| (recorded.tape)(row)[..weights.record_len].as_ptr()).as_ptr(),
        h: h.fill(rows, |row| (recorded.h)(row)[..hidden].as_ptr()).as_ptr(),
        dy: dy.map_or(std::ptr::null(), |dy| dy_list.fill(rows, |row| dy(row)[..hidden].as_ptr()).as_ptr()),
        d: at.as_ptr(),
        carry,
        drh: drh.cast_const(),
        mask: mask.map_or(std::ptr::null(), |mask| mask[..rows * padded].as_ptr()),
        through: through.cast_const(),
        norm: norm.map_or(std::ptr::null(), std::ptr::from_ref),
        functions: weights.functions(),
    };
    let mut share_out = |kernel: unsafe fn(&BackwardArgs<T>, Range<usize>), product: Option<_>, u: &PackedMatrix<T>| {
        args.width = u.width;
        let (args, product): (_, &Option<MatmulArgs<T>>) = (&args, &product);
        engine.team.run(|i, n| {
            let panels = share(u.panels(), i, n);
            // SAFETY: the kernels exist only for instruction sets of this machine; all rows and buffers were sliced to
            // the lengths noted in `BackwardArgs`, or asserted to have them.
            unsafe {
                if let Some(product) = product {
                    (kernels.products.matmul)(product, panels.clone());
                }
                kernel(args, panels);
            }
        });
    };
    let into = |to, from: &[*const T], u: &PackedMatrix<T>| {
        (!from.is_empty()).then(|| MatmulArgs::adding(from.len(), Operand::Rows(from.as_ptr()), u, hidden, to, padded))
    };
    match &weights.u {
        BackwardRecurrent::After(u) => {
            assert!(u.lanes == lanes && u.depth == 3 * hidden && u.columns == hidden, "weights of another cell");
            share_out(equations.after, into(to, after, u), u);
        }
        BackwardRecurrent::Before { gates, candidate: u } => {
            for (u, depth) in [(gates, 2 * hidden), (u, hidden)] {
                assert!(u.lanes == lanes && u.depth == depth && u.columns == hidden, "weights of another cell");
            }
            assert!(state.drh.len() >= rows * padded, "drh too short");
            share_out(equations.before_update, into(to, after, gates), gates);
            share_out(equations.before_reset, into(drh, candidate, u), u);
        }
        BackwardRecurrent::Normalised { u, .. } => {
            assert!(u.lanes == lanes && u.depth == 3 * hidden && u.columns == hidden, "weights of another cell");
            if let Some(product) = into(to, after, u) {
                // SAFETY: as above.
                engine.team.run(|i, n| unsafe { (kernels.products.matmul)(&product, share(u.panels(), i, n)) });
            }
            let args = &args;
            // SAFETY: as above.
            engine.team.run(|i, n| unsafe { (kernels.normalised_backward)(args, share(rows, i, n)) });
        }
    }
}
