//! A list that grows by chunks: nothing is copied when it does, and no more memory is held than a chunk too much.

use std::ops::{Index, IndexMut};

use crate::error::Error;
use crate::memory::prefetch::fetch;
use crate::memory::try_alloc::{filled, reserve};

const BITS: u32 = 10;

/// Things of a chunk.
const LEN: usize = 1 << BITS;

/// One thing for each slot.
pub struct Chunked<V>(Vec<Box<[V; LEN]>>);

impl<V> Default for Chunked<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Default> Chunked<V> {
    /// Makes sure that there are `len` at least; new ones have the default value.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn reach(&mut self, len: usize) -> Result<(), Error> {
        while self.0.len() * LEN < len {
            reserve(&mut self.0, 1)?;
            let Ok(chunk) = filled(LEN, |_| V::default())?.into_boxed_slice().try_into() else {
                unreachable!("its length is LEN")
            };
            self.0.push(chunk);
        }
        Ok(())
    }
}

impl<V> Chunked<V> {
    /// Asks for one to be brought near.
    #[inline]
    pub fn fetch(&self, slot: u32) {
        fetch(std::slice::from_ref(&self[slot]));
    }
}

impl<V> Index<u32> for Chunked<V> {
    type Output = V;
    #[inline]
    fn index(&self, slot: u32) -> &V {
        &self.0[(slot >> BITS) as usize][slot as usize % LEN]
    }
}

impl<V> IndexMut<u32> for Chunked<V> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut V {
        &mut self.0[(slot >> BITS) as usize][slot as usize % LEN]
    }
}

/// One bit for each slot.
#[derive(Default)]
pub struct Bits(Chunked<u64>);

impl Bits {
    /// Makes sure that there are `len` at least; new ones are not set.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn reach(&mut self, len: usize) -> Result<(), Error> {
        self.0.reach(len.div_ceil(64))
    }

    /// Asks for one to be brought near.
    #[inline]
    pub fn fetch(&self, slot: u32) {
        self.0.fetch(slot / 64);
    }

    /// Whether one is set.
    #[inline]
    pub fn get(&self, slot: u32) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// Sets one, or takes it back.
    #[inline]
    pub fn set(&mut self, slot: u32, bit: bool) {
        let (word, mask) = (&mut self.0[slot / 64], 1 << (slot % 64));
        *word = if bit { *word | mask } else { *word & !mask };
    }
}
