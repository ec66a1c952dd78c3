//! Loom's primitives. No time passes, since loom needs the same run every time. A worker therefore parks at once, and a
//! leader is never held up.

use std::time::Duration;

pub use loom::cell::UnsafeCell;
pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub use loom::sync::{Arc, Mutex};
pub use loom::thread::{self, Thread};
pub use std::sync::PoisonError;

pub const SPIN_LIMIT: usize = 1;

pub const LINGER: Duration = Duration::ZERO;

/// A clock that does not advance.
#[derive(Clone, Copy)]
pub struct Instant;

impl Instant {
    pub fn now() -> Self {
        Self
    }

    pub fn elapsed(self) -> Duration {
        Duration::ZERO
    }
}

/// Lets other threads run; otherwise loom would read the flag forever.
pub fn spin_loop() {
    thread::yield_now();
}
