//! Groups a batch's events into runs that share an initial state.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::Error;
use crate::memory::try_alloc::try_with_capacity;

/// Events of a batch that continue from each other's state.
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

/// The segments of a batch; a slot has one at most.
pub struct Segments {
    /// In the order of their first events.
    list: Vec<Segment>,
    /// The segment of each event.
    of: Vec<u32>,
    /// The segments, to be found by slot.
    table: HashTable<u32>,
}

impl Segments {
    /// None yet, for up to `events` events.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn new(events: usize) -> Result<Self, Error> {
        let mut table = HashTable::new();
        let bytes = events.saturating_mul(size_of::<u32>());
        table.try_reserve(events, |_| 0).map_err(|_| Error::Memory { bytes })?;
        Ok(Self { list: try_with_capacity(events)?, of: try_with_capacity(events)?, table })
    }

    /// In the order of their first events.
    pub fn list(&self) -> &[Segment] {
        &self.list
    }

    /// The segment of each event.
    pub fn of(&self) -> &[u32] {
        &self.of
    }

    /// Adds the next event, of a slot's session; `fresh` if it begins it.
    #[inline]
    pub fn push(&mut self, slot: u32, fresh: bool) {
        let (list, event) = (&mut self.list, self.of.len() as u32);
        let same = |&segment: &u32| list[segment as usize].slot == slot;
        let segment = match self.table.entry(hash(slot), same, |&segment| hash(list[segment as usize].slot)) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) => *place.insert(list.len() as u32).get(),
        };
        if let Some(segment) = list.get_mut(segment as usize) {
            segment.len += 1;
            segment.last = event;
        } else {
            list.push(Segment { slot, len: 1, last: event, fresh, over: false });
        }
        self.of.push(segment);
    }

    /// Notes that a slot's session has ended.
    pub fn end(&mut self, slot: u32) {
        let list = &mut self.list;
        if let Some(&segment) = self.table.find(hash(slot), |&segment| list[segment as usize].slot == slot) {
            list[segment as usize].over = true;
        }
    }
}

/// The hash of a slot: 2^64 by the golden ratio spreads neighbours over the high bits (Knuth).
#[inline]
fn hash(slot: u32) -> u64 {
    u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::keys::NONE;

    #[test]
    fn each_event_finds_the_segment_of_its_slot() {
        // Slots far apart and side by side, some of which collide in the table.
        let slots: Vec<u32> = (0..500).map(|n| [n % 7, n * 64, NONE - 1 - n, n / 5][n as usize % 4]).collect();
        let mut segments = Segments::new(slots.len()).unwrap();
        for &slot in &slots {
            segments.push(slot, slot % 2 == 0);
        }
        segments.end(64);
        segments.end(NONE / 2); // has none
        for (event, &slot) in slots.iter().enumerate() {
            let segment = segments.list()[segments.of()[event] as usize];
            let all: Vec<usize> = (0..slots.len()).filter(|&event| slots[event] == slot).collect();
            let (len, last) = (all.len() as u32, all[all.len() - 1] as u32);
            assert_eq!(segment, Segment { slot, len, last, fresh: slot % 2 == 0, over: slot == 64 });
        }
        let firsts = segments.list().iter().map(|segment| slots.iter().position(|&slot| slot == segment.slot));
        assert!(firsts.is_sorted());
        assert_eq!(Segments::new(0).unwrap().list(), []);
    }
}
