//! The live sessions: the slot of each, which ones end when there are too many or they have timed out, and what a batch
//! of events does to them.
//!
//! A batch is applied event by event, so that it has the effect of its events one by one: a session may end and start
//! anew within it. A [`Transaction`] records every change, so that all of them can be rolled back; a slot that is freed
//! is reused only after the batch, so that its state is still there.

use super::index::Index;
use super::keys::{Key, Keys, NONE};
use super::lru::LruList;
use super::segments::Segments;
use crate::error::Error;
use crate::memory::chunked_vec::ChunkedVec;
use crate::memory::try_alloc::{try_collect, try_reserve, try_with_capacity};

/// Sessions whose memory is prefetched ahead of the current one.
pub const AHEAD: usize = 16;

/// What bounds the number of sessions.
#[derive(Clone, Copy, Default)]
pub struct Limits {
    /// Sessions at most; the one not used for longest goes.
    pub most: Option<usize>,
    /// Seconds after its last event that a session ends.
    pub timeout: Option<f64>,
}

/// Event times of a batch, in seconds, clamped to be non-decreasing.
#[derive(Clone, Copy)]
pub enum Times<'a> {
    /// All at once.
    Once(f64),
    /// Each by itself.
    Each(&'a [f64]),
}

impl Times<'_> {
    fn at(&self, n: usize) -> f64 {
        match self {
            Self::Once(time) => *time,
            Self::Each(times) => times[n],
        }
    }
}

/// The changes that a batch makes.
pub struct Transaction {
    /// Its events by the state that they continue from.
    pub segments: Segments,
    changes: Vec<Change>,
    clock: f64,
}

impl Transaction {
    fn note(&mut self, change: Change) -> Result<(), Error> {
        try_reserve(&mut self.changes, 1)?;
        self.changes.push(change);
        Ok(())
    }
}

/// A change that can be rolled back.
enum Change {
    Added(u32),
    Removed(u32),
    /// Used at a later time than before, with the slot that was used before it.
    Touched {
        slot: u32,
        before: u32,
        seen: f64,
    },
}

/// The sessions of one kind of keys.
pub struct Registry<K> {
    index: Index<K>,
    bounds: Option<LruList>,
    /// When the last event was.
    seen: ChunkedVec<f64>,
    slots: u32,
    limits: Limits,
    /// The latest time so far.
    clock: f64,
}

impl<K: Key> Registry<K> {
    /// Of no sessions.
    pub fn new(limits: Limits) -> Self {
        Self {
            index: Index::new(),
            bounds: (limits.most.is_some() || limits.timeout.is_some()).then(LruList::new),
            seen: ChunkedVec::default(),
            slots: 0,
            limits,
            clock: f64::NEG_INFINITY,
        }
    }

    /// Sessions.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Slots that there have been.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Hashes of keys from the `first` on, and the slots of those that have one, else [`NONE`].
    pub fn find_all(&self, keys: Keys, first: usize, hashes: &mut [u64], found: &mut [u32]) {
        self.index.find_all(keys, first, hashes, found);
    }

    /// The slot of a key.
    pub fn find(&self, keys: Keys, n: usize) -> Option<u32> {
        let key = K::of(keys, n);
        self.index.find(self.index.hash(key), key)
    }

