//! The synchronisation primitives of the pool and the teams: those of the standard library. The models in `tests/loom`
//! replace them by loom's, which tries every order in which threads may run and see memory.

use std::time::Duration;

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Arc, Mutex, PoisonError};
pub use std::thread::{self, Thread};
pub use std::time::Instant;

/// How often a waiting thread reads a flag before it yields: some tens of microseconds.
pub const SPIN_LIMIT: usize = 1 << 12;

/// How long a worker stays awake without work before it parks.
pub const LINGER: Duration = Duration::from_micros(200);

/// A cell that threads share by a protocol that the user of the cell guarantees.
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls a function with a pointer to read from.
    #[inline]
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Calls a function with a pointer to write to.
    #[inline]
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
