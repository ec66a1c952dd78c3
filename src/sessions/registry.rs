//! Which sessions there are: where each is, which go when there are too many or their time is over, and what a batch of
//! events does to them.
//!
//! A batch is walked event by event, so that it leaves what its events would leave one by one: a session may end and
//! begin anew within it. The walk notes what it changes, so that all of it can be undone; a slot that it gives up is
//! used again only after the batch, so that its state is still there.

use super::index::Index;
use super::keys::{Key, Keys, NONE};
use super::lru::Recency;
use super::segments::Segments;
use crate::error::Error;
use crate::memory::chunked_vec::Chunked;
use crate::memory::try_alloc::{collected, reserve, reserved};

/// Sessions whose memory is asked for ahead of the one at hand.
pub const AHEAD: usize = 16;

/// What bounds the number of sessions.
#[derive(Clone, Copy, Default)]
pub struct Limits {
    /// Sessions at most; the one not used for longest goes.
    pub most: Option<usize>,
    /// Seconds after its last event that a session ends.
    pub timeout: Option<f64>,
}

/// When the events of a batch are, in seconds; a time before that of an event before counts as that.
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

/// What a batch does.
pub struct Admitted {
    /// Its events by the state that they go on from.
    pub segments: Segments,
    changes: Vec<Change>,
    clock: f64,
}

impl Admitted {
    fn note(&mut self, change: Change) -> Result<(), Error> {
        reserve(&mut self.changes, 1)?;
        self.changes.push(change);
        Ok(())
    }
}

