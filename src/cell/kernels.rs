//! The tables of cell kernels, one for each instruction set and precision.

use std::ops::Range;

use crate::cell::backward::{self, BackwardArgs};
use crate::cell::finish;
use crate::cell::forward;
use crate::cell::functions::{self, Custom, Function, Plain};
use crate::cell::norm_step;
use crate::cell::single::{self, SingleArgs};
use crate::cell::step_args::{FinishedTile, StepArgs};
use crate::error::Error;
use crate::gemm;
use crate::gemm::kernels::{ProductDispatch, ProductKernels};
use crate::memory::buffer_pool::Pooled;
use crate::simd::float::Float;
use crate::simd::{Isa, entries, instantiate, table_of};
use crate::threads::team::Engine;

/// A number type that the GRU computes in: `f32` or `f64`.
///
/// ```
/// use rgru::{Dims, Gru, Real};
///
/// fn parameters<T: Real>(gru: &Gru<T>) -> usize {
///     gru.dims().num_params()
/// }
/// assert_eq!(parameters(&Gru::<f32>::seeded(Dims::new(3, 8), 0)?), 288);
/// # Ok::<(), rgru::Error>(())
/// ```
pub trait Real: Float + Pooled + CellDispatch {}
impl<T: Float + Pooled + CellDispatch> Real for T {}

/// The kernels of one instruction set and precision, for the cell and for matrix products.
pub struct CellKernels<T: 'static> {
    /// The kernels of matrix products.
    pub products: &'static ProductKernels<T>,
    pub(super) reset_after: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(super) reset_before_gates: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(super) reset_before_candidate: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(super) normalised: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(super) normalised_backward: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub(super) single_plain: unsafe fn(&SingleArgs<T>),
    pub(super) single_custom: unsafe fn(&SingleArgs<T>),
    pub(super) custom: CustomEquations<T>,
    backward_plain: BackwardEquations<T>,
    backward_custom: BackwardEquations<T>,
    activate: unsafe fn(&Function<T>, &mut [T]),
}

/// The equations of cells that are not plain, for a finished tile of each of the three products.
pub(super) struct CustomEquations<T> {
    pub after: unsafe fn(&StepArgs<T>, &FinishedTile<T>),
    pub before_gates: unsafe fn(&StepArgs<T>, &FinishedTile<T>),
    pub before_candidate: unsafe fn(&StepArgs<T>, &FinishedTile<T>),
}

/// The equations of the backward pass of a kind of cell.
pub(super) struct BackwardEquations<T> {
    pub after: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub before_update: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub before_reset: unsafe fn(&BackwardArgs<T>, Range<usize>),
}

impl<T: CellDispatch> CellKernels<T> {
    /// Returns the kernels of an instruction set.
    ///
    /// # Errors
    /// [`Error::Value`] if this machine does not have it.
    pub fn of(isa: Isa) -> Result<&'static Self, Error> {
        T::cell_kernels(isa)
    }

    /// Returns the backward equations for functions, which are null for those of the plain cell.
    #[inline]
    pub(super) fn backward(&self, functions: *const Custom<T>) -> &BackwardEquations<T> {
        if functions.is_null() { &self.backward_plain } else { &self.backward_custom }
    }

    /// Applies a function to every element.
    pub fn activate(&self, function: &Function<T>, x: &mut [T]) {
        // SAFETY: only tables for instruction sets of this machine are ever returned.
        unsafe { (self.activate)(function, x) }
    }
}

impl<'a, T> Engine<'a, CellKernels<T>> {
    /// Returns the same threads with the kernels of matrix products.
    #[inline]
    pub fn products(self) -> Engine<'a, ProductKernels<T>> {
        Engine { kernels: self.kernels.products, team: self.team }
    }
}

/// A number type that has cell kernels.
pub trait CellDispatch: ProductDispatch {
    /// Returns the kernels of an instruction set.
    ///
    /// # Errors
    /// [`Error::Value`] if this machine does not have it.
    fn cell_kernels(isa: Isa) -> Result<&'static CellKernels<Self>, Error>;
}

macro_rules! table {
    ($isa:ident, $element:ident, $lanes:ty $(, $features:literal)?) => {
        pub(crate) mod $element {
            use super::super::*;

            type L = $lanes;

            pub static KERNELS: CellKernels<$element> = CellKernels {
                products: &gemm::kernels::$isa::$element::KERNELS,
                reset_after: entry_reset_after,
                reset_before_gates: entry_reset_before_gates,
                reset_before_candidate: entry_reset_before_candidate,
                normalised: entry_normalised,
                normalised_backward: entry_normalised_backward,
                single_plain: entry_single_plain,
                single_custom: entry_single_custom,
                custom: CustomEquations {
                    after: entry_custom_after,
                    before_gates: entry_custom_gates,
                    before_candidate: entry_custom_candidate,
                },
                backward_plain: BackwardEquations {
                    after: entry_plain_backward_after,
                    before_update: entry_plain_backward_update,
                    before_reset: entry_plain_backward_reset,
                },
                backward_custom: BackwardEquations {
                    after: entry_custom_backward_after,
                    before_update: entry_custom_backward_update,
                    before_reset: entry_custom_backward_reset,
                },
                activate: entry_activate,
            };

            entries! {
                [$($features)?]
                entry_reset_after(args: &StepArgs<$element>, panels: Range<usize>) = forward::reset_after::<L>;
                entry_reset_before_gates(args: &StepArgs<$element>, panels: Range<usize>) = forward::reset_before_gates::<L>;
                entry_reset_before_candidate(args: &StepArgs<$element>, panels: Range<usize>) = forward::reset_before_candidate::<L>;
                entry_plain_backward_after(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::after::<L, Plain>;
                entry_plain_backward_update(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::before_update::<L, Plain>;
                entry_plain_backward_reset(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::before_reset::<L, Plain>;
                entry_custom_after(args: &StepArgs<$element>, tile: &FinishedTile<$element>) = finish::reset_after::<L, &Custom<_>>;
                entry_custom_gates(args: &StepArgs<$element>, tile: &FinishedTile<$element>) = finish::reset_before_gates::<L, &Custom<_>>;
                entry_custom_candidate(args: &StepArgs<$element>, tile: &FinishedTile<$element>) = finish::reset_before_candidate::<L, &Custom<_>>;
                entry_custom_backward_after(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::after::<L, &Custom<_>>;
                entry_custom_backward_update(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::before_update::<L, &Custom<_>>;
                entry_custom_backward_reset(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::before_reset::<L, &Custom<_>>;
                entry_single_plain(args: &SingleArgs<$element>) = single::run::<L, Plain>;
                entry_single_custom(args: &SingleArgs<$element>) = single::run::<L, &Custom<_>>;
                entry_normalised(args: &StepArgs<$element>, rows: Range<usize>) = norm_step::forward::<L>;
                entry_normalised_backward(args: &BackwardArgs<$element>, rows: Range<usize>) = norm_step::backward::<L>;
                entry_activate(function: &Function<$element>, x: &mut [$element]) = functions::activate_slice::<L>;
            }
        }
    };
}
instantiate!(table);

macro_rules! dispatch {
    ($element:ident) => {
        impl CellDispatch for $element {
            fn cell_kernels(isa: Isa) -> Result<&'static CellKernels<Self>, Error> {
                Ok(table_of!(isa.check()?, $element))
            }
        }
    };
}
dispatch!(f32);
dispatch!(f64);
