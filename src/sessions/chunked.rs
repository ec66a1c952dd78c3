//! A list that grows by chunks: nothing is copied when it does, and no more memory is held than a chunk too much.

use std::ops::{Index, IndexMut};

use crate::error::Error;
use crate::kernels::fetch::fetch;

const BITS: u32 = 12;

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
        let memory = |_| Error::Memory { bytes: LEN * size_of::<V>() };
        while self.0.len() * LEN < len {
            self.0.try_reserve(1).map_err(memory)?;
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(LEN).map_err(memory)?;
            chunk.resize_with(LEN, V::default);
            let Ok(chunk) = chunk.into_boxed_slice().try_into() else { unreachable!("its length is LEN") };
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
