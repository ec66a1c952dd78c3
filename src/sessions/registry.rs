//! Which sessions there are: where each is, which go when there are too many or their time is over, and what a batch of
//! events does to them.
//!
//! A batch is walked event by event, so that it leaves what its events would leave one by one: a session may end and
//! begin anew within it. The walk notes what it changes, so that all of it can be undone; a slot that it gives up is
//! used again only after the batch, so that its state is still there.

use super::AHEAD;
use super::chunked::Chunked;
use super::keys::{Index, Key, Keys, NONE};
use super::recency::Recency;
use crate::error::Error;

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

/// Events of a batch that go on from each other's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the state is.
    pub slot: u32,
    /// Events.
    pub len: u32,
    /// The last of them.
    pub last: u32,
    /// It begins a session.
    pub fresh: bool,
    /// Its session ends within the batch.
    pub over: bool,
}

/// What a batch does.
#[derive(Default)]
pub struct Admitted {
    /// The segments in the order of their first events.
    pub segments: Vec<Segment>,
    /// The segment of each event.
    pub of: Vec<u32>,
    changes: Vec<Change>,
    clock: f64,
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

/// In [`Registry::marks`]: no session.
const FREE: u32 = NONE;

/// The sessions of one kind of keys.
pub struct Registry<K> {
    index: Index<K>,
    /// The segment of the batch, if that is one of the same slot; else nothing.
    marks: Chunked<u32>,
    bounds: Option<Recency>,
    /// When the last event was.
    seen: Chunked<f64>,
    free: Vec<u32>,
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
            marks: Chunked::default(),
            bounds: (limits.most.is_some() || limits.timeout.is_some()).then(Recency::new),
            seen: Chunked::default(),
            free: Vec::new(),
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
        // In loops of their own, so that the memory is asked for many keys at a time.
        for (n, hash) in hashes.iter_mut().enumerate() {
            *hash = self.index.hash(K::of(keys, first + n));
        }
        for (n, (found, &hash)) in found.iter_mut().zip(&*hashes).enumerate() {
            *found = self.index.find(hash, K::of(keys, first + n)).unwrap_or(NONE);
        }
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
    pub fn in_use(&self) -> Vec<u32> {
        match &self.bounds {
            Some(recency) => recency.slots().collect(),
            None => self.index.slots().collect(),
        }
    }

    /// Whether a slot is in use.
    pub fn uses(&self, slot: u32) -> bool {
        slot < self.slots && self.marks[slot] != FREE
    }

    /// Walks over a batch of events, whose keys have been looked for: ends and begins sessions. To be followed by
    /// [`Registry::settle`] or [`Registry::undo`].
    ///
    /// # Errors
    /// There is not enough memory; nothing has changed then.
    pub fn admit(&mut self, keys: Keys, times: Times, hashes: &[u64], found: &[u32]) -> Result<Admitted, Error> {
        let mut admitted = Admitted { clock: self.clock, ..Admitted::default() };
        let memory = |_| Error::Memory { bytes: 64 * found.len() };
        admitted.segments.try_reserve_exact(found.len()).map_err(memory)?;
        admitted.of.try_reserve_exact(found.len()).map_err(memory)?;
        for (n, (&hash, &slot)) in hashes.iter().zip(found).enumerate() {
            if let Some(&ahead) = found.get(n + 2 * AHEAD).filter(|&&slot| slot != NONE) {
                self.fetch(ahead);
            }
            if let (Some(recency), Some(&ahead)) = (&self.bounds, found.get(n + AHEAD).filter(|&&slot| slot != NONE)) {
                recency.fetch_beside(ahead);
            }
            if let Err(error) = self.admit_one(keys, n, times, hash, slot, &mut admitted) {
                self.undo(&admitted);
                return Err(error);
            }
        }
        Ok(admitted)
    }

