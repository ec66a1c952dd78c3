//! The registry of live sessions: the slot of each, and which sessions a batch of events starts and ends.
//!
//! A batch is applied event by event, so a session may end and start again within it. A [`Transaction`] records every
//! change, so that all of them can be rolled back. A slot that is freed is reused only after the batch, so its state is
//! still there until then.

use super::index::Index;
use super::keys::{Key, Keys, NONE};
use super::lru::LruList;
use super::segments::Segments;
use crate::error::Error;
use crate::memory::chunked_vec::ChunkedVec;
use crate::memory::try_alloc::{try_collect, try_reserve, try_with_capacity};
use crate::threads::runtime::Stop;

/// How many sessions ahead of the current one memory is prefetched.
pub const AHEAD: usize = 16;

/// How many events of a batch are applied between two questions whether to stop: some 50 ms.
const EVENTS_PER_CHECK: usize = 1 << 20;

/// The bounds on the number and the age of sessions. By default there are none.
///
/// ```
/// use rgru::Limits;
///
/// let limits = Limits { most: Some(1_000_000), timeout: Some(3600.0) };
/// # let _ = limits;
/// ```
#[derive(Clone, Copy, Default)]
pub struct Limits {
    /// The largest number of sessions. If another one starts, the least recently used one ends.
    pub most: Option<usize>,
    /// Seconds without an event after which a session ends.
    pub timeout: Option<f64>,
}

/// The times of a batch's events, in seconds. An event that is older than the latest one so far counts as happening at
/// the latest time. Without [`Limits::timeout`] times are ignored.
///
/// ```
/// use rgru::Times;
///
/// let (same, own) = (Times::Once(12.5), Times::Each(&[12.5, 12.5, 13.0])); // of three events
/// # let _ = (same, own);
/// ```
#[derive(Clone, Copy)]
pub enum Times<'a> {
    /// One time for all events.
    Once(f64),
    /// A time for each event.
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

/// The changes made by a batch.
pub struct Transaction {
    /// Its events, grouped by session.
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
    /// The slot was used. `before` and `seen` are its previous position in the order of use, and its previous time.
    Touched {
        slot: u32,
        before: u32,
        seen: f64,
    },
}

/// The sessions, for one kind of keys.
pub struct Registry<K> {
    index: Index<K>,
    /// The order of use, if there are limits.
    bounds: Option<LruList>,
    /// The time of each session's last event, if there is a timeout.
    seen: ChunkedVec<f64>,
    /// The number of slots that have been allocated.
    slots: u32,
    limits: Limits,
    /// The latest time so far.
    clock: f64,
}

impl<K: Key> Registry<K> {
    /// Returns an empty registry.
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

    /// Returns the number of sessions.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the number of slots that have been allocated.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Writes the hashes of the keys from `first` on, and their slots, or [`NONE`] for a key without a session.
    pub fn find_all(&self, keys: Keys, first: usize, hashes: &mut [u64], found: &mut [u32]) {
        self.index.find_all(keys, first, hashes, found);
    }

    /// Returns the slot of key n.
    pub fn find(&self, keys: Keys, n: usize) -> Option<u32> {
        let key = K::of(keys, n);
        self.index.find(self.index.hash(key), key)
    }

    /// Returns the key of a slot.
    pub fn key(&self, slot: u32) -> K::Given<'_> {
        self.index.key(slot)
    }

    /// Returns the time of a slot's last event.
    pub fn seen(&self, slot: u32) -> f64 {
        self.seen[slot]
    }

    /// Returns the latest time so far.
    pub fn clock(&self) -> f64 {
        self.clock
    }

    /// Returns the slots in use. If sessions are bounded, the least recently used one is the first.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn in_use(&self) -> Result<Vec<u32>, Error> {
        match &self.bounds {
            Some(lru) => try_collect(self.len(), lru.slots()),
            None => try_collect(self.len(), self.index.slots(self.slots)),
        }
    }

    /// Returns whether a slot is in use.
    #[inline]
    pub fn uses(&self, slot: u32) -> bool {
        slot < self.slots && self.index.has(slot)
    }

    /// Starts and ends sessions as a batch of events requires, given the hashes and slots of its keys. The caller must
    /// call [`Registry::commit`] or [`Registry::rollback`] afterwards.
    ///
    /// # Errors
    /// [`Error::Memory`], [`Error::Value`] for too many sessions, or [`Error::Interrupted`] if `stop` returned true; the
    /// registry is then unchanged.
    pub fn begin(
        &mut self,
        keys: Keys,
        times: Times,
        hashes: &[u64],
        found: &[u32],
        stop: Stop,
    ) -> Result<Transaction, Error> {
        let segments = Segments::new(found.len())?;
        // Without limits a batch only adds sessions, which is rare.
        let changes = try_with_capacity(if self.bounds.is_some() { found.len() } else { 0 })?;
        let mut transaction = Transaction { segments, changes, clock: self.clock };
        for (n, (&hash, &slot)) in hashes.iter().zip(found).enumerate() {
            self.prefetch(hashes, found, n);
            let stopped = (n + 1) % EVENTS_PER_CHECK == 0 && stop();
            let applied = if stopped { Err(Error::Interrupted) } else { Ok(()) };
            if let Err(error) = applied.and_then(|()| self.apply(keys, n, times, hash, slot, &mut transaction)) {
                self.rollback(&transaction);
                return Err(error);
            }
        }
        Ok(transaction)
    }

    /// Prefetches the data that events after event n will need.
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
        // With limits, a session that was found may have ended since; one that was not found may have started.
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

    /// Returns a session that has timed out, if there is one.
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

    /// Ends the session of a key. Returns whether there was one.
    pub fn drop_key(&mut self, keys: Keys, n: usize) -> bool {
        let Some(slot) = self.find(keys, n) else { return false };
        self.remove(slot);
        self.index.release(slot);
        true
    }

    /// Advances the clock to at least `now` and ends the sessions that have timed out. Returns how many it ended.
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

    /// Adds a session whose last event was at `seen`, as the most recently used. Returns its slot.
    ///
    /// # Errors
    /// [`Error::Value`] if the key has a session, there would be too many, or `seen` descends; [`Error::Memory`].
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
