//! The tables of cell kernels, one for each instruction set and precision.

use std::ops::Range;

use crate::cell::backward::{self, BackwardArgs};
use crate::cell::forward::{self, StepArgs};
use crate::cell::functions::{self, Function};
use crate::error::Error;
use crate::gemm;
use crate::gemm::kernels::{ProductDispatch, ProductKernels};
use crate::memory::buffer_pool::Pooled;
use crate::simd::float::Float;
use crate::simd::{Isa, entries, instantiate, table_of};
use crate::threads::team::Engine;

/// A number type that the GRU computes in: `f32` or `f64`.
pub trait Real: Float + Pooled + CellDispatch {}
impl<T: Float + Pooled + CellDispatch> Real for T {}

/// The kernels of one instruction set and precision, for the cell and for matrix products.
pub struct CellKernels<T: 'static> {
    /// The kernels of matrix products.
    pub products: &'static ProductKernels<T>,
    pub(super) reset_after: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(super) reset_before_gates: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(super) reset_before_candidate: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(super) backward_after: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub(super) backward_before_update: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub(super) backward_before_reset: unsafe fn(&BackwardArgs<T>, Range<usize>),
    activate: unsafe fn(&Function<T>, &mut [T]),
}

impl<T: CellDispatch> CellKernels<T> {
    /// Returns the kernels of an instruction set.
    ///
    /// # Errors
    /// [`Error::Value`] if this machine does not have it.
    pub fn of(isa: Isa) -> Result<&'static Self, Error> {
        T::cell_kernels(isa)
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
                backward_after: entry_backward_after,
                backward_before_update: entry_backward_before_update,
                backward_before_reset: entry_backward_before_reset,
                activate: entry_activate,
            };

            entries! {
                [$($features)?]
                entry_reset_after(args: &StepArgs<$element>, panels: Range<usize>) = forward::reset_after::<L>;
                entry_reset_before_gates(args: &StepArgs<$element>, panels: Range<usize>) = forward::reset_before_gates::<L>;
                entry_reset_before_candidate(args: &StepArgs<$element>, panels: Range<usize>) = forward::reset_before_candidate::<L>;
                entry_backward_after(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::after::<L>;
                entry_backward_before_update(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::before_update::<L>;
                entry_backward_before_reset(args: &BackwardArgs<$element>, panels: Range<usize>) = backward::before_reset::<L>;
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
