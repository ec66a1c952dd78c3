//! A pool of large buffers, reused from call to call: the system hands out fresh memory page by page and zeroes each, which
//! takes longer than much of the work on it.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use bytemuck::Zeroable;

use crate::error::Error;
use crate::memory::aligned::{Aligned, zeros};

/// Bytes that the pool retains for later calls.
const MAX_RETAINED_BYTES: usize = 128 << 20;

/// Buffers of fewer bytes are left to the allocator, which does as well.
const MIN_POOLED_BYTES: usize = 128 << 10;

/// Unused buffers, oldest first.
pub type BufferPool<T> = Mutex<Vec<Aligned<T>>>;

/// A number type whose buffers are pooled.
pub trait Pooled: Zeroable + Copy + 'static {
    /// The pool of its buffers.
    fn pool() -> &'static BufferPool<Self>;
}

macro_rules! pooled {
    ($element:ident) => {
        impl Pooled for $element {
            fn pool() -> &'static BufferPool<Self> {
                static POOL: BufferPool<$element> = BufferPool::new(Vec::new());
                &POOL
            }
        }
    };
}
pooled!(f32);
pooled!(f64);

/// A buffer of unspecified numbers that starts on a cache line.
pub struct PooledBuffer<T: Pooled>(Aligned<T>);

impl<T: Pooled> PooledBuffer<T> {
    /// Of `len` numbers.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn new(len: usize) -> Result<Self, Error> {
        // Never waited for: after a fork there may be no thread left to release the lock.
        if let Ok(mut pool) = T::pool().try_lock() {
            let fits = |buffer: &Aligned<T>| (len..=len.saturating_mul(2)).contains(&buffer.capacity());
            if let Some(found) = pool.iter().rposition(fits) {
                let mut found = pool.remove(found);
                found.resize(len);
                return Ok(Self(found));
            }
        }
        Ok(Self(Aligned::within(zeros(len.saturating_add(Aligned::<T>::ROOM))?)))
    }
}

impl<T: Pooled> Drop for PooledBuffer<T> {
    fn drop(&mut self) {
        let bytes = |buffer: &Aligned<T>| buffer.capacity() * size_of::<T>();
        if !(MIN_POOLED_BYTES..=MAX_RETAINED_BYTES).contains(&bytes(&self.0)) {
            return;
        }
        if let Ok(mut pool) = T::pool().try_lock() {
            pool.push(std::mem::take(&mut self.0));
            let mut kept: usize = pool.iter().map(bytes).sum();
            while kept > MAX_RETAINED_BYTES {
                kept -= bytes(&pool.remove(0));
            }
        }
    }
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
    fn a_large_buffer_comes_back_and_what_is_kept_is_bounded() {
        let len = MIN_POOLED_BYTES / size_of::<f64>();
        let first = PooledBuffer::<f64>::new(len).unwrap();
        let at = first.as_ptr();
        drop(first);
        let again = PooledBuffer::<f64>::new(len - 1).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, len - 1));
        assert!(PooledBuffer::<f64>::new(len).unwrap().as_ptr() != at, "in use");

        let many: Vec<_> = (0..10).map(|_| PooledBuffer::<f64>::new(MAX_RETAINED_BYTES / 40).unwrap()).collect();
        drop(many);
        let kept: usize = f64::pool().lock().unwrap().iter().map(|buffer| size_of_val(&buffer[..])).sum();
        assert!(kept <= MAX_RETAINED_BYTES, "{kept}");
    }
}
