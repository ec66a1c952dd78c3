//! Large buffers, used again from call to call: the system hands out fresh memory page by page and zeroes each, which
//! takes longer than much of the work on it.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use bytemuck::Zeroable;

use crate::error::Error;
use crate::memory::aligned::{Aligned, zeros};

/// Bytes that are kept for later calls.
const KEPT: usize = 128 << 20;

/// Buffers of fewer bytes are left to the allocator, which does as well.
const LARGE: usize = 128 << 10;

/// Buffers that nobody uses, oldest first.
pub type Spares<T> = Mutex<Vec<Aligned<T>>>;

/// A number type whose buffers are pooled.
pub trait Pooled: Zeroable + Copy + 'static {
    /// The pool of its buffers.
    fn spares() -> &'static Spares<Self>;
}

macro_rules! pooled {
    ($element:ident) => {
        impl Pooled for $element {
            fn spares() -> &'static Spares<Self> {
                static SPARES: Spares<$element> = Spares::new(Vec::new());
                &SPARES
            }
        }
    };
}
pooled!(f32);
pooled!(f64);

/// A buffer of unspecified numbers that starts on a cache line.
pub struct Spare<T: Pooled>(Aligned<T>);

impl<T: Pooled> Spare<T> {
    /// Of `len` numbers.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn new(len: usize) -> Result<Self, Error> {
        // Never waited for: after a fork nobody may be left to give it back.
        if let Ok(mut spares) = T::spares().try_lock() {
            let fits = |buffer: &Aligned<T>| (len..=len.saturating_mul(2)).contains(&buffer.capacity());
            if let Some(found) = spares.iter().rposition(fits) {
                let mut found = spares.remove(found);
                found.resize(len);
                return Ok(Self(found));
            }
        }
        Ok(Self(Aligned::within(zeros(len.saturating_add(Aligned::<T>::ROOM))?)))
    }
}

impl<T: Pooled> Drop for Spare<T> {
    fn drop(&mut self) {
        let bytes = |buffer: &Aligned<T>| buffer.capacity() * size_of::<T>();
        if !(LARGE..=KEPT).contains(&bytes(&self.0)) {
            return;
        }
        if let Ok(mut spares) = T::spares().try_lock() {
            spares.push(std::mem::take(&mut self.0));
            let mut kept: usize = spares.iter().map(bytes).sum();
            while kept > KEPT {
                kept -= bytes(&spares.remove(0));
            }
        }
    }
}

impl<T: Pooled> Deref for Spare<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Pooled> DerefMut for Spare<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_back_and_what_is_kept_is_bounded() {
        let len = LARGE / size_of::<f64>();
        let first = Spare::<f64>::new(len).unwrap();
        let at = first.as_ptr();
        drop(first);
        let again = Spare::<f64>::new(len - 1).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, len - 1));
        assert!(Spare::<f64>::new(len).unwrap().as_ptr() != at, "in use");

        let many: Vec<_> = (0..10).map(|_| Spare::<f64>::new(KEPT / 40).unwrap()).collect();
        drop(many);
        let kept: usize = f64::spares().lock().unwrap().iter().map(|buffer| size_of_val(&buffer[..])).sum();
        assert!(kept <= KEPT, "{kept}");
    }
}
