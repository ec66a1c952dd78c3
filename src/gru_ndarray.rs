//! The layer on arrays of the crate `ndarray`.

use ndarray::{Array3, ArrayView3};

use crate::cell::Real;
use crate::error::Error;
use crate::gru::Gru;
use crate::options::Options;
use crate::rnn::{Inputs, Outputs};
use crate::shape::{Sequences, expect_last};

impl<T: Real> Gru<T> {
    /// Runs a padded batch of N sequences.
    ///
    /// Reads `x` `[N, T, I]`, the initial states `h0` `[L * D, N, H]` (`None`: zeros), and the `lengths` of the N
    /// sequences in steps (`None`: all are T). Returns the outputs y `[N, T, D * H]`, which are 0 past a sequence's
    /// length, and the states after each sequence's last step, `[L * D, N, H]`.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let dims = Dims::new(3, 8);
    /// let gru = Gru::<f32>::seeded(dims, 0)?;
    /// let x = ndarray::Array3::zeros((2, 5, 3));
    /// let (y, h_n) = gru.forward(x.view(), None, Some(&[5, 2]))?;
    /// assert_eq!(y.dim(), (2, 5, 8));
    /// assert_eq!(h_n.dim(), (1, 2, 8));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if a shape or a length does not fit; [`Error::Memory`].
    pub fn forward(
        &self,
        x: ArrayView3<T>,
        h0: Option<ArrayView3<T>>,
        lengths: Option<&[i64]>,
    ) -> Result<(Array3<T>, Array3<T>), Error> {
        let dims = self.dims();
        let (batch, time, _) = x.dim();
        expect_last("x", dims.input_size, "input_size", x.shape())?;
        let sequences = Sequences::padded(batch, time, lengths)?;
        if let Some(h0) = &h0 {
            dims.check_states("h0", h0.shape(), batch)?;
        }
        let mut y = Array3::from_elem((batch, time, dims.output_size()), T::ZERO);
        let mut h_n = Array3::from_elem((dims.num_cells(), batch, dims.hidden_size), T::ZERO);
        // In standard layout an array is one slice.
        let (x, h0) = (x.as_standard_layout(), h0.as_ref().map(|h0| h0.as_standard_layout()));
        let inputs = Inputs {
            x: x.as_slice().unwrap_or_default(),
            sequences: &sequences,
            h0: h0.as_ref().map(|h0| h0.as_slice().unwrap_or_default()),
        };
        let outputs = Outputs { y: y.as_slice_mut().unwrap_or_default(), h_n: h_n.as_slice_mut().unwrap_or_default() };
        self.run(inputs, outputs, Options::default())?;
        Ok((y, h_n))
    }
}
