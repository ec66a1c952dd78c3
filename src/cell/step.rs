//! One step of the recurrence, for a chunk of rows.

use std::ops::Range;

use crate::cell::kernels::{CellKernels, Real};
use crate::cell::single::SingleArgs;
use crate::cell::step_args::StepArgs;
use crate::cell::weights::{PackedCell, Recurrent};
use crate::error::Error;
use crate::gemm::matmul::{Start, matmul};
use crate::gemm::pack::PackedMatrix;
use crate::gemm::tile::{MAX_ROWS_PER_STEP, RowPointers};
use crate::memory::buffer_pool::PooledBuffer;
use crate::threads::team::{Engine, share};

/// The running states of up to [`MAX_ROWS_PER_STEP`] rows, with buffers for a step.
pub struct State<T: Real> {
    padded: usize,
    rows: usize,
    /// Parts of `[rows, padded]`: two that alternate as the states before and after a step; in reset-before also z and
    /// r * h, and with layer normalisation 3 for the recurrent sums and 3 for a copy of the projections.
    parts: PooledBuffer<T>,
    /// Whether an odd number of steps is done. The states are then in the second part, and the next step reads the
    /// weights in descending order.
    odd: bool,
}

impl<T: Real> State<T> {
    /// Returns the states of `rows` rows, all at the cell's initial state.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(cell: &PackedCell<T>, rows: usize) -> Result<Self, Error> {
        let padded = cell.padded;
        let mut parts = PooledBuffer::new(parts_of(cell) * rows * padded)?;
        parts[..rows * padded].fill(T::ZERO);
        let mut state = Self { padded, rows, parts, odd: false };
        (0..rows).for_each(|row| state.restart(cell, row));
        Ok(state)
    }

    fn at(&self, row: usize) -> usize {
        (usize::from(self.odd) * self.rows + row) * self.padded
    }

    /// Sets the state of a row to the cell's initial state.
    pub fn restart(&mut self, cell: &PackedCell<T>, row: usize) {
        self.row_mut(row)[..cell.hidden].copy_from_slice(cell.h0());
    }

    /// Returns the state of a row, in its first H numbers.
    pub fn row(&self, row: usize) -> &[T] {
        &self.parts[self.at(row)..][..self.padded]
    }

    /// Returns the state of a row, for writing.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        let at = self.at(row);
        &mut self.parts[at..][..self.padded]
    }
}

/// Returns the number of parts of a cell's [`State`].
fn parts_of<T: Real>(cell: &PackedCell<T>) -> usize {
    match cell.recurrent {
        Recurrent::After { .. } => 2,
        Recurrent::Before { .. } => 4,
        Recurrent::Normalised { .. } => 8,
    }
}

/// The rows that a step writes.
pub enum OutputRows<'a, 'b, T> {
    /// Row i is `rows[i][at[i]..]`.
    Listed {
        /// The arrays that contain the rows.
        rows: &'a mut [&'b mut [T]],
        /// The position of each row in its array.
        at: &'a [usize],
    },
    /// Row i is `array[i * stride..]`.
    Apart {
        /// The array that contains the rows.
        array: &'a mut [T],
        /// The numbers from one row to the next.
        stride: usize,
    },
}

impl<T> OutputRows<'_, '_, T> {
    /// Returns the addresses of the first `count` rows, of `len` numbers each.
    ///
    /// # Panics
    /// If a row is missing or too short.
    fn fill(self, list: &mut RowPointers<*mut T>, count: usize, len: usize) -> *const *mut T {
        match self {
            Self::Listed { rows, at } => list.fill(count, |r| rows[r][at[r]..][..len].as_mut_ptr()),
            Self::Apart { array, stride } => {
                assert!(stride >= len, "rows that overlap");
                list.fill(count, |r| array[r * stride..][..len].as_mut_ptr())
            }
        }
        .as_ptr()
    }
}

/// The masks of a step in training; by default none.
#[derive(Default)]
pub struct StepMasks<'a, T> {
    /// The factors of z by which zoneout keeps states, 0 or 1, `[rows, padded]`.
    pub kept: Option<&'a [T]>,
    /// The factors of the states in the recurrent products, `[rows, padded]`, and where their products with the states
    /// are written, likewise.
    pub recurrent: Option<(&'a [T], &'a mut [T])>,
}

