//! Buffers that start on a cache line.

use std::ops::{Deref, DerefMut};

use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_vec;

use crate::error::Error;

/// Returns `len` zeros. The system maps their pages only when they are written.
///
/// # Errors
/// [`Error::Memory`].
pub fn zeros<T: Zeroable>(len: usize) -> Result<Vec<T>, Error> {
    try_zeroed_vec(len).map_err(|()| Error::Memory { bytes: len.saturating_mul(size_of::<T>()) })
}

/// The size of a cache line in bytes, which is also that of the widest register.
const LINE: usize = 64;

/// A buffer of numbers that starts on a cache line.
///
/// It is memory of the allocator's usual alignment with room to move the start: the allocator returns such memory much
/// faster than memory requested with a larger alignment.
pub struct Aligned<T> {
    memory: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: Zeroable + Copy> Aligned<T> {
    /// Numbers allocated in excess, so that the start can be moved to a line.
    const ROOM: usize = LINE / size_of::<T>();

    /// Returns `len` zeros.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn zeros(len: usize) -> Result<Self, Error> {
        let memory: Vec<T> = zeros(len.saturating_add(Self::ROOM))?;
        let first = memory.as_ptr().align_offset(LINE);
        Ok(Self { memory, first, len })
    }

    /// Returns how many numbers there is memory for.
    pub fn capacity(&self) -> usize {
        self.memory.len().saturating_sub(Self::ROOM)
    }

    /// Changes the length to `len` numbers, whose values are unspecified.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn resize(&mut self, len: usize) -> Result<(), Error> {
        if len > self.capacity() {
            *self = Self::zeros(len)?;
        }
        self.len = len;
        Ok(())
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { memory: Vec::new(), first: 0, len: 0 }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.memory[self.first..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.first..][..self.len]
    }
}