    /// The key of a slot.
    pub fn key(&self, slot: u32) -> K::Given<'_> {
        self.index.key(slot)
    }

    /// When a slot's last event was.
    pub fn seen(&self, slot: u32) -> f64 {
        self.seen[slot]
    }

    /// The latest time so far.
    pub fn clock(&self) -> f64 {
        self.clock
    }

    /// Slots in use; those used longest ago first where the sessions are bounded.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn in_use(&self) -> Result<Vec<u32>, Error> {
        match &self.bounds {
            Some(lru) => try_collect(self.len(), lru.slots()),
            None => try_collect(self.len(), self.index.slots(self.slots)),
        }
    }

    /// Whether a slot is in use.
    #[inline]
    pub fn uses(&self, slot: u32) -> bool {
        slot < self.slots && self.index.has(slot)
    }

    /// Applies a batch of events, whose keys have been looked up: starts and ends sessions. To be followed by
    /// [`Registry::commit`] or [`Registry::rollback`].
    ///
    /// # Errors
    /// There is not enough memory; nothing has changed then.
    pub fn begin(&mut self, keys: Keys, times: Times, hashes: &[u64], found: &[u32]) -> Result<Transaction, Error> {
        let segments = Segments::new(found.len())?;
        // An unbounded batch only adds, seldom.
        let changes = try_with_capacity(if self.bounds.is_some() { found.len() } else { 0 })?;
        let mut transaction = Transaction { segments, changes, clock: self.clock };
        for (n, (&hash, &slot)) in hashes.iter().zip(found).enumerate() {
            self.prefetch(hashes, found, n);
            if let Err(error) = self.apply(keys, n, times, hash, slot, &mut transaction) {
                self.rollback(&transaction);
                return Err(error);
            }
        }
        Ok(transaction)
    }

    /// Prefetches what the events after event n will need.
    #[inline]
    fn prefetch(&self, hashes: &[u64], found: &[u32], n: usize) {
        match (found.get(n + 2 * AHEAD), &self.bounds) {
            (Some(&NONE), _) => self.index.prefetch_head(hashes[n + 2 * AHEAD]),
            (Some(&slot), Some(lru)) => {
                self.index.prefetch_has(slot);
                lru.prefetch(slot);
                if self.limits.timeout.is_some() {
                    self.seen.prefetch(slot);
                }
            }
            _ => {}
        }
        match (found.get(n + AHEAD), &self.bounds) {
            (Some(&NONE), _) => self.index.prefetch_first(hashes[n + AHEAD]),
            (Some(&slot), Some(lru)) => lru.prefetch_neighbours(slot),
            _ => {}
        }
    }

    #[inline]
    fn apply(
        &mut self,
        keys: Keys,
        n: usize,
        times: Times,
        hash: u64,
        found: u32,
        transaction: &mut Transaction,
    ) -> Result<(), Error> {
        if self.limits.timeout.is_some() {
            self.clock = self.clock.max(times.at(n));
            while let Some(slot) = self.overdue() {
                self.end_session(slot, transaction)?;
            }
        }
        // What was found may be gone by now, where there are bounds; what was not may be there.
        let found = if found != NONE && (self.bounds.is_none() || self.index.has(found)) {
            Some(found)
        } else {
            self.index.find(hash, K::of(keys, n))
        };
        let slot = match found {
            Some(slot) => {
                self.touch(slot, transaction)?;
                slot
            }
            None => self.start_session(hash, K::of(keys, n), transaction)?,
        };
        transaction.segments.push(slot, found.is_none());
        Ok(())
    }

    fn oldest(&self) -> Option<u32> {
        self.bounds.as_ref().and_then(LruList::first)
    }

    /// Returns a session that has timed out.
    fn overdue(&self) -> Option<u32> {
        let timeout = self.limits.timeout?;
        self.oldest().filter(|&slot| self.clock - self.seen[slot] > timeout)
    }

    #[inline]
    fn touch(&mut self, slot: u32, transaction: &mut Transaction) -> Result<(), Error> {
        if let Some(lru) = &mut self.bounds {
            let seen = if self.limits.timeout.is_some() { self.seen[slot] } else { 0.0 };
            transaction.note(Change::Touched { slot, before: lru.before(slot), seen })?;
            lru.touch(slot);
            self.see(slot);
        }
        Ok(())
    }

    fn see(&mut self, slot: u32) {
        if self.limits.timeout.is_some() {
            self.seen[slot] = self.clock;
        }
    }

    fn start_session(&mut self, hash: u64, key: K::Given<'_>, transaction: &mut Transaction) -> Result<u32, Error> {
        if self.limits.most.is_some_and(|most| self.len() >= most)
            && let Some(slot) = self.oldest()
        {
            self.end_session(slot, transaction)?;
        }
        try_reserve(&mut transaction.changes, 1)?;
        let slot = self.add(hash, key)?;
        transaction.changes.push(Change::Added(slot));
        Ok(slot)
    }

    fn add(&mut self, hash: u64, key: K::Given<'_>) -> Result<u32, Error> {
        let slot = self.take_slot()?;
        if let Err(error) = self.index.add(hash, key, slot) {
            self.index.release(slot);
            return Err(error);
        }
        if let Some(lru) = &mut self.bounds {
            lru.add(slot);
        }
        self.see(slot);
        Ok(slot)
    }

    fn take_slot(&mut self) -> Result<u32, Error> {
        if let Some(slot) = self.index.reuse() {
            return Ok(slot);
        }
        if self.slots == NONE {
            return Err(Error::value("keys", format!("at most {NONE} sessions"), "more"));
        }
        let slots = self.slots as usize + 1;
        self.index.ensure_len(slots)?;
        if let Some(lru) = &mut self.bounds {
            lru.ensure_len(slots)?;
        }
        if self.limits.timeout.is_some() {
            self.seen.ensure_len(slots)?;
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }

    fn end_session(&mut self, slot: u32, transaction: &mut Transaction) -> Result<(), Error> {
        transaction.note(Change::Removed(slot))?;
        transaction.segments.end(slot);
        self.remove(slot);
        Ok(())
    }

    fn remove(&mut self, slot: u32) {
        self.index.remove(slot);
        if let Some(lru) = &mut self.bounds {
            lru.remove(slot);
        }
    }

    /// Makes the changes of [`Registry::begin`] final.
    pub fn commit(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            if let Change::Removed(slot) = change {
                self.index.release(*slot);
            }
        }
    }

    /// Reverts the changes of [`Registry::begin`].
    pub fn rollback(&mut self, transaction: &Transaction) {
        for change in transaction.changes.iter().rev() {
            match *change {
                Change::Added(slot) => {
                    self.remove(slot);
                    self.index.release(slot);
                }
                Change::Removed(slot) => {
                    let hash = self.index.hash(self.index.key(slot));
                    self.index.put_back(hash, slot);
                    if let Some(lru) = &mut self.bounds {
                        lru.insert(slot, NONE);
                    }
                }
                Change::Touched { slot, before, seen } => {
                    if let Some(lru) = &mut self.bounds {
                        lru.remove(slot);
                        lru.insert(slot, before);
                    }
                    if self.limits.timeout.is_some() {
                        self.seen[slot] = seen;
                    }
                }
            }
        }
        self.clock = transaction.clock;
    }

    /// Ends the session of a key; returns whether there was one.
    pub fn drop_key(&mut self, keys: Keys, n: usize) -> bool {
        let Some(slot) = self.find(keys, n) else { return false };
        self.remove(slot);
        self.index.release(slot);
        true
    }

    /// Advances the clock to at least `now` and ends the sessions that have timed out; returns how many.
    pub fn expire(&mut self, now: f64) -> usize {
        self.clock = self.clock.max(now);
        let mut count = 0;
        while let Some(slot) = self.overdue() {
            self.remove(slot);
            self.index.release(slot);
            count += 1;
        }
        count
    }

    /// Sets the latest time so far.
    pub fn set_clock(&mut self, clock: f64) {
        self.clock = clock;
    }

    /// Restores a session that was last used at a time, after all others; returns its slot.
    ///
    /// # Errors
    /// There is one of this key, or there would be too many; there is not enough memory.
    pub fn restore(&mut self, keys: Keys, n: usize, seen: f64) -> Result<u32, Error> {
        if self.find(keys, n).is_some() {
            return Err(Error::value("keys", "each key once", format!("one again at position {n}")));
        }
        if let Some(most) = self.limits.most.filter(|&most| self.len() >= most) {
            return Err(Error::value("keys", format!("at most {most} (max_sessions)"), "more"));
        }
        if self.limits.timeout.is_some()
            && !(seen.is_finite()
                && seen <= self.clock
                && self.bounds.as_ref().and_then(LruList::last).is_none_or(|last| self.seen[last] <= seen))
        {
            return Err(Error::value("times", "ascending numbers", format!("{seen} at position {n}")));
        }
        let key = K::of(keys, n);
        let clock = std::mem::replace(&mut self.clock, seen);
        let slot = self.add(self.index.hash(key), key);
        self.clock = clock;
        slot
    }
}
