//! The error type of the crate. Messages state the argument, what was expected and what was passed.

use std::fmt;

/// The reason why a call failed or ended early.
///
/// ```
/// use rgru::{Error, set_num_threads};
///
/// let error = set_num_threads(Some(0)).unwrap_err();
/// assert!(matches!(error, Error::Value { .. }));
/// assert_eq!(error.to_string(), "n: expected a number of threads in 1..=1024, got '0'");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An argument is not valid, or a file.
    Value {
        /// The name of the argument, or the path of the file.
        name: String,
        /// A description of valid values.
        expected: String,
        /// The value or shape that was passed.
        got: String,
    },
    /// Events make states of sessions infinite or NaN, which they would stay forever.
    Overflow {
        /// The first such event of each session and those after it, by position.
        events: Vec<usize>,
    },
    /// There is not enough memory.
    Memory {
        /// The size of the allocation that failed, in bytes.
        bytes: usize,
    },
    /// The function [`Options::stop`](field@crate::Options::stop) returned true.
    Interrupted,
}

impl Error {
    /// Returns an [`Error::Value`], which displays as `name: expected ..., got ...`.
    ///
    /// ```
    /// let error = rgru::Error::value("n", "at least 1", "0");
    /// assert_eq!(error.to_string(), "n: expected at least 1, got 0");
    /// ```
    pub fn value(name: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Value { name: name.into(), expected: expected.into(), got: got.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { name, expected, got } => write!(f, "{name}: expected {expected}, got {got}"),
            Self::Overflow { events } => {
                let first = events.iter().min().copied().unwrap_or_default();
                write!(f, "x: expected events after which all states are finite, got others from event {first} on")
            }
            Self::Memory { bytes } => write!(f, "cannot allocate {bytes} bytes"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}
