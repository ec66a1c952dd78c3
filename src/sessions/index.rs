//! The index from keys to slots.
//!
//! It is a hash table that grows by one bucket at a time (linear hashing, Litwin 1980): buckets have the same mean
//! number of keys at any size, and growing needs no second table. The keys of a bucket are a list linked by slot. With
//! B buckets, the bucket of a key is given by the low bits of its hash, as many as B needs; if there is no such bucket
//! yet, the key is in the bucket that will be split into it.

use foldhash::fast::RandomState;

use super::keys::{Key, Keys, NONE};
use crate::error::Error;
use crate::memory::chunked_vec::{ChunkedBits, ChunkedVec};

/// The mean number of keys in a bucket: each key adds a step of the list, and each bucket takes 4 bytes.
const LOAD: usize = 2;

/// How many buckets ahead of the one that is split keys are prefetched.
const AHEAD: u32 = 8;

/// The keys, and the slot of each.
pub struct Index<K> {
    /// The first slot of each bucket's list.
    heads: ChunkedVec<u32>,
    buckets: usize,
    entries: ChunkedVec<Entry<K>>,
    /// The slots that have a key.
    live: ChunkedBits,
    len: usize,
    free: u32,
    hasher: RandomState,
}

/// The key of a slot, and its link.
#[derive(Default)]
struct Entry<K> {
    key: K,
    /// The next slot of the bucket, or the next free slot.
    next: u32,
}

impl<K: Key> Index<K> {
    /// Returns an empty index.
    pub fn new() -> Self {
        Self {
            heads: ChunkedVec::default(),
            buckets: 0,
            entries: ChunkedVec::default(),
            live: ChunkedBits::default(),
            len: 0,
            free: NONE,
            hasher: RandomState::default(),
        }
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the hash of a key.
    #[inline]
    pub fn hash(&self, key: K::Given<'_>) -> u64 {
        K::hash(key, &self.hasher)
    }

    /// Returns the slot of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: K::Given<'_>) -> Option<u32> {
        self.find_from(self.head(hash), key)
    }

    /// Writes the hashes of the keys from `first` on, and their slots, or [`NONE`] for a key that is not in the index.
    pub fn find_all(&self, keys: Keys, first: usize, hashes: &mut [u64], found: &mut [u32]) {
        // Separate loops, so that the memory of many keys is prefetched at the same time.
        for (n, hash) in hashes.iter_mut().enumerate() {
            *hash = self.hash(K::of(keys, first + n));
            self.prefetch_head(*hash);
        }
        for (found, &hash) in found.iter_mut().zip(&*hashes) {
            *found = self.head(hash);
            self.prefetch(*found);
        }
        for (n, found) in found.iter_mut().enumerate() {
            *found = self.find_from(*found, K::of(keys, first + n)).unwrap_or(NONE);
        }
    }

    /// Prefetches the bucket of a hash.
    #[inline]
    pub fn prefetch_head(&self, hash: u64) {
        if self.buckets > 0 {
            self.heads.prefetch(self.bucket(hash));
        }
    }

    /// Prefetches the first key in the bucket of a hash.
    #[inline]
    pub fn prefetch_first(&self, hash: u64) {
        self.prefetch(self.head(hash));
    }

    #[inline]
    fn prefetch(&self, slot: u32) {
        if slot != NONE {
            self.entries.prefetch(slot);
        }
    }

    #[inline]
    fn find_from(&self, mut slot: u32, key: K::Given<'_>) -> Option<u32> {
        while slot != NONE {
            let entry = &self.entries[slot];
            if K::same(entry.key.given(), key) {
                return Some(slot);
            }
            slot = entry.next;
        }
        None
    }

