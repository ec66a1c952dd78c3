//! The Python module `rgru._core`: it converts arguments and results and does no arithmetic. `python/rgru/_core.pyi`
//! has its types.

#[forbid(unsafe_code)]
mod arrays;
mod arrow;
#[forbid(unsafe_code)]
mod dims;
#[forbid(unsafe_code)]
mod gru;
#[forbid(unsafe_code)]
mod keys;
#[forbid(unsafe_code)]
mod sessions;
#[forbid(unsafe_code)]
mod stream;
#[forbid(unsafe_code)]
mod threads;
#[forbid(unsafe_code)]
mod training;

use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyOverflowError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Value { .. } => PyValueError::new_err(error.to_string()),
            Error::Overflow { events } => PyOverflowError::new_err(events),
            Error::Memory { .. } => PyMemoryError::new_err(error.to_string()),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        }
    }
}

#[pymodule(name = "_core")]
mod core {
    #[pymodule_export]
    use super::arrow::{Exported, arrow_numbers, arrow_sequences, arrow_texts, is_arrow_sequences};
    #[pymodule_export]
    use super::gru::{PyTape, PyWeights, dropout_key, initial, initial_embeddings, layout};
    #[pymodule_export]
    use super::keys::{fixed_width_keys, object_keys};
    #[pymodule_export]
    use super::sessions::PySessions;
    #[pymodule_export]
    use super::stream::PyStream;
    #[pymodule_export]
    use super::threads::{available_isas, get_num_threads, isa, set_num_threads};
    #[pymodule_export]
    use super::training::{
        PyAdam, activate, cosine_decay, cross_entropy, linear, linear_backward, mean_over_time, mean_squared_error,
        measure, normalise, normalise_backward, softmax, standardise, with_embedding_gradient,
    };

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
