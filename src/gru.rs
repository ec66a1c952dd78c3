//! The layer for Rust users: arrays of `ndarray` in and out.

use std::sync::Arc;

use ndarray::{Array3, ArrayView3};

use crate::cell::Real;
use crate::error::Error;
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::{self, Stream};
use crate::shape::{Dims, Sequences, expect_last};
use crate::threads::runtime::num_threads;
use crate::train::init::initial;

/// A stack of GRU layers with its weights packed: immutable, cheap to clone, shared by all threads.
///
/// ```
/// use ndarray::Array3;
/// use rgru::{Dims, Gru};
///
/// let dims = Dims {
///     input_size: 3,
///     hidden_size: 8,
///     num_layers: 1,
///     bidirectional: false,
///     reset_after: false,
///     bias: true,
/// };
/// let gru = Gru::<f32>::seeded(dims, 0)?;
/// let x = Array3::zeros((2, 5, 3));
/// let (y, h_n) = gru.forward(x.view(), None, Some(&[5, 2]))?;
/// assert_eq!(y.dim(), (2, 5, 8));
/// assert_eq!(h_n.dim(), (1, 2, 8));
///
/// let mut stream = gru.stream(1)?;
/// let mut y_t = [0.0; 8];
/// stream.step(&[0.1, 0.2, 0.3], &mut y_t, 1, &|| false)?;
/// # Ok::<(), rgru::Error>(())
/// ```
#[derive(Clone)]
pub struct Gru<T: 'static> {
    packed: Arc<PackedWeights<T>>,
}

impl<T: Real> Gru<T> {
    /// From the flat parameters, in the order of [`Dims::tensors`].
    ///
    /// # Errors
    /// Sizes that do not fit, or an instruction set forced by `RGRU_ISA` that is not there.
    pub fn new(dims: Dims, params: &[T]) -> Result<Self, Error> {
        Ok(Self { packed: Arc::new(PackedWeights::new(dims, params, false)?) })
    }

    /// From initial parameters: W glorot uniform, U orthogonal, biases 0; the same for a seed on every platform.
    ///
    /// # Errors
    /// As [`Gru::new`].
    pub fn seeded(dims: Dims, seed: u64) -> Result<Self, Error> {
        Self::new(dims, &initial(dims, seed, &|| false)?)
    }

    /// Sizes and options.
    pub fn dims(&self) -> &Dims {
        self.packed.dims()
    }

    /// x (N, T, I), h0 (L*D, N, H) or zeros, lengths of N sequences or all T: y (N, T, D*H), 0 past a sequence's
    /// length, and the states after each sequence's last step (L*D, N, H).
    ///
    /// # Errors
    /// Sizes or lengths that do not fit.
    pub fn forward(
        &self,
        x: ArrayView3<T>,
        h0: Option<ArrayView3<T>>,
        lengths: Option<&[i64]>,
    ) -> Result<(Array3<T>, Array3<T>), Error> {
        let dims = self.packed.dims();
        let (batch, time, _) = x.dim();
        expect_last("x", dims.input_size, "input_size", x.shape())?;
        let sequences = Sequences::padded(batch, time, lengths)?;
        if let Some(h0) = &h0 {
            dims.check_states("h0", h0.shape(), batch)?;
        }
        let mut y = Array3::from_elem((batch, time, dims.output_size()), T::ZERO);
        let mut h_n = Array3::from_elem((dims.num_cells(), batch, dims.hidden_size), T::ZERO);
        // Standard layout, so that there are slices.
        let (x, h0) = (x.as_standard_layout(), h0.as_ref().map(|h0| h0.as_standard_layout()));
        rnn::forward(
            &self.packed,
            x.as_slice().unwrap_or_default(),
            &sequences,
            h0.as_ref().map(|h0| h0.as_slice().unwrap_or_default()),
            y.as_slice_mut().unwrap_or_default(),
            h_n.as_slice_mut().unwrap_or_default(),
            num_threads()?,
            &|| false,
        )?;
        Ok((y, h_n))
    }

    /// Starts `batch` sequences whose steps come one at a time.
    ///
    /// # Errors
    /// The stack is bidirectional.
    pub fn stream(&self, batch: usize) -> Result<Stream<T>, Error> {
        Stream::new(Arc::clone(&self.packed), batch)
    }
}
