//! Buffers that start on a cache line.

use std::ops::{Deref, DerefMut};

use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_vec;

use crate::error::Error;

/// `len` zeros, their pages touched only when they are written.
///
/// # Errors
/// There is not as much memory.
pub fn zeros<T: Zeroable>(len: usize) -> Result<Vec<T>, Error> {
    try_zeroed_vec(len).map_err(|()| Error::Memory { bytes: len.saturating_mul(size_of::<T>()) })
}

/// Bytes of a cache line, which is also the widest register.
const LINE: usize = 64;

/// A buffer of numbers that starts on a cache line.
///
/// Memory of the allocator's usual alignment with room to move the start: it is handed out much faster than memory
/// asked for with an alignment.
pub struct Aligned<T> {
    memory: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: Zeroable + Copy> Aligned<T> {
    /// Numbers that a buffer needs beyond its own.
    pub const ROOM: usize = LINE / size_of::<T>();

    /// `len` zeros.
    ///
    /// # Panics
    /// Where there cannot be as many.
    pub fn zeros(len: usize) -> Self {
        let len_and_room = len.checked_add(Self::ROOM).expect("a buffer that fits into memory addresses");
        Self::within(vec![T::zeroed(); len_and_room])
    }

    /// What of `memory` begins on a line, of [`Aligned::ROOM`] numbers fewer.
    ///
    /// # Panics
    /// With fewer than those.
    pub fn within(memory: Vec<T>) -> Self {
        let first = memory.as_ptr().align_offset(LINE);
        assert!(first <= Self::ROOM && memory.len() >= Self::ROOM, "memory that cannot be aligned");
        let mut within = Self { memory, first, len: 0 };
        within.len = within.capacity();
        within
    }

    /// Numbers that there is memory for.
    pub fn capacity(&self) -> usize {
        self.memory.len().saturating_sub(Self::ROOM)
    }

    /// Makes room for `len` numbers; their values are unspecified.
    pub fn resize(&mut self, len: usize) {
        if len > self.capacity() {
            *self = Self::zeros(len);
        }
        self.len = len;
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
