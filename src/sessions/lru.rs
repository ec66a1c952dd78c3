//! The order of last use, as an intrusive linked list.

use super::keys::NONE;
use crate::error::Error;
use crate::memory::chunked_vec::ChunkedVec;

/// A doubly linked list of slots, from the least to the most recently used.
pub struct LruList {
    links: ChunkedVec<Link>,
    first: u32,
    last: u32,
}

#[derive(Default)]
struct Link {
    before: u32,
    after: u32,
}

impl LruList {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self { links: ChunkedVec::default(), first: NONE, last: NONE }
    }

    /// Grows to at least `slots` slots.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn ensure_len(&mut self, slots: usize) -> Result<(), Error> {
        self.links.ensure_len(slots)
    }

    /// Prefetches the links of a slot.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        self.links.prefetch(slot);
    }

    /// Prefetches the links of the slots before and after a slot.
    #[inline]
    pub fn prefetch_neighbours(&self, slot: u32) {
        let Link { before, after } = self.links[slot];
        [before, after].into_iter().filter(|&slot| slot != NONE).for_each(|slot| self.links.prefetch(slot));
    }

    /// Returns the least recently used slot.
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Returns the most recently used slot.
    pub fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    /// Returns the slot before another, or [`NONE`].
    pub fn before(&self, slot: u32) -> u32 {
        self.links[slot].before
    }

    /// Returns all slots in order.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        let after = |&slot: &u32| Some(self.links[slot].after).filter(|&after| after != NONE);
        std::iter::successors(self.first(), after)
    }

    /// Adds a slot as the most recently used.
    pub fn add(&mut self, slot: u32) {
        self.insert(slot, self.last);
    }

    /// Adds a slot after the slot `before`, or as the first if that is [`NONE`].
    pub fn insert(&mut self, slot: u32, before: u32) {
        let after = if before == NONE { self.first } else { self.links[before].after };
        self.links[slot] = Link { before, after };
        *self.after_of(before) = slot;
        *self.before_of(after) = slot;
    }

    /// Removes a slot.
    pub fn remove(&mut self, slot: u32) {
        let Link { before, after } = self.links[slot];
        *self.after_of(before) = after;
        *self.before_of(after) = before;
    }

    /// Moves a slot to the end, as the most recently used.
    #[inline]
    pub fn touch(&mut self, slot: u32) {
        if slot != self.last {
            self.remove(slot);
            self.add(slot);
        }
    }

    fn after_of(&mut self, slot: u32) -> &mut u32 {
        if slot == NONE { &mut self.first } else { &mut self.links[slot].after }
    }

    fn before_of(&mut self, slot: u32) -> &mut u32 {
        if slot == NONE { &mut self.last } else { &mut self.links[slot].before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_use() {
        let mut lru = LruList::new();
        lru.ensure_len(4).unwrap();
        let order = |lru: &LruList| lru.slots().collect::<Vec<_>>();
        (0..4).for_each(|slot| lru.add(slot));
        lru.touch(1);
        lru.touch(3);
        lru.touch(3);
        assert_eq!(order(&lru), [0, 2, 1, 3]);
        lru.remove(0);
        lru.remove(3);
        assert_eq!((order(&lru), lru.first()), (vec![2, 1], Some(2)));
        lru.insert(0, NONE);
        lru.insert(3, 2);
        assert_eq!(order(&lru), [0, 2, 3, 1]);
        (0..4).for_each(|slot| lru.remove(slot));
        assert_eq!((order(&lru), lru.first()), (vec![], None));
    }
}
