//! Keys: as a batch has them, and as a session keeps its own.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::error::Error;
use crate::memory::try_alloc::try_with_capacity;
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
    ///
    /// # Errors
    /// There is not enough memory.
    fn keep(key: Self::Given<'_>) -> Result<Self, Error>;
    /// What is kept.
    fn given(&self) -> Self::Given<'_>;
    /// Whether two are the same.
    fn same(a: Self::Given<'_>, b: Self::Given<'_>) -> bool;
    /// Its hash.
    fn hash(key: Self::Given<'_>, hasher: &RandomState) -> u64;
}

/// An integer in halves: with 4 bytes beside it, it takes 12 and not 16.
#[derive(Default)]
pub struct Integer([u32; 2]);

impl Key for Integer {
    type Given<'a> = i64;
    #[inline]
    fn of(keys: Keys<'_>, n: usize) -> i64 {
        match keys {
            Keys::Integers(keys) => keys[n],
            Keys::Texts { .. } => unreachable!("checked when the batch arrived"),
        }
    }
    fn keep(key: i64) -> Result<Self, Error> {
        Ok(Self([key as u32, (key >> 32) as u32]))
    }
    #[inline]
    fn given(&self) -> i64 {
        (u64::from(self.0[1]) << 32 | u64::from(self.0[0])) as i64
    }
    #[inline]
    fn same(a: i64, b: i64) -> bool {
        a == b
    }
    #[inline]
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
            Keys::Integers(_) => unreachable!("checked when the batch arrived"),
        }
    }
    fn keep(key: &[u8]) -> Result<Self, Error> {
        let mut kept = try_with_capacity(key.len())?;
        kept.extend_from_slice(key);
        Ok(kept.into())
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
