//! A pool of large buffers that calls reuse. The system maps fresh memory page by page and zeroes each page, which
//! takes longer than much of the work on it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use bytemuck::Zeroable;

use crate::error::Error;
use crate::memory::aligned::Aligned;

/// Bytes that the pool retains for later calls.
const MAX_RETAINED_BYTES: usize = 128 << 20;

/// Smaller buffers are not pooled: the allocator is as fast for them.
const MIN_POOLED_BYTES: usize = 128 << 10;

/// The unused buffers of a number type.
pub struct BufferPool<T>(ArcSwapOption<ProcessBuffers<T>>);

/// The buffers of one process. A forked child cannot use those of its parent: a lock that was held at the fork stays
/// locked in the child, without a thread to unlock it.
struct ProcessBuffers<T> {
    process: u32,
    /// Oldest first. Threads wait for the lock, so it is held only for a search of the list. If a thread allocated a
    /// new buffer instead of waiting, each collision of two threads would add a buffer to the pool.
    buffers: Mutex<Vec<Aligned<T>>>,
}

impl<T: Pooled> BufferPool<T> {
    /// Returns an empty pool.
    pub const fn empty() -> Self {
        Self(ArcSwapOption::const_empty())
    }

    /// Calls `work` with the buffers of this process.
    fn with<R>(&self, work: impl FnOnce(&mut Vec<Aligned<T>>) -> R) -> R {
        let process = std::process::id();
        let pool = match self.0.load_full().filter(|pool| pool.process == process) {
            Some(pool) => pool,
            None => self.begin(process),
        };
        work(&mut pool.buffers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a list for this process and leaks that of another one.
    fn begin(&self, process: u32) -> Arc<ProcessBuffers<T>> {
        let new = Arc::new(ProcessBuffers { process, buffers: Mutex::default() });
        if let Some(old) = self.0.swap(Some(Arc::clone(&new))).filter(|old| old.process != process) {
            std::mem::forget(old); // dropping is not safe either: the fork may have interrupted a change
        }
        new
    }
}

/// A number type whose buffers are pooled.
pub trait Pooled: Zeroable + Copy + 'static {
    /// Returns the pool of its buffers.
    fn pool() -> &'static BufferPool<Self>;
}

macro_rules! pooled {
    ($element:ident) => {
        impl Pooled for $element {
            fn pool() -> &'static BufferPool<Self> {
                static POOL: BufferPool<$element> = BufferPool::empty();
                &POOL
            }
        }
    };
}
pooled!(f32);
pooled!(f64);

/// A buffer of unspecified numbers that starts on a cache line, and returns to the pool when dropped.
pub struct PooledBuffer<T: Pooled>(Aligned<T>);

impl<T: Pooled> PooledBuffer<T> {
    /// Returns a buffer of `len` numbers.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(len: usize) -> Result<Self, Error> {
        if len.saturating_mul(size_of::<T>()) >= MIN_POOLED_BYTES
            && let Some(mut found) = T::pool().with(|buffers| take_fitting(buffers, len))
        {
            found.resize(len)?;
            return Ok(Self(found));
        }
        Ok(Self(Aligned::zeros(len)?))
    }
}

impl<T: Pooled> Drop for PooledBuffer<T> {
    fn drop(&mut self) {
        if (MIN_POOLED_BYTES..=MAX_RETAINED_BYTES).contains(&bytes(&self.0)) {
            let returned = std::mem::take(&mut self.0);
            // Freed after the lock is released: the system takes longer to free it than anything else here.
            let excess = T::pool().with(|buffers| {
                buffers.push(returned);
                take_excess(buffers)
            });
            drop(excess);
        }
    }
}

fn bytes<T: Pooled>(buffer: &Aligned<T>) -> usize {
    buffer.capacity() * size_of::<T>()
}

/// Takes the smallest buffer that holds `len` numbers and at most twice as many. Of equal ones it takes the last one
/// used, which is most likely to be in a cache.
fn take_fitting<T: Pooled>(buffers: &mut Vec<Aligned<T>>, len: usize) -> Option<Aligned<T>> {
    let sizes = buffers.iter().map(Aligned::capacity).enumerate().rev();
    let fitting = sizes.filter(|(_, capacity)| (len..=len.saturating_mul(2)).contains(capacity));
    let (found, _) = fitting.min_by_key(|&(_, capacity)| capacity)?;
    Some(buffers.remove(found))
}

