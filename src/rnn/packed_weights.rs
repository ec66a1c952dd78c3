//! A stack's parameters packed for the kernels of one instruction set: made once, shared by all threads.

use crate::cell::Real;
use crate::cell::kernels::CellKernels;
use crate::cell::weights::{BackwardCell, PackedCell};
use crate::error::Error;
use crate::memory::aligned::zeros;
use crate::shape::Dims;
use crate::shape::params::split_params;
use crate::simd::Isa;

/// Immutable packed weights of a stack.
pub struct PackedWeights<T: 'static> {
    pub(crate) dims: Dims,
    pub(crate) kernels: &'static CellKernels<T>,
    pub(crate) cells: Vec<PackedCell<T>>,
    pub(crate) backward: Option<Vec<BackwardCell<T>>>,
}

impl<T: Real> PackedWeights<T> {
    /// Packs the flat parameters for the instruction set in use; with `training`, for the backward pass too.
    ///
    /// # Errors
    /// Sizes that do not fit, or an instruction set forced by `RGRU_ISA` that is not there.
    pub fn new(dims: Dims, params: &[T], training: bool) -> Result<Self, Error> {
        Self::for_isa(Isa::active()?, dims, params, training)
    }

    /// Packs the flat parameters for an instruction set.
    ///
    /// # Errors
    /// Sizes that do not fit, or an instruction set that this machine does not have.
    pub fn for_isa(isa: Isa, dims: Dims, params: &[T], training: bool) -> Result<Self, Error> {
        let dims = dims.check()?;
        dims.check_params(params.len())?;
        let kernels = CellKernels::of(isa)?;
        // Best effort: allocated at once and released, so that most models that are too large are an error, not an abort.
        drop(zeros::<T>(params.len().saturating_mul(if training { 3 } else { 2 }))?);
        let lanes = kernels.products.lanes;
        let canonical = split_params(&dims, params);
        let backward = training.then(|| canonical.iter().map(|cell| BackwardCell::new(lanes, cell)).collect());
        Ok(Self { dims, kernels, cells: canonical.iter().map(|cell| PackedCell::new(lanes, cell)).collect(), backward })
    }

    /// Sizes and options.
    pub fn dims(&self) -> &Dims {
        &self.dims
    }

    /// Whether the backward pass can run.
    pub fn training(&self) -> bool {
        self.backward.is_some()
    }
}