/// Advances the first `rows` rows by one step: updates their states and writes `y` (H numbers a row) and, if it is
/// given, the tape (`record_len` numbers a row).
///
/// `projected` has b + W x of these rows, in the layout of [`PackedCell::project`].
///
/// # Panics
/// If an operand is too short.
pub fn step<T: Real>(
    engine: Engine<CellKernels<T>>,
    cell: &PackedCell<T>,
    rows: usize,
    projected: &[T],
    state: &mut State<T>,
    masks: StepMasks<T>,
    y: OutputRows<T>,
    tape: Option<OutputRows<T>>,
) {
    let (hidden, padded) = (cell.hidden, cell.padded);
    assert!(rows <= MAX_ROWS_PER_STEP.min(state.rows) && state.padded == padded, "state of another size");
    assert!(state.parts.len() >= parts_of(cell) * state.rows * padded, "state of another cell");
    assert!(projected.len() >= rows * 3 * padded, "projection too short");
    assert_eq!(cell.lanes, engine.kernels.products.lanes, "cell packed for another instruction set");
    let (kernels, custom) = (engine.kernels, &engine.kernels.custom);
    let states = usize::from(state.odd) * state.rows * padded;
    let read = masks.recurrent.map(|(mask, read)| {
        let factors = state.parts[states..].iter().zip(&mask[..rows * padded]);
        for (read, (&h, &mask)) in read[..rows * padded].iter_mut().zip(factors) {
            *read = h * mask;
        }
        &*read
    });
    if let Recurrent::Normalised { u, .. } = &cell.recurrent {
        let (all, sums) = state.parts.split_at_mut(2 * state.rows * padded);
        let read = read.unwrap_or(&all[states..]);
        let zeros = Start::Bias(&cell.bias);
        matmul(engine.products(), rows, |r| &read[r * padded..], u, zeros, sums, 3 * padded);
    }
    let start = state.parts.as_mut_ptr();
    let part = |part: usize| start.wrapping_add(part * state.rows * padded); // the last ones do not exist in all cells
    let h = part(usize::from(state.odd)).cast_const();
    let (mut y_list, mut tape_list) = (RowPointers::default(), RowPointers::default());
    let mut args = StepArgs {
        rows,
        hidden,
        padded,
        projected: projected.as_ptr(),
        h,
        read: read.map_or(h, <[T]>::as_ptr),
        next: part(usize::from(!state.odd)),
        z: part(2),
        rh: part(3),
        sums: part(2),
        rows_of_sums: state.rows,
        norm: std::ptr::null(),
        u: std::ptr::null(),
        width: 0,
        b_hh: std::ptr::null(),
        y: y.fill(&mut y_list, rows, hidden),
        tape: tape.map_or(std::ptr::null(), |tape| tape.fill(&mut tape_list, rows, cell.record_len)),
        down: state.odd,
        functions: cell.functions(),
        kept: masks.kept.map_or(std::ptr::null(), |kept| kept[..rows * padded].as_ptr()),
        finish: custom.after,
    };
    let mut share_out = |kernel: unsafe fn(&StepArgs<T>, Range<usize>), finish, u: &PackedMatrix<T>, b_hh: &[T]| {
        (args.u, args.width, args.b_hh, args.finish) = (u.data.as_ptr(), u.width, b_hh.as_ptr(), finish);
        let args = &args;
        engine.team.run(|i, n| {
            // SAFETY: the kernels exist only for instruction sets of this machine; all buffers have `rows` rows of the
            // sizes noted in `StepArgs` (asserted or sliced above), and the weights are packed for these lanes.
            unsafe { kernel(args, share(u.panels(), i, n)) }
        });
    };
    match &cell.recurrent {
        Recurrent::After { u, b_hh } => share_out(kernels.reset_after, custom.after, u, b_hh),
        Recurrent::Before { gates, candidate } => {
            share_out(kernels.reset_before_gates, custom.before_gates, gates, &[]);
            share_out(kernels.reset_before_candidate, custom.before_candidate, candidate, &[]);
        }
        Recurrent::Normalised { norm, .. } => {
            args.norm = norm;
            let args = &args;
            // SAFETY: as above; the sums of these rows were just computed.
            engine.team.run(|i, n| unsafe { (kernels.normalised)(args, share(rows, i, n)) });
        }
    }
    state.odd = !state.odd;
}

/// Returns whether [`step_single`] can run a cell: its units fit into one register.
pub fn is_single<T: Real>(cell: &PackedCell<T>) -> bool {
    cell.padded == cell.lanes && !matches!(cell.recurrent, Recurrent::Normalised { .. })
}

/// The input of [`step_single`].
pub enum SingleInput<'a, T> {
    /// The features, in a cell without ids.
    X(&'a [T]),
    /// b + W x, in the layout of [`PackedCell::project`].
    Projected(&'a [T]),
}

/// Advances the first row of `state` by one step, in inference, with the bits of [`step`].
///
/// # Panics
/// If the cell [does not fit](is_single), or an operand is too short.
pub fn step_single<T: Real>(
    kernels: &CellKernels<T>,
    cell: &PackedCell<T>,
    input: SingleInput<T>,
    state: &mut State<T>,
) {
    assert!(is_single(cell) && cell.lanes == kernels.products.lanes, "cell packed for another kernel");
    let (u, candidate, b_hh) = match &cell.recurrent {
        Recurrent::After { u, b_hh } => (u, std::ptr::null(), b_hh.as_ptr()),
        Recurrent::Before { gates, candidate } => (gates, candidate.data.as_ptr(), std::ptr::null()),
        Recurrent::Normalised { .. } => unreachable!("checked above"),
    };
    let (x, start) = match input {
        SingleInput::X(x) => {
            assert!(cell.vocabulary().is_none(), "cell that reads ids");
            (&x[..cell.w.depth], &cell.bias[..])
        }
        SingleInput::Projected(projected) => (&[][..], &projected[..cell.projected_len()]),
    };
    let args = SingleArgs {
        input: x.len(),
        hidden: cell.hidden,
        x: x.as_ptr(),
        h: state.row_mut(0)[..cell.padded].as_mut_ptr(),
        w: cell.w.data.as_ptr(),
        start: start.as_ptr(),
        u: u.data.as_ptr(),
        candidate,
        b_hh,
        functions: cell.functions(),
    };
    let kernel = if args.functions.is_null() { kernels.single_plain } else { kernels.single_custom };
    // SAFETY: the kernels exist only for instruction sets of this machine; the rows were sliced to their lengths, and
    // the weights of a cell of one vector of units have one panel each, in the order noted in `SingleArgs`.
    unsafe { kernel(&args) }
}
