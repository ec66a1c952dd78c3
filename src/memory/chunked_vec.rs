//! A vector that grows by chunks: growing copies nothing, and at most one chunk is allocated in excess.

use std::ops::{Index, IndexMut};

use crate::error::Error;
use crate::memory::prefetch::prefetch;
use crate::memory::try_alloc::{try_from_fn, try_reserve};

const BITS: u32 = 10;

/// The number of values in a chunk.
const LEN: usize = 1 << BITS;

/// One value for each slot.
pub struct ChunkedVec<V>(Vec<Box<[V; LEN]>>);

impl<V> Default for ChunkedVec<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Default> ChunkedVec<V> {
    /// Grows to at least `len` values; new ones have the default value.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn ensure_len(&mut self, len: usize) -> Result<(), Error> {
        while self.0.len() * LEN < len {
            try_reserve(&mut self.0, 1)?;
            let Ok(chunk) = try_from_fn(LEN, |_| V::default())?.into_boxed_slice().try_into() else {
                unreachable!("its length is LEN")
            };
            self.0.push(chunk);
        }
        Ok(())
    }
}

impl<V> ChunkedVec<V> {
    /// Prefetches the value of a slot.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        prefetch(std::slice::from_ref(&self[slot]));
    }
}

impl<V> Index<u32> for ChunkedVec<V> {
    type Output = V;
    #[inline]
    fn index(&self, slot: u32) -> &V {
        &self.0[(slot >> BITS) as usize][slot as usize % LEN]
    }
}

impl<V> IndexMut<u32> for ChunkedVec<V> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut V {
        &mut self.0[(slot >> BITS) as usize][slot as usize % LEN]
    }
}

/// One bit for each slot.
#[derive(Default)]
pub struct ChunkedBits(ChunkedVec<u64>);

impl ChunkedBits {
    /// Grows to at least `len` bits; new ones are not set.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn ensure_len(&mut self, len: usize) -> Result<(), Error> {
        self.0.ensure_len(len.div_ceil(64))
    }

    /// Prefetches the bit of a slot.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        self.0.prefetch(slot / 64);
    }

    /// Returns whether the bit of a slot is set.
    #[inline]
    pub fn get(&self, slot: u32) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// Sets or clears the bit of a slot.
    #[inline]
    pub fn set(&mut self, slot: u32, bit: bool) {
        let (word, mask) = (&mut self.0[slot / 64], 1 << (slot % 64));
        *word = if bit { *word | mask } else { *word & !mask };
    }
}
