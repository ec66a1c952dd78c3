//! A GRU from a file.

use std::path::Path;
use std::sync::Arc;

use crate::cell::Real;
use crate::error::Error;
use crate::files::model_file::{Tensors, restore};
use crate::files::settings::{GruSettings, parse};
use crate::gru::Gru;
use crate::rnn::PackedWeights;

impl<T: Real> Gru<T> {
    /// Reads a GRU that `rgru.GRU.save` of the Python package has written, with all its options. Its outputs have the
    /// bits that they have in Python.
    ///
    /// A GRU with a vocabulary reads an id as the first feature of a step; [`Dims::input_size`](crate::Dims) counts it.
    ///
    /// ```
    /// use rgru::Gru;
    ///
    /// let gru = Gru::<f32>::load("tests/goldens/saved/gru.safetensors")?;
    /// assert_eq!(gru.dims().input_size, 3);
    /// let error = Gru::<f64>::load("tests/goldens/saved/gru.safetensors").err().unwrap();
    /// assert!(error.to_string().ends_with("got dtype: expected float64, got float32"));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`], which names the file, if it cannot be read, is damaged, is of another kind, or is not in the
    /// precision `T`; [`Error::Memory`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        restore(path.as_ref(), |kind, config, tensors| {
            if kind != "GRU" {
                return Err(Error::value("kind", "GRU", kind));
            }
            gru(&parse(config)?, "", tensors)
        })
    }
}

/// Makes a GRU of its settings and of the tensors whose names begin with `prefix`.
///
/// # Errors
/// [`Error::Value`] if they do not fit, or are not valid; [`Error::Memory`].
pub fn gru<T: Real>(settings: &GruSettings, prefix: &str, tensors: &mut Tensors) -> Result<Gru<T>, Error> {
    let dims = settings.dims::<T>()?;
    let mut params = Vec::new();
    for tensor in dims.tensors() {
        tensors.take(&format!("{prefix}{}", tensor.name), &tensor.shape, &mut params)?;
    }
    let packed = match settings.embedding()? {
        None => PackedWeights::new(dims, &params, false)?,
        Some([count, size]) => {
            let embeddings = tensors.vector::<T>(&format!("{prefix}embedding"), &[count, size])?;
            PackedWeights::with_ids(dims, &params, &embeddings, size)?
        }
    };
    Ok(Gru { packed: Arc::new(packed) })
}