    /// Asks for what is noted of a slot to be brought near.
    #[inline]
    fn fetch(&self, slot: u32) {
        self.marks.fetch(slot);
        if let Some(recency) = &self.bounds {
            recency.fetch(slot);
        }
        if self.limits.timeout.is_some() {
            self.seen.fetch(slot);
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
        if let Some(timeout) = self.limits.timeout {
            self.clock = self.clock.max(times.at(n));
            while let Some(slot) = self.oldest().filter(|&slot| self.clock - self.seen[slot] > timeout) {
                self.end(slot, admitted);
            }
        }
        // What was found may be gone by now, what was not may be there.
        let found = if found != NONE && self.marks[found] != FREE {
            Some(found)
        } else {
            self.index.find(hash, K::of(keys, n))
        };
        let slot = match found {
            Some(slot) => {
                self.touch(slot, admitted);
                slot
            }
            None => self.begin(hash, K::of(keys, n), admitted)?,
        };
        let mark = self.marks[slot];
        let segment = match admitted.segments.get_mut(mark as usize) {
            Some(segment) if segment.slot == slot => {
                segment.len += 1;
                segment.last = n as u32;
                mark
            }
            _ => {
                let new = admitted.segments.len() as u32;
                let fresh = found.is_none();
                admitted.segments.push(Segment { slot, len: 1, last: n as u32, fresh, over: false });
                self.marks[slot] = new;
                new
            }
        };
        admitted.of.push(segment);
        Ok(())
    }

    fn oldest(&self) -> Option<u32> {
        self.bounds.as_ref().and_then(Recency::first)
    }

    fn touch(&mut self, slot: u32, admitted: &mut Admitted) {
        if let Some(recency) = &mut self.bounds {
            let seen = if self.limits.timeout.is_some() { self.seen[slot] } else { 0.0 };
            admitted.changes.push(Change::Touched { slot, before: recency.before(slot), seen });
            recency.touch(slot);
            self.see(slot);
        }
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
            self.end(slot, admitted);
        }
        let slot = self.take_slot()?;
        if let Err(error) = self.index.add(hash, key, slot) {
            self.free.push(slot);
            return Err(error);
        }
        admitted.changes.push(Change::Added(slot));
        self.marks[slot] = 0;
        if let Some(recency) = &mut self.bounds {
            recency.add(slot);
        }
        self.see(slot);
        Ok(slot)
    }

    fn take_slot(&mut self) -> Result<u32, Error> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        if self.slots == NONE {
            return Err(Error::value("keys", format!("at most {NONE} sessions"), "more"));
        }
        let slots = self.slots as usize + 1;
        self.index.reach(slots)?;
        self.marks.reach(slots)?;
        if let Some(recency) = &mut self.bounds {
            recency.reach(slots)?;
        }
        if self.limits.timeout.is_some() {
            self.seen.reach(slots)?;
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }

    fn end(&mut self, slot: u32, admitted: &mut Admitted) {
        if let Some(segment) = admitted.segments.get_mut(self.marks[slot] as usize).filter(|s| s.slot == slot) {
            segment.over = true;
        }
        self.remove(slot);
        admitted.changes.push(Change::Removed(slot));
    }

    fn remove(&mut self, slot: u32) {
        self.index.remove(slot);
        self.marks[slot] = FREE;
        if let Some(recency) = &mut self.bounds {
            recency.remove(slot);
        }
    }

    /// Makes what [`Registry::admit`] has done final.
    pub fn settle(&mut self, admitted: &Admitted) {
        for change in &admitted.changes {
            if let Change::Removed(slot) = change {
                self.free(*slot);
            }
        }
    }

    /// Takes back what [`Registry::admit`] has done.
    pub fn undo(&mut self, admitted: &Admitted) {
        for change in admitted.changes.iter().rev() {
            match *change {
                Change::Added(slot) => {
                    self.remove(slot);
                    self.free(slot);
                }
                Change::Removed(slot) => {
                    // There is room, since another key has gone or this one was there.
                    let hash = self.index.hash(self.index.key(slot));
                    self.index.put_back(hash, slot).expect("room for a key that was there");
                    self.marks[slot] = 0;
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

    fn free(&mut self, slot: u32) {
        self.index.forget(slot);
        self.free.push(slot);
    }

    /// Ends the session of a key; whether there was one.
    pub fn drop_key(&mut self, keys: Keys, n: usize) -> bool {
        let Some(slot) = self.find(keys, n) else { return false };
        self.remove(slot);
        self.free(slot);
        true
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
        let slot = self.begin(self.index.hash(key), key, &mut Admitted::default());
        self.clock = clock;
        slot
    }
}
