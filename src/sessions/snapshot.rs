//! Reading and restoring all sessions, for snapshots.

use super::keys::Keys;
use super::slab::StoredStates;
use super::{KeyKind, Sessions, each_kind, expect_finite, no_timeout};
use crate::cell::Real;
use crate::error::Error;
use crate::memory::try_alloc::{try_from_fn, try_with_capacity};
use crate::shape::expect_shape;

#[doc(hidden)]
impl<T: Real> Sessions<T> {
    /// Returns the places of all sessions, for [`Sessions::copy_out`]. If sessions are bounded, the least recently used
    /// one is the first.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn in_use(&self) -> Result<Vec<u32>, Error> {
        each_kind!(&self.registry, registry => registry.in_use())
    }

    /// Returns the integer keys of some places.
    ///
    /// # Errors
    /// [`Error::Value`] if a place has no session, or the keys are of another kind; [`Error::Memory`].
    pub fn integers(&self, places: &[u32]) -> Result<Vec<i64>, Error> {
        let KeyKind::Integers(registry) = &self.registry else { return Err(other_kind()) };
        self.expect_in_use(places)?;
        try_from_fn(places.len(), |n| registry.key(places[n]))
    }

    /// Returns the keys of some places end to end, and their offsets: key n is from offset n to offset n + 1.
    ///
    /// # Errors
    /// As [`Sessions::integers`].
    pub fn texts(&self, places: &[u32]) -> Result<(Vec<u8>, Vec<i64>), Error> {
        let KeyKind::Texts(registry) = &self.registry else { return Err(other_kind()) };
        self.expect_in_use(places)?;
        let len = places.iter().map(|&slot| registry.key(slot).len()).sum();
        let (mut data, mut offsets) = (try_with_capacity(len)?, try_with_capacity(places.len() + 1)?);
        offsets.push(0);
        for &slot in places {
            data.extend_from_slice(registry.key(slot));
            offsets.push(data.len() as i64);
        }
        Ok((data, offsets))
    }

    /// Copies the states of some places as they are stored, `[places, L, H]`.
    ///
    /// # Errors
    /// [`Error::Value`] if a place has no session, or the size or the precision of `states` does not fit.
    pub fn copy_out(&self, places: &[u32], states: StoredStates<&mut [T], &mut [u16]>) -> Result<(), Error> {
        self.expect_in_use(places)?;
        let (len, half) = match &states {
            StoredStates::Whole(states) => (states.len(), false),
            StoredStates::Half(states) => (states.len(), true),
        };
        self.expect_stored(places.len(), len, half)?;
        self.slab.copy_out(places, states);
        Ok(())
    }

    /// Returns the times of the last events of some places, in seconds.
    ///
    /// # Errors
    /// [`Error::Value`] if a place has no session, or there is no timeout, so that times are not stored;
    /// [`Error::Memory`].
    pub fn times(&self, places: &[u32]) -> Result<Vec<f64>, Error> {
        self.expect_in_use(places)?;
        if self.limits.timeout.is_none() {
            return Err(no_timeout());
        }
        each_kind!(&self.registry, registry => try_from_fn(places.len(), |n| registry.seen(places[n])))
    }

    /// Adds sessions from a snapshot, as the most recently used ones, with states `[M, L, H]` as they are stored.
    ///
    /// # Errors
    /// [`Error::Value`] if anything does not fit, or a key has a session already; [`Error::Memory`]. Some of the
    /// sessions may have been added.
    pub fn restore(
        &mut self,
        keys: Keys,
        states: StoredStates<&[T], &[u16]>,
        times: Option<&[f64]>,
        clock: f64,
    ) -> Result<(), Error> {
        let count = keys.count();
        let (len, half) = match &states {
            StoredStates::Whole(states) => (states.len(), false),
            StoredStates::Half(states) => (states.len(), true),
        };
        self.expect_stored(count, len, half)?;
        let given = if self.limits.timeout.is_some() { count } else { 0 };
        expect_shape("times", &[given], &[times.map_or(0, <[_]>::len)])?;
        if clock != f64::NEG_INFINITY {
            expect_finite("clock", clock)?;
        }
        self.expect_kind(keys)?;
        self.slab.ensure_len(self.slots() + count)?;
        let mut places = try_with_capacity(count)?;
        each_kind!(&mut self.registry, registry => {
            registry.set_clock(clock);
            for n in 0..count {
                places.push(registry.restore(keys, n, times.map_or(0.0, |times| times[n]))?);
            }
        });
        self.slab.copy_in(&places, states);
        Ok(())
    }

    fn expect_stored(&self, count: usize, len: usize, half: bool) -> Result<(), Error> {
        if half != self.slab.half() {
            let name = |half| if half { "float16" } else { T::NAME };
            return Err(Error::value("states", name(self.slab.half()), name(half)));
        }
        expect_shape("states", &[count * self.packed.dims.num_layers * self.packed.dims.hidden_size], &[len])
    }

    fn expect_in_use(&self, places: &[u32]) -> Result<(), Error> {
        let used = |&slot: &u32| each_kind!(&self.registry, registry => registry.uses(slot));
        match places.iter().find(|place| !used(place)) {
            None => Ok(()),
            Some(place) => Err(Error::value("places", "places that have a session", place.to_string())),
        }
    }
}

fn other_kind() -> Error {
    Error::value("keys", "keys of this kind", "another kind")
}
