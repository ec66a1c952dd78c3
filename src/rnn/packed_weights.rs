//! A stack's parameters packed for the kernels of one instruction set. They are packed once and shared by all threads.

use crate::cell::Real;
use crate::cell::functions::Custom;
use crate::cell::kernels::CellKernels;
use crate::cell::weights::{BackwardCell, PackedCell};
use crate::error::Error;

use crate::shape::Dims;
use crate::shape::params::split_params;
use crate::simd::Isa;

/// The packed weights of a stack, immutable.
pub struct PackedWeights<T: 'static> {
    pub(crate) dims: Dims,
    pub(crate) kernels: &'static CellKernels<T>,
    pub(crate) cells: Vec<PackedCell<T>>,
    pub(crate) backward: Option<Vec<BackwardCell<T>>>,
}

impl<T: Real> PackedWeights<T> {
    /// Packs the flat parameters for the instruction set in use and, with `training`, for the backward pass too.
    ///
    /// # Errors
    /// [`Error::Value`] if `dims` is not valid, `params` has another length, or `RGRU_ISA` names an instruction set
    /// that this machine does not have; [`Error::Memory`].
    pub fn new(dims: Dims, params: &[T], training: bool) -> Result<Self, Error> {
        Self::for_isa(Isa::active()?, dims, params, training)
    }

    /// Packs the flat parameters for an instruction set.
    ///
    /// # Errors
    /// As [`PackedWeights::new`], for `isa`.
    pub fn for_isa(isa: Isa, dims: Dims, params: &[T], training: bool) -> Result<Self, Error> {
        let dims = dims.check()?;
        dims.check_params(params.len())?;
        let kernels = CellKernels::of(isa)?;
        let lanes = kernels.products.lanes;
        let canonical = split_params(&dims, params);
        let functions = Custom::new(&dims.cell, |function, x| kernels.activate(function, x));
        let backward =
            training.then(|| canonical.iter().map(|cell| BackwardCell::new(lanes, cell, functions)).collect());
        Ok(Self {
            dims,
            kernels,
            cells: canonical.iter().map(|cell| PackedCell::new(lanes, cell, functions)).collect::<Result<_, _>>()?,
            backward: backward.transpose()?,
        })
    }

    /// Returns the sizes and options of the stack.
    pub fn dims(&self) -> &Dims {
        &self.dims
    }

    /// Returns whether the backward pass can run.
    pub fn training(&self) -> bool {
        self.backward.is_some()
    }
}
