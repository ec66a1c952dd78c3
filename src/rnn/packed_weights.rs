//! A stack's parameters packed for the kernels of one instruction set. They are packed once and shared by all threads.

use crate::cell::Real;
use crate::cell::functions::Custom;
use crate::cell::kernels::CellKernels;
use crate::cell::weights::{BackwardCell, PackedCell, as_id};
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

    /// As [`PackedWeights::new`] for inference, with an id as the first feature of inputs, in the place of the first
    /// `size` features: those of the id's embedding in `embeddings`, `[V, size]`. Results have the same bits.
    ///
    /// # Errors
    /// As [`PackedWeights::new`]; [`Error::Value`] if the sizes of the embeddings do not fit.
    pub fn with_ids(dims: Dims, params: &[T], embeddings: &[T], size: usize) -> Result<Self, Error> {
        let mut packed = Self::new(dims, params, false)?;
        if size == 0 || size > dims.input_size || !embeddings.len().is_multiple_of(size) {
            let got = format!("{} numbers for embeddings of {size}", embeddings.len());
            return Err(Error::value("embeddings", format!("rows of at most {}", dims.input_size), got));
        }
        let canonical = split_params(&dims, params);
        for (packed_cell, cell) in packed.cells.iter_mut().zip(&canonical).take(dims.directions()) {
            packed_cell.embed(packed.kernels.products, cell, embeddings, size)?;
        }
        packed.dims.input_size = dims.input_size - size + 1;
        Ok(packed)
    }

    /// Checks that the first feature of each step of x is an id, if the stack reads ids. `rows` are those of each
    /// sequence or event; `place` describes row n, step t for errors.
    ///
    /// # Errors
    /// [`Error::Value`] if one is not.
    pub(crate) fn check_ids<'a>(
        &self,
        place: fn(usize, usize) -> String,
        rows: impl IntoIterator<Item = &'a [T]>,
    ) -> Result<(), Error>
    where
        T: 'a,
    {
        let Some(count) = self.vocabulary() else { return Ok(()) };
        for (n, rows) in rows.into_iter().enumerate() {
            for (t, row) in rows.chunks_exact(self.dims.input_size).enumerate() {
                if as_id(row[0], count).is_none() {
                    let number = row[0].to_string().to_lowercase(); // nan, as in Python
                    let got = format!("{number} in {} (counted from 0)", place(n, t));
                    return Err(Error::value("x", format!("ids from 0 to {} in feature 0", count - 1), got));
                }
            }
        }
        Ok(())
    }

    /// Returns the sizes and options of the stack.
    pub fn dims(&self) -> &Dims {
        &self.dims
    }

    /// Returns the number of ids, if the stack reads ids.
    pub fn vocabulary(&self) -> Option<usize> {
        self.cells[0].vocabulary()
    }

    /// Returns whether the backward pass can run.
    pub fn training(&self) -> bool {
        self.backward.is_some()
    }
}
