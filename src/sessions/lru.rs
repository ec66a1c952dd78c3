//! Which session was used last, and which has not been used for longest.

use super::keys::NONE;
use crate::error::Error;
use crate::memory::chunked_vec::Chunked;

/// Slots from the one that was used longest ago to the last: a list linked both ways.
pub struct Recency {
    links: Chunked<Link>,
    first: u32,
    last: u32,
}

#[derive(Default)]
struct Link {
    before: u32,
    after: u32,
}

impl Recency {
    /// Of no slots.
    pub fn new() -> Self {
        Self { links: Chunked::default(), first: NONE, last: NONE }
    }

    /// Makes room for `slots` slots.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn reach(&mut self, slots: usize) -> Result<(), Error> {
        self.links.reach(slots)
    }

    /// Asks for what is noted of a slot to be brought near.
    #[inline]
    pub fn fetch(&self, slot: u32) {
        self.links.fetch(slot);
    }

    /// As [`Recency::fetch`], of those before and after it.
    #[inline]
    pub fn fetch_beside(&self, slot: u32) {
        let Link { before, after } = self.links[slot];
        [before, after].into_iter().filter(|&slot| slot != NONE).for_each(|slot| self.links.fetch(slot));
    }

    /// The slot that was used longest ago.
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The slot that was used last.
    pub fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    /// The one before, or [`NONE`].
    pub fn before(&self, slot: u32) -> u32 {
        self.links[slot].before
    }

    /// All slots in order.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        let after = |&slot: &u32| Some(self.links[slot].after).filter(|&after| after != NONE);
        std::iter::successors(self.first(), after)
    }

    /// Adds a slot as the last used.
    pub fn add(&mut self, slot: u32) {
        self.insert(slot, self.last);
    }

    /// Adds a slot after another, or as the first after [`NONE`].
    pub fn insert(&mut self, slot: u32, before: u32) {
        let after = if before == NONE { self.first } else { self.links[before].after };
        self.links[slot] = Link { before, after };
        *self.after_of(before) = slot;
        *self.before_of(after) = slot;
    }

    /// Takes a slot out.
    pub fn remove(&mut self, slot: u32) {
        let Link { before, after } = self.links[slot];
        *self.after_of(before) = after;
        *self.before_of(after) = before;
    }

    /// Makes a slot the last used.
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
        let mut recency = Recency::new();
        recency.reach(4).unwrap();
        let order = |recency: &Recency| recency.slots().collect::<Vec<_>>();
        (0..4).for_each(|slot| recency.add(slot));
        recency.touch(1);
        recency.touch(3);
        recency.touch(3);
        assert_eq!(order(&recency), [0, 2, 1, 3]);
        recency.remove(0);
        recency.remove(3);
        assert_eq!((order(&recency), recency.first()), (vec![2, 1], Some(2)));
        recency.insert(0, NONE);
        recency.insert(3, 2);
        assert_eq!(order(&recency), [0, 2, 3, 1]);
        (0..4).for_each(|slot| recency.remove(slot));
        assert_eq!((order(&recency), recency.first()), (vec![], None));
    }
}
