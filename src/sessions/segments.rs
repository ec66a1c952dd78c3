//! Groups a batch's events into runs that share an initial state.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::Error;
use crate::memory::try_alloc::try_with_capacity;

/// The events of a batch that belong to one session: each continues from the state of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The slot of the state.
    pub slot: u32,
    /// The number of events.
    pub len: u32,
    /// The last event.
    pub last: u32,
    /// Whether its first event starts the session.
    pub fresh: bool,
    /// Whether its session ends within the batch.
    pub ended: bool,
}

/// The segments of a batch, at most one for each slot.
pub struct Segments {
    /// In the order of their first events.
    list: Vec<Segment>,
    /// The segment of each event.
    of: Vec<u32>,
    /// The segments by slot.
    table: HashTable<u32>,
}

impl Segments {
    /// Returns an empty list, with room for `events` events.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(events: usize) -> Result<Self, Error> {
        let mut table = HashTable::new();
        let bytes = events.saturating_mul(size_of::<u32>());
        table.try_reserve(events, |_| 0).map_err(|_| Error::Memory { bytes })?;
        Ok(Self { list: try_with_capacity(events)?, of: try_with_capacity(events)?, table })
    }

    /// Returns the segments in the order of their first events.
    pub fn list(&self) -> &[Segment] {
        &self.list
    }

    /// Returns the segment of each event.
    pub fn of(&self) -> &[u32] {
        &self.of
    }

    /// Adds the next event, which belongs to the session in `slot`; `fresh` if it starts the session.
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
            list.push(Segment { slot, len: 1, last: event, fresh, ended: false });
        }
        self.of.push(segment);
    }

    /// Records that the session in `slot` has ended.
    pub fn end(&mut self, slot: u32) {
        let list = &mut self.list;
        if let Some(&segment) = self.table.find(hash(slot), |&segment| list[segment as usize].slot == slot) {
            list[segment as usize].ended = true;
        }
    }
}

/// Returns the hash of a slot. Multiplication by 2^64 divided by the golden ratio spreads neighbours over the high bits
/// (Knuth).
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
        // Distant and adjacent slots, some of which collide in the table.
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
            assert_eq!(segment, Segment { slot, len, last, fresh: slot % 2 == 0, ended: slot == 64 });
        }
        let firsts = segments.list().iter().map(|segment| slots.iter().position(|&slot| slot == segment.slot));
        assert!(firsts.is_sorted());
        assert_eq!(Segments::new(0).unwrap().list(), []);
    }
}
