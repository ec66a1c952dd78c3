//! The one error type. Messages name the argument, what was expected and what came.

use std::fmt;

/// Why a call was refused or ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An argument does not fit.
    Value {
        /// The argument.
        name: String,
        /// What would fit.
        expected: String,
        /// What came.
        got: String,
    },
    /// There is not as much memory.
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The caller asked to stop.
    Interrupted,
}

impl Error {
    /// `name: expected ..., got ...`.
    pub fn value(name: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Value { name: name.into(), expected: expected.into(), got: got.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { name, expected, got } => write!(f, "{name}: expected {expected}, got {got}"),
            Self::Memory { bytes } => write!(f, "cannot allocate {bytes} bytes"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}