/// Takes the oldest buffers until at most [`MAX_RETAINED_BYTES`] bytes are left.
fn take_excess<T: Pooled>(buffers: &mut Vec<Aligned<T>>) -> Vec<Aligned<T>> {
    let mut retained: usize = buffers.iter().map(bytes).sum();
    let mut count = 0;
    while retained > MAX_RETAINED_BYTES {
        retained -= bytes(&buffers[count]);
        count += 1;
    }
    buffers.drain(..count).collect()
}

impl<T: Pooled> Deref for PooledBuffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Pooled> DerefMut for PooledBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_reused_and_the_retained_bytes_are_bounded() {
        let len = MIN_POOLED_BYTES / size_of::<f64>() + 1;
        let first = PooledBuffer::<f64>::new(len).unwrap();
        let at = first.as_ptr();
        drop(first);
        let again = PooledBuffer::<f64>::new(len - 1).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, len - 1));
        assert!(PooledBuffer::<f64>::new(len).unwrap().as_ptr() != at, "in use");

        let many: Vec<_> = (0..10).map(|_| PooledBuffer::<f64>::new(MAX_RETAINED_BYTES / 40).unwrap()).collect();
        drop(many);
        let retained: usize = f64::pool().with(|buffers| buffers.iter().map(bytes).sum());
        assert!(retained <= MAX_RETAINED_BYTES, "{retained}");
    }

    /// A thread that allocated a new buffer instead would add one to the pool each time.
    #[test]
    fn threads_wait_for_the_lock_instead_of_allocating() {
        let len = MIN_POOLED_BYTES * 10; // used by no other test
        let meet = |work: &(dyn Fn() -> PooledBuffer<f32> + Sync)| {
            std::thread::scope(|scope| {
                let other = f32::pool().with(|_| {
                    let other = scope.spawn(work);
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    other
                });
                other.join().unwrap()
            })
        };
        let first = PooledBuffer::<f32>::new(len).unwrap();
        let at = first.as_ptr();
        drop(first);
        let taken = meet(&|| PooledBuffer::new(len).unwrap());
        assert_eq!(taken.as_ptr(), at);
        let returned = Mutex::new(Some(taken));
        let small = meet(&|| {
            returned.lock().unwrap().take();
            PooledBuffer::new(1).unwrap()
        });
        assert_eq!(small.len(), 1);
        assert_eq!(PooledBuffer::<f32>::new(len).unwrap().as_ptr(), at);
    }

    #[test]
    fn a_small_request_leaves_the_large_buffer() {
        let (small, large) = (MIN_POOLED_BYTES * 20, MIN_POOLED_BYTES * 30); // used by no other test
        let buffers = (PooledBuffer::<f32>::new(small).unwrap(), PooledBuffer::<f32>::new(large).unwrap());
        let at = (buffers.0.as_ptr(), buffers.1.as_ptr());
        drop(buffers);
        let again = (PooledBuffer::<f32>::new(small).unwrap(), PooledBuffer::<f32>::new(large).unwrap());
        assert_eq!((again.0.as_ptr(), again.1.as_ptr()), at);
    }

    #[test]
    #[cfg_attr(miri, ignore = "leaks on purpose, as a forked process does")]
    fn a_forked_process_starts_with_an_empty_pool() {
        let pool = BufferPool::<f64>::empty();
        pool.with(|buffers| buffers.push(Aligned::zeros(1).unwrap()));
        assert_eq!(pool.with(|buffers| buffers.len()), 1);
        let forked = pool.0.load_full().unwrap();
        let held = forked.buffers.lock().unwrap();
        let started = pool.begin(std::process::id() + 1);
        drop(held);
        assert_eq!(started.buffers.lock().unwrap().len(), 0);
        assert_eq!(Arc::strong_count(&forked), 2, "leaked, not dropped");
    }
}
