//! Keys, and where the session of a key is.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::chunked::Chunked;
use crate::error::Error;
use crate::shape::expect_shape;

/// No slot.
pub const NONE: u32 = u32::MAX;

/// The keys of a batch.
#[derive(Clone, Copy)]
pub enum Keys<'a> {
    /// Integers.
    Integers(&'a [i64]),
    /// Texts or bytes; key n is `data[offsets[n]..offsets[n + 1]]`.
    Texts {
        /// All keys, end to end.
        data: &'a [u8],
        /// One more than keys.
        offsets: &'a [i64],
    },
}

impl<'a> Keys<'a> {
    /// Texts or bytes.
    ///
    /// # Errors
    /// `offsets` is empty, descends, or leaves `data`.
    pub fn texts(data: &'a [u8], offsets: &'a [i64]) -> Result<Self, Error> {
        let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
            return Err(Error::value("offsets", "at least one number", "none"));
        };
        if first < 0 || usize::try_from(last).is_ok_and(|last| last > data.len()) {
            return Err(Error::value("offsets", format!("within 0..={}", data.len()), format!("{first} to {last}")));
        }
        if offsets.windows(2).any(|pair| pair[1] < pair[0]) {
            return Err(Error::value("offsets", "ascending values", "descending ones"));
        }
        Ok(Self::Texts { data, offsets })
    }

    /// Keys.
    pub fn count(&self) -> usize {
        match self {
            Self::Integers(keys) => keys.len(),
            Self::Texts { offsets, .. } => offsets.len() - 1,
        }
    }

    /// Checks that there are `count`.
    ///
    /// # Errors
    /// There are more or fewer.
    pub fn expect(&self, count: usize) -> Result<(), Error> {
        expect_shape("keys", &[count], &[self.count()])
    }
}

/// A kind of keys: as a batch has them, and as a slot keeps one.
pub trait Key: Default + Send + Sync + 'static {
    /// As a batch has it.
    type Given<'a>: Copy + Send + Sync;
    /// Key n of a batch of this kind.
    fn of(keys: Keys<'_>, n: usize) -> Self::Given<'_>;
    /// To be kept.
    fn keep(key: Self::Given<'_>) -> Self;
    /// What is kept.
    fn given(&self) -> Self::Given<'_>;
    /// Whether two are the same.
    fn same(a: Self::Given<'_>, b: Self::Given<'_>) -> bool;
    /// Its hash.
    fn hash(key: Self::Given<'_>, hasher: &RandomState) -> u64;
}

impl Key for i64 {
    type Given<'a> = i64;
    #[inline]
    fn of(keys: Keys<'_>, n: usize) -> i64 {
        match keys {
            Keys::Integers(keys) => keys[n],
            Keys::Texts { .. } => unreachable!("judged when the batch came"),
        }
    }
    fn keep(key: i64) -> i64 {
        key
    }
    fn given(&self) -> i64 {
        *self
    }
    fn same(a: i64, b: i64) -> bool {
        a == b
    }
    fn hash(key: i64, hasher: &RandomState) -> u64 {
        hasher.hash_one(key)
    }
}

impl Key for Box<[u8]> {
    type Given<'a> = &'a [u8];
    #[inline]
    fn of(keys: Keys<'_>, n: usize) -> &[u8] {
        match keys {
            Keys::Texts { data, offsets } => &data[offsets[n] as usize..offsets[n + 1] as usize],
            Keys::Integers(_) => unreachable!("judged when the batch came"),
        }
    }
    fn keep(key: &[u8]) -> Self {
        key.into()
    }
    fn given(&self) -> &[u8] {
        self
    }
    fn same(a: &[u8], b: &[u8]) -> bool {
        a == b
    }
    fn hash(key: &[u8], hasher: &RandomState) -> u64 {
        hasher.hash_one(key)
    }
}

/// From keys to slots. The table holds slots alone; each slot's key is kept once, beside its other things.
pub struct Index<K> {
    slots: HashTable<u32>,
    keys: Chunked<K>,
    hasher: RandomState,
}

impl<K: Key> Index<K> {
    /// Of no keys.
    pub fn new() -> Self {
        Self { slots: HashTable::new(), keys: Chunked::default(), hasher: RandomState::default() }
    }

    /// Keys.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: K::Given<'_>) -> u64 {
        K::hash(key, &self.hasher)
    }

    /// The slot of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: K::Given<'_>) -> Option<u32> {
        self.slots.find(hash, |&slot| K::same(self.keys[slot].given(), key)).copied()
    }

    /// The key of a slot.
    pub fn key(&self, slot: u32) -> K::Given<'_> {
        self.keys[slot].given()
    }

    /// Makes room for the keys of `slots` slots.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn reach(&mut self, slots: usize) -> Result<(), Error> {
        self.keys.reach(slots)
    }

    /// Notes the slot of a key that has none yet.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn add(&mut self, hash: u64, key: K::Given<'_>, slot: u32) -> Result<(), Error> {
        self.keys[slot] = K::keep(key);
        self.put_back(hash, slot)
    }

    /// Notes a slot whose key is still kept.
    ///
    /// # Errors
    /// There is not as much memory; not after [`Index::remove`] of another slot.
    pub fn put_back(&mut self, hash: u64, slot: u32) -> Result<(), Error> {
        let Self { slots, keys, hasher } = self;
        let rehash = |&slot: &u32| K::hash(keys[slot].given(), hasher);
        let bytes = 10 * slots.capacity();
        slots.try_reserve(1, rehash).map_err(|_| Error::Memory { bytes })?;
        slots.insert_unique(hash, slot, rehash);
        Ok(())
    }

    /// Forgets the slot of a key; the slot still keeps the key.
    pub fn remove(&mut self, slot: u32) {
        let hash = self.hash(self.key(slot));
        if let Ok(entry) = self.slots.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }

    /// Lets the memory go that a slot's key takes.
    pub fn forget(&mut self, slot: u32) {
        self.keys[slot] = K::default();
    }

    /// All slots that have a key, in no order.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied()
    }
}