/// What can be undone.
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
    bounds: Option<Recency>,
    /// When the last event was.
    seen: Chunked<f64>,
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
            bounds: (limits.most.is_some() || limits.timeout.is_some()).then(Recency::new),
            seen: Chunked::default(),
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
            Some(recency) => collected(self.len(), recency.slots()),
            None => collected(self.len(), self.index.slots(self.slots)),
        }
    }

    /// Whether a slot is in use.
    #[inline]
    pub fn uses(&self, slot: u32) -> bool {
        slot < self.slots && self.index.has(slot)
    }

    /// Walks over a batch of events, whose keys have been looked for: ends and begins sessions. To be followed by
    /// [`Registry::settle`] or [`Registry::undo`].
    ///
    /// # Errors
    /// There is not enough memory; nothing has changed then.
    pub fn admit(&mut self, keys: Keys, times: Times, hashes: &[u64], found: &[u32]) -> Result<Admitted, Error> {
        let segments = Segments::new(found.len())?;
        // An unbounded batch only adds, seldom.
        let changes = reserved(if self.bounds.is_some() { found.len() } else { 0 })?;
        let mut admitted = Admitted { segments, changes, clock: self.clock };
        for (n, (&hash, &slot)) in hashes.iter().zip(found).enumerate() {
            self.fetch(hashes, found, n);
            if let Err(error) = self.admit_one(keys, n, times, hash, slot, &mut admitted) {
                self.undo(&admitted);
                return Err(error);
            }
        }
        Ok(admitted)
    }

    /// Asks for what the events after event n will need to be brought near.
    #[inline]
    fn fetch(&self, hashes: &[u64], found: &[u32], n: usize) {
        match (found.get(n + 2 * AHEAD), &self.bounds) {
            (Some(&NONE), _) => self.index.fetch_head(hashes[n + 2 * AHEAD]),
            (Some(&slot), Some(recency)) => {
                self.index.fetch_has(slot);
                recency.fetch(slot);
                if self.limits.timeout.is_some() {
                    self.seen.fetch(slot);
                }
            }
            _ => {}
        }
        match (found.get(n + AHEAD), &self.bounds) {
            (Some(&NONE), _) => self.index.fetch_first(hashes[n + AHEAD]),
            (Some(&slot), Some(recency)) => recency.fetch_beside(slot),
            _ => {}
        }
    }

    #[inline]
    fn admit_one(
        &mut self,
        keys: Keys,
        n: usize,
        times: Times,
        hash: u64,
        found: u32,
        admitted: &mut Admitted,
    ) -> Result<(), Error> {
        if self.limits.timeout.is_some() {
            self.clock = self.clock.max(times.at(n));
            while let Some(slot) = self.overdue() {
                self.end(slot, admitted)?;
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
                self.touch(slot, admitted)?;
                slot
            }
            None => self.begin(hash, K::of(keys, n), admitted)?,
        };
        admitted.segments.push(slot, found.is_none());
        Ok(())
    }

    fn oldest(&self) -> Option<u32> {
        self.bounds.as_ref().and_then(Recency::first)
    }

    /// A session whose time is over.
    fn overdue(&self) -> Option<u32> {
        let timeout = self.limits.timeout?;
        self.oldest().filter(|&slot| self.clock - self.seen[slot] > timeout)
    }

    #[inline]
    fn touch(&mut self, slot: u32, admitted: &mut Admitted) -> Result<(), Error> {
        if let Some(recency) = &mut self.bounds {
            let seen = if self.limits.timeout.is_some() { self.seen[slot] } else { 0.0 };
            admitted.note(Change::Touched { slot, before: recency.before(slot), seen })?;
            recency.touch(slot);
            self.see(slot);
        }
        Ok(())
    }

    fn see(&mut self, slot: u32) {
        if self.limits.timeout.is_some() {
            self.seen[slot] = self.clock;
        }
    }

    fn begin(&mut self, hash: u64, key: K::Given<'_>, admitted: &mut Admitted) -> Result<u32, Error> {
        if self.limits.most.is_some_and(|most| self.len() >= most)
            && let Some(slot) = self.oldest()
        {
            self.end(slot, admitted)?;
        }
        reserve(&mut admitted.changes, 1)?;
        let slot = self.add(hash, key)?;
        admitted.changes.push(Change::Added(slot));
        Ok(slot)
    }

    fn add(&mut self, hash: u64, key: K::Given<'_>) -> Result<u32, Error> {
        let slot = self.take_slot()?;
        if let Err(error) = self.index.add(hash, key, slot) {
            self.index.release(slot);
            return Err(error);
        }
        if let Some(recency) = &mut self.bounds {
            recency.add(slot);
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
        self.index.reach(slots)?;
        if let Some(recency) = &mut self.bounds {
            recency.reach(slots)?;
        }
        if self.limits.timeout.is_some() {
            self.seen.reach(slots)?;
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }

    fn end(&mut self, slot: u32, admitted: &mut Admitted) -> Result<(), Error> {
        admitted.note(Change::Removed(slot))?;
        admitted.segments.end(slot);
        self.remove(slot);
        Ok(())
    }

    fn remove(&mut self, slot: u32) {
        self.index.remove(slot);
        if let Some(recency) = &mut self.bounds {
            recency.remove(slot);
        }
    }

    /// Makes what [`Registry::admit`] has done final.
    pub fn settle(&mut self, admitted: &Admitted) {
        for change in &admitted.changes {
            if let Change::Removed(slot) = change {
                self.index.release(*slot);
            }
        }
    }

    /// Takes back what [`Registry::admit`] has done.
    pub fn undo(&mut self, admitted: &Admitted) {
        for change in admitted.changes.iter().rev() {
            match *change {
                Change::Added(slot) => {
                    self.remove(slot);
                    self.index.release(slot);
                }
                Change::Removed(slot) => {
                    let hash = self.index.hash(self.index.key(slot));
                    self.index.put_back(hash, slot);
                    if let Some(recency) = &mut self.bounds {
                        recency.insert(slot, NONE);
                    }
                }
                Change::Touched { slot, before, seen } => {
                    if let Some(recency) = &mut self.bounds {
                        recency.remove(slot);
                        recency.insert(slot, before);
                    }
                    if self.limits.timeout.is_some() {
                        self.seen[slot] = seen;
                    }
                }
            }
        }
        self.clock = admitted.clock;
    }

    /// Ends the session of a key; whether there was one.
    pub fn drop_key(&mut self, keys: Keys, n: usize) -> bool {
        let Some(slot) = self.find(keys, n) else { return false };
        self.remove(slot);
        self.index.release(slot);
        true
    }

    /// Lets the time be at least `now`, and ends the sessions whose time is over then; how many.
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

    /// Brings back a session that was last used at a time, after all others; its slot.
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
                && self.bounds.as_ref().and_then(Recency::last).is_none_or(|last| self.seen[last] <= seen))
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
