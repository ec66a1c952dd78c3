//! The error type of the Arrow import.

use pyo3::PyErr;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyTypeError, PyValueError};

use crate::error::Error;

/// The reason why Arrow data cannot be used. [`ArrowError::for_argument`] adds the name of the argument.
#[derive(Debug)]
pub enum ArrowError {
    /// The data are of another type.
    Type(String),
    /// A value or the structure of the data is not valid.
    Value(String),
    /// As [`ArrowError::Value`], in a part of a table, which is the first text: `column 'a'`.
    In(String, String),
    /// An allocation of this many bytes has failed.
    Memory(usize),
    /// The producer's stream has failed, with this `errno` and message.
    Source(i32, String),
}

impl From<Error> for ArrowError {
    fn from(error: Error) -> Self {
        match error {
            Error::Memory { bytes } => Self::Memory(bytes),
            other => Self::Value(other.to_string()),
        }
    }
}

impl ArrowError {
    /// Returns the exception for an argument called `name`.
    pub fn for_argument(self, name: &str) -> PyErr {
        match self {
            Self::Type(text) => PyTypeError::new_err(format!("{name}: {text}")),
            Self::Value(text) => PyValueError::new_err(format!("{name}: {text}")),
            Self::In(part, text) if name == "column" => PyValueError::new_err(format!("{part}: {text}")),
            Self::In(part, text) => PyValueError::new_err(format!("{name}, {part}: {text}")),
            Self::Memory(bytes) => PyMemoryError::new_err(format!("{name}: cannot allocate {bytes} bytes")),
            Self::Source(code, text) => PyOSError::new_err((code, format!("{name}: the stream has failed: {text}"))),
        }
    }
}

/// Returns the error for structs that violate the C data interface; `got` describes the violation.
pub fn malformed(got: impl Into<String>) -> ArrowError {
    ArrowError::Value(format!("expected well-formed Arrow data, got {}", got.into()))
}
