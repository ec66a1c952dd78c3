//! Keys, as passed in a batch and as stored in the index.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::error::Error;
use crate::memory::try_alloc::try_with_capacity;
use crate::shape::expect_shape;

/// The number that means: no slot.
pub const NONE: u32 = u32::MAX;

/// The keys of a batch. All sessions of a set have keys of the same kind.
///
/// ```
/// use rgru::Keys;
///
/// let keys = Keys::texts(b"anneben", &[0, 4, 7])?; // "anne", "ben"
/// assert_eq!(keys.count(), 2);
/// assert_eq!(Keys::Integers(&[7, 8, 7]).count(), 3);
/// # Ok::<(), rgru::Error>(())
/// ```
#[derive(Clone, Copy)]
pub enum Keys<'a> {
    /// Integers.
    Integers(&'a [i64]),
    /// Texts or bytes; key n is `data[offsets[n]..offsets[n + 1]]`. Use [`Keys::texts`], which checks the offsets.
    Texts {
        /// All keys end to end.
        data: &'a [u8],
        /// The offsets of the keys, one more than there are keys.
        offsets: &'a [i64],
    },
}

impl<'a> Keys<'a> {
    /// Returns texts or bytes as keys; key n is `data[offsets[n]..offsets[n + 1]]`.
    ///
    /// ```
    /// # use rgru::Keys;
    /// let keys = Keys::texts(b"anneben", &[0, 4, 7])?; // anne, ben
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if `offsets` is empty, descends, or is not within `data`.
    pub fn texts(data: &'a [u8], offsets: &'a [i64]) -> Result<Self, Error> {
        let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
            return Err(Error::value("offsets", "at least one number", "none"));
        };
        if first < 0 || usize::try_from(last).is_ok_and(|last| last > data.len()) {
            return Err(Error::value("offsets", format!("within 0..={}", data.len()), format!("{first} to {last}")));
        }
        if offsets.windows(2).any(|pair| pair[1] < pair[0]) {
            return Err(Error::value("offsets", "ascending values", "descending values"));
        }
        Ok(Self::Texts { data, offsets })
    }

    /// Returns the number of keys.
    ///
    /// ```
    /// # use rgru::Keys;
    /// assert_eq!(Keys::Integers(&[7, 8, 7]).count(), 3);
    /// ```
    pub fn count(&self) -> usize {
        match self {
            Self::Integers(keys) => keys.len(),
            Self::Texts { offsets, .. } => offsets.len() - 1,
        }
    }

    /// Checks that there are `count` keys.
    ///
    /// ```
    /// # use rgru::Keys;
    /// assert!(Keys::Integers(&[7, 8, 7]).expect(2).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if there are not.
    pub fn expect(&self, count: usize) -> Result<(), Error> {
        expect_shape("keys", &[count], &[self.count()])
    }
}

/// A key as it is stored in the index.
pub trait Key: Default + Send + Sync + 'static {
    /// The same key as passed in a batch.
    type Given<'a>: Copy + Send + Sync;
    /// Returns key n of a batch of this kind.
    fn of(keys: Keys<'_>, n: usize) -> Self::Given<'_>;
    /// Copies a key for storage.
    ///
    /// # Errors
    /// [`Error::Memory`].
    fn store(key: Self::Given<'_>) -> Result<Self, Error>;
    /// Returns the stored key.
    fn given(&self) -> Self::Given<'_>;
    /// Returns whether two keys are equal.
    fn same(a: Self::Given<'_>, b: Self::Given<'_>) -> bool;
    /// Returns the hash of a key.
    fn hash(key: Self::Given<'_>, hasher: &RandomState) -> u64;
}

/// An integer in two halves, so that an entry of the index takes 12 bytes and not 16.
#[derive(Default)]
pub struct Integer([u32; 2]);

impl Key for Integer {
    type Given<'a> = i64;
    #[inline]
    fn of(keys: Keys<'_>, n: usize) -> i64 {
        match keys {
            Keys::Integers(keys) => keys[n],
            Keys::Texts { .. } => unreachable!("the kind of keys was checked before"),
        }
    }
    fn store(key: i64) -> Result<Self, Error> {
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
            Keys::Integers(_) => unreachable!("the kind of keys was checked before"),
        }
    }
    fn store(key: &[u8]) -> Result<Self, Error> {
        let mut stored = try_with_capacity(key.len())?;
        stored.extend_from_slice(key);
        Ok(stored.into())
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
