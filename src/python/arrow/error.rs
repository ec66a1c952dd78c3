//! Why Arrow data are refused.

use pyo3::PyErr;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyTypeError, PyValueError};

/// Why Arrow data are refused; the argument's name comes on the way to Python.
#[derive(Debug)]
pub enum Refused {
    /// They are of another type.
    Type(String),
    /// They have a value, or a structure, that cannot be.
    Value(String),
    /// As [`Refused::Value`], in a part of the table that the first text names: `column 'a'`.
    In(String, String),
    /// There is not as much memory, in bytes.
    Memory(usize),
    /// The stream that they come from has failed, with this code of `errno` and these words.
    Source(i32, String),
}

impl Refused {
    /// As an exception about an argument.
    pub fn of(self, name: &str) -> PyErr {
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

/// The error for structs that break the rules of the C data interface.
pub fn malformed(got: impl Into<String>) -> Refused {
    Refused::Value(format!("expected well-formed Arrow data, got {}", got.into()))
}

/// `count` items, if there is memory for them.
pub fn reserved<T>(count: usize) -> Result<Vec<T>, Refused> {
    let mut items = Vec::new();
    let bytes = count.saturating_mul(size_of::<T>());
    items.try_reserve_exact(count).map_err(|_| Refused::Memory(bytes))?;
    Ok(items)
}