    /// Returns the key of a slot.
    pub fn key(&self, slot: u32) -> K::Given<'_> {
        self.entries[slot].key.given()
    }

    /// Prefetches the liveness bit of `slot`.
    #[inline]
    pub fn prefetch_has(&self, slot: u32) {
        self.live.prefetch(slot);
    }

    /// Returns whether a slot has a key.
    #[inline]
    pub fn has(&self, slot: u32) -> bool {
        self.live.get(slot)
    }

    /// Returns all slots below `slots` that have a key.
    pub fn slots(&self, slots: u32) -> impl Iterator<Item = u32> {
        (0..slots).filter(|&slot| self.has(slot))
    }

    /// Grows to at least `slots` slots.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn ensure_len(&mut self, slots: usize) -> Result<(), Error> {
        self.entries.ensure_len(slots)?;
        self.live.ensure_len(slots)?;
        self.heads.ensure_len(slots.div_ceil(LOAD))
    }

    /// Adds a key that is not in the index, with its slot.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn add(&mut self, hash: u64, key: K::Given<'_>, slot: u32) -> Result<(), Error> {
        self.entries[slot].key = K::store(key)?;
        self.put_back(hash, slot);
        Ok(())
    }

    /// Adds a slot whose key is still stored.
    pub fn put_back(&mut self, hash: u64, slot: u32) {
        self.live.set(slot, true);
        self.len += 1;
        while self.buckets * LOAD < self.len {
            self.split();
        }
        self.link(hash, slot);
    }

    /// Removes a slot from the index, but still stores its key.
    pub fn remove(&mut self, slot: u32) {
        let after = self.entries[slot].next;
        let bucket = self.bucket(self.hash(self.key(slot)));
        let mut at = self.heads[bucket];
        if at == slot {
            self.heads[bucket] = after;
        } else {
            while self.entries[at].next != slot {
                at = self.entries[at].next;
            }
            self.entries[at].next = after;
        }
        self.live.set(slot, false);
        self.len -= 1;
    }

    /// Drops the key of a slot that has been removed, and frees the slot.
    pub fn release(&mut self, slot: u32) {
        self.entries[slot] = Entry { key: K::default(), next: self.free };
        self.free = slot;
    }

    /// Returns a free slot, if there is one, for reuse.
    pub fn reuse(&mut self) -> Option<u32> {
        let slot = (self.free != NONE).then_some(self.free)?;
        self.free = self.entries[slot].next;
        Some(slot)
    }

    /// Adds a bucket, and moves some keys of an older one to it.
    fn split(&mut self) {
        let new = self.buckets as u32;
        self.heads[new] = NONE;
        self.buckets += 1;
        if new == 0 {
            return;
        }
        let old = new & !(1 << new.ilog2());
        // The first key of a bucket that is split later, and the second key of one that is split sooner.
        if old + AHEAD < new {
            self.prefetch(self.heads[old + AHEAD]);
            let first = self.heads[old + AHEAD / 2];
            if first != NONE {
                self.prefetch(self.entries[first].next);
            }
        }
        let mut slot = std::mem::replace(&mut self.heads[old], NONE);
        while slot != NONE {
            let after = self.entries[slot].next;
            self.link(self.hash(self.key(slot)), slot);
            slot = after;
        }
    }

    fn link(&mut self, hash: u64, slot: u32) {
        let bucket = self.bucket(hash);
        self.entries[slot].next = std::mem::replace(&mut self.heads[bucket], slot);
    }

    #[inline]
    fn head(&self, hash: u64) -> u32 {
        if self.buckets == 0 { NONE } else { self.heads[self.bucket(hash)] }
    }

    #[inline]
    fn bucket(&self, hash: u64) -> u32 {
        let mask = self.buckets.next_power_of_two() - 1;
        let bucket = hash as usize & mask;
        (if bucket < self.buckets { bucket } else { bucket & (mask >> 1) }) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::sessions::keys::Integer;

    #[test]
    fn it_agrees_with_a_hash_map() {
        let (mut index, mut map, mut slots) = (Index::<Integer>::new(), HashMap::new(), 0);
        let mut random = ChaCha8Rng::seed_from_u64(0);
        for round in 0..40_000_i64 {
            // In the first half of the rounds keys are mostly added, then mostly removed.
            let key = (i64::from(random.next_u32() % 6000) - 3000) << (round % 2 * 40);
            let (hash, more) = (index.hash(key), random.next_u32() % 8 < if round < 20_000 { 6 } else { 2 });
            let slot = index.find(hash, key);
            assert_eq!(slot, map.get(&key).copied());
            match slot {
                None if more => {
                    let slot = index.reuse().unwrap_or(slots);
                    slots = slots.max(slot + 1);
                    index.ensure_len(slots as usize).unwrap();
                    index.add(hash, key, slot).unwrap();
                    map.insert(key, slot);
                }
                Some(slot) if !more => {
                    index.remove(slot);
                    if round % 3 == 0 {
                        index.put_back(hash, slot);
                    } else {
                        index.release(slot);
                        map.remove(&key);
                    }
                }
                _ => {}
            }
            assert_eq!(index.len(), map.len());
        }
        assert!(index.slots(slots).eq((0..slots).filter(|slot| map.values().any(|other| other == slot))));
        assert!(index.buckets * LOAD >= map.len() && index.buckets <= (slots as usize).div_ceil(LOAD));
    }

    #[test]
    fn many_keys_are_found_at_once() {
        let keys: Vec<i64> = (0..3000).map(|n| n * n).collect();
        let mut index = Index::<Integer>::new();
        let (mut hashes, mut found) = (vec![0; 2000], vec![0; 2000]);
        index.find_all(Keys::Integers(&keys), 500, &mut hashes, &mut found);
        assert!(found.iter().all(|&slot| slot == NONE));
        index.ensure_len(3000).unwrap();
        (0..2000).for_each(|slot| index.add(index.hash(keys[slot]), keys[slot], slot as u32).unwrap());
        index.find_all(Keys::Integers(&keys), 500, &mut hashes, &mut found);
        assert!(found.into_iter().eq((500..2500).map(|slot| if slot < 2000 { slot } else { NONE })));
    }
}
