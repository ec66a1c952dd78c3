//! The options of a call.

use crate::error::Error;
use crate::threads::runtime::{Stop, num_threads};

/// The options of a call: how many threads it uses, and how it can be stopped.
///
/// ```
/// use rgru::Options;
///
/// let deadline = std::time::Instant::now() + std::time::Duration::from_secs(1);
/// let stop = || std::time::Instant::now() > deadline;
/// let options = Options { threads: Some(2), stop: Some(&stop) };
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// The largest number of threads to use; `None` means [`crate::num_threads`].
    pub threads: Option<usize>,
    /// Called about every 50 ms on the caller's thread. If it returns true, the call ends with [`Error::Interrupted`].
    pub stop: Option<Stop<'a>>,
}

impl<'a> Options<'a> {
    /// Returns the number of threads to use.
    pub(crate) fn threads(&self) -> Result<usize, Error> {
        self.threads.map_or_else(num_threads, Ok)
    }

    /// Returns the function to call about every 50 ms.
    pub(crate) fn stop(&self) -> Stop<'a> {
        static NEVER: fn() -> bool = || false;
        self.stop.unwrap_or(&NEVER)
    }
}
