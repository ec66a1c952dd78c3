//! The states of all sessions, by slot.

use crate::cell::Real;
use crate::error::Error;
use crate::memory::aligned::Aligned;
use crate::memory::prefetch::prefetch;
use crate::memory::try_alloc::{try_from_fn, try_reserve};
use crate::simd::half;

/// The approximate size of a chunk in bytes, in full precision.
const CHUNK_BYTES: usize = 1 << 20;

/// The number of values that are rounded at a time.
const ROUNDED: usize = 64;

/// States by slot, in chunks, so that growing copies nothing.
pub struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// The size of a slot, and of a layer's part of it, in numbers.
    width: usize,
    hidden: usize,
    /// The base-2 logarithm of the number of slots in a chunk.
    bits: u32,
    half: bool,
}

/// `[slots, L, H]`.
enum Chunk<T> {
    Whole(Aligned<T>),
    Half(Vec<u16>),
}

impl<T: Real> Chunk<T> {
    #[inline]
    fn prefetch(&self, at: usize, len: usize) {
        match self {
            Self::Whole(chunk) => prefetch(&chunk[at..][..len]),
            Self::Half(chunk) => prefetch(&chunk[at..][..len]),
        }
    }
}

/// States as they are stored.
pub enum StoredStates<W, H> {
    /// In the precision of the computation.
    Whole(W),
    /// In half precision.
    Half(H),
}

impl<T: Real> Slab<T> {
    /// Returns a slab without slots, for L layers of H units; with `half`, in half precision.
    pub fn new(layers: usize, hidden: usize, half: bool) -> Self {
        let width = layers * hidden;
        let bits = (CHUNK_BYTES / (width * size_of::<T>())).clamp(1, 1 << 16).ilog2();
        Self { chunks: Vec::new(), width, hidden, bits, half }
    }

    /// Returns whether states are stored in half precision.
    pub fn half(&self) -> bool {
        self.half
    }

    /// Grows to at least `slots` slots.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn ensure_len(&mut self, slots: usize) -> Result<(), Error> {
        while self.chunks.len() << self.bits < slots {
            let len = self.width << self.bits;
            try_reserve(&mut self.chunks, 1)?;
            self.chunks.push(if self.half {
                Chunk::Half(try_from_fn(len, |_| 0)?)
            } else {
                Chunk::Whole(Aligned::zeros(len)?)
            });
        }
        Ok(())
    }

    fn place(&self, slot: u32) -> (usize, usize) {
        ((slot >> self.bits) as usize, (slot as usize & ((1 << self.bits) - 1)) * self.width)
    }

    /// Prefetches all layers of a slot.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        let (chunk, at) = self.place(slot);
        self.chunks[chunk].prefetch(at, self.width);
    }

    /// Copies a layer's state to `state`.
    #[inline]
    pub fn read(&self, slot: u32, layer: usize, state: &mut [T]) {
        let (chunk, at) = self.place(slot);
        let at = at + layer * self.hidden;
        match &self.chunks[chunk] {
            Chunk::Whole(chunk) => state.copy_from_slice(&chunk[at..][..state.len()]),
            Chunk::Half(chunk) => half::widen(&chunk[at..][..state.len()], state),
        }
    }

    /// Rounds a state as if it were stored.
    pub fn round(&self, state: &mut [T]) {
        if self.half {
            let mut stored = [0; ROUNDED];
            for state in state.chunks_mut(ROUNDED) {
                let stored = &mut stored[..state.len()];
                half::narrow(state, stored);
                half::widen(stored, state);
            }
        }
    }

    /// Copies all layers of some slots to `to`, as they are stored, `[slots, L, H]`.
    pub fn copy_out(&self, slots: &[u32], mut to: StoredStates<&mut [T], &mut [u16]>) {
        for (n, &slot) in slots.iter().enumerate() {
            let ((chunk, at), row) = (self.place(slot), n * self.width..(n + 1) * self.width);
            match (&self.chunks[chunk], &mut to) {
                (Chunk::Whole(chunk), StoredStates::Whole(to)) => to[row].copy_from_slice(&chunk[at..][..self.width]),
                (Chunk::Half(chunk), StoredStates::Half(to)) => to[row].copy_from_slice(&chunk[at..][..self.width]),
                _ => unreachable!("states of another precision"),
            }
        }
    }

    /// Copies all layers of some slots from `from`, as they are stored, `[slots, L, H]`.
    pub fn copy_in(&mut self, slots: &[u32], from: StoredStates<&[T], &[u16]>) {
        for (n, &slot) in slots.iter().enumerate() {
            let ((chunk, at), row) = (self.place(slot), n * self.width..(n + 1) * self.width);
            match (&mut self.chunks[chunk], &from) {
                (Chunk::Whole(chunk), StoredStates::Whole(from)) => {
                    chunk[at..][..self.width].copy_from_slice(&from[row]);
                }
                (Chunk::Half(chunk), StoredStates::Half(from)) => chunk[at..][..self.width].copy_from_slice(&from[row]),
                _ => unreachable!("states of another precision"),
            }
        }
    }

    /// Splits the slots into up to `count` parts that can be written at the same time.
    pub fn parts(&mut self, count: usize) -> Vec<Part<'_, T>> {
        let (bits, width, hidden) = (self.bits, self.width, self.hidden);
        let chunks = self.chunks.len().div_ceil(count).max(1);
        let part = |(n, part)| Part { first: n * chunks, chunks: part, bits, width, hidden };
        self.chunks.chunks_mut(chunks).enumerate().map(part).collect()
    }
}

/// Some of the chunks of a slab, for writing.
pub struct Part<'a, T> {
    first: usize,
    chunks: &'a mut [Chunk<T>],
    bits: u32,
    width: usize,
    hidden: usize,
}

impl<T: Real> Part<'_, T> {
    /// Returns whether the part contains a slot.
    #[inline]
    pub fn has(&self, slot: u32) -> bool {
        ((slot >> self.bits) as usize).wrapping_sub(self.first) < self.chunks.len()
    }

    /// Prefetches all layers of a slot.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        let at = (slot as usize & ((1 << self.bits) - 1)) * self.width;
        self.chunks[(slot >> self.bits) as usize - self.first].prefetch(at, self.width);
    }

    /// Writes a layer's state.
    #[inline]
    pub fn write(&mut self, slot: u32, layer: usize, state: &[T]) {
        let at = (slot as usize & ((1 << self.bits) - 1)) * self.width + layer * self.hidden;
        match &mut self.chunks[(slot >> self.bits) as usize - self.first] {
            Chunk::Whole(chunk) => chunk[at..][..state.len()].copy_from_slice(state),
            Chunk::Half(chunk) => half::narrow(state, &mut chunk[at..][..state.len()]),
        }
    }
}
