//! Many live sequences by key, whose states are stored between events.
//!
//! ```text
//! keys -> slots (index) -> which sessions start, continue and end (registry, lru) -> segments of events
//!   -> groups of segments through the stack, from the stored states (execute) -> states written back (slab)
//! ```
//!
//! The outputs have the bits of each sequence run alone, and a batch has the effect of its events one by one.

mod execute;
mod index;
mod keys;
mod lru;
mod registry;
mod segments;
mod slab;

use std::sync::Arc;

use execute::{FinalStates, Workspaces, execute};
pub use keys::Keys;
use keys::{Integer, Key, NONE};
use registry::{AHEAD, Registry};
pub use registry::{Limits, Times};
use segments::{Segment, Segments};
use slab::Slab;
pub use slab::StoredStates;

use crate::cell::Real;
use crate::error::Error;
use crate::memory::try_alloc::{try_collect, try_from_fn, try_with_capacity};
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::shape::expect_shape;
use crate::threads::runtime::Grant;

/// The number of events whose keys one thread looks up at a time; fewer are not worth another thread.
const EVENTS_PER_PART: usize = 1024;

/// Many live sequences by key: each key has a session, whose state is stored between events.
///
/// [`Gru::sessions`](crate::Gru::sessions) creates an empty set.
///
/// ```
/// use rgru::{Dims, Events, Gru, Keys, Limits, Times};
///
/// let dims = Dims::new(3, 8);
/// let limits = Limits { most: Some(1000), timeout: Some(60.0) };
/// let mut sessions = Gru::<f32>::seeded(dims, 0)?.sessions(limits, false)?;
/// let mut y = [0.0; 2 * 8];
/// sessions.step(Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 2 * 3], times: Times::Once(0.0) }, &mut y)?;
/// sessions.step(Events { keys: Keys::Integers(&[7]), x: &[0.5; 3], times: Times::Once(50.0) }, &mut y[..8])?;
/// assert_eq!(sessions.expire(70.0)?, 1); // key 8, after 70 s without an event
/// let mut has = [false; 2];
/// sessions.has(Keys::Integers(&[7, 8]), &mut has)?;
/// assert_eq!(has, [true, false]);
/// # Ok::<(), rgru::Error>(())
/// ```
pub struct Sessions<T: Real> {
    packed: Arc<PackedWeights<T>>,
    limits: Limits,
    slab: Slab<T>,
    registry: KeyKind<Registry<Integer>, Registry<Box<[u8]>>>,
    spaces: Workspaces<T>,
}

/// A batch of M events, in order. See [`Sessions`] for an example.
#[derive(Clone, Copy)]
pub struct Events<'a, T> {
    /// The key of each event.
    pub keys: Keys<'a>,
    /// The input of each event, `[M, I]`.
    pub x: &'a [T],
    /// The times of the events.
    pub times: Times<'a>,
}

/// A value for either kind of keys.
enum KeyKind<I, T> {
    Integers(I),
    Texts(T),
}

/// Runs an expression with the registry of either kind.
macro_rules! each_kind {
    ($kind:expr, $registry:ident => $body:expr) => {
        match $kind {
            KeyKind::Integers($registry) => $body,
            KeyKind::Texts($registry) => $body,
        }
    };
}

impl<T: Real> Sessions<T> {
    #[doc(hidden)]
    /// Returns an empty set of sessions. With `half`, states are rounded to half precision between events.
    ///
    /// # Errors
    /// [`Error::Value`] if the stack is bidirectional or runs in reverse: its outputs need the whole sequence.
    pub fn new(packed: Arc<PackedWeights<T>>, limits: Limits, half: bool) -> Result<Self, Error> {
        packed.dims.check_stepwise()?;
        let slab = Slab::new(packed.dims.num_layers, packed.dims.hidden_size, half);
        let registry = KeyKind::Integers(Registry::new(limits));
        Ok(Self { packed, limits, slab, registry, spaces: Workspaces::default() })
    }

    #[doc(hidden)]
    /// Returns the weights of the stack.
    pub fn packed(&self) -> &PackedWeights<T> {
        &self.packed
    }

    /// Returns whether states are rounded to half precision between events.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// assert!(!sessions.half());
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn half(&self) -> bool {
        self.slab.half()
    }

    /// Returns the number of sessions. It includes sessions that have timed out since the last event or
    /// [`Sessions::expire`].
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// # let events = Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 6], times: Times::Once(0.0) };
    /// # sessions.step(events, &mut [0.0; 16])?;
    /// assert_eq!(sessions.len(), 2);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        each_kind!(&self.registry, registry => registry.len())
    }

    /// Returns whether there are no sessions.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// assert!(sessions.is_empty());
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the latest time so far in seconds, or negative infinity if there was none.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// # let events = Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 6], times: Times::Once(0.0) };
    /// # sessions.step(events, &mut [0.0; 16])?;
    /// assert_eq!(sessions.clock(), 0.0);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn clock(&self) -> f64 {
        each_kind!(&self.registry, registry => registry.clock())
    }

    /// Runs a batch of M events in order and writes their outputs `y` `[M, H]`. An event whose key has no session
    /// starts one, from the initial state of the stack.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// let mut y = [0.0; 3 * 8];
    /// let events = Events { keys: Keys::Integers(&[7, 8, 7]), x: &[0.5; 3 * 3], times: Times::Once(0.0) };
    /// sessions.step(events, &mut y)?;
    /// assert_eq!(y[..8], y[8..16]); // the first steps of sessions 7 and 8
    /// assert_ne!(y[..8], y[16..]); // the second step of session 7
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if the size of an array does not fit, or the keys are of another kind than those of the
    /// sessions; [`Error::Memory`]. After an error, all sessions are as before the call.
    pub fn step(&mut self, events: Events<T>, y: &mut [T]) -> Result<(), Error> {
        self.step_with(events, y, Options::default())
    }

    /// As [`Sessions::step`], with options.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// let options = rgru::Options { threads: Some(1), stop: None };
    /// let events = Events { keys: Keys::Integers(&[7]), x: &[0.5; 3], times: Times::Once(0.0) };
    /// sessions.step_with(events, &mut [0.0; 8], options)?;
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Sessions::step`]; [`Error::Interrupted`] if `options.stop` returned true.
    pub fn step_with(&mut self, events: Events<T>, y: &mut [T], options: Options) -> Result<(), Error> {
        let Events { keys, x, times } = events;
        let (dims, count) = (&self.packed.dims, keys.count());
        expect_shape("x", &[count * dims.input_size], &[x.len()])?;
        expect_shape("y", &[count * dims.hidden_size], &[y.len()])?;
        self.packed.check_ids(|n, _| format!("event {n}"), x.chunks_exact(dims.input_size))?;
        if let Times::Each(times) = times {
            expect_shape("times", &[count], &[times.len()])?;
        }
        if u32::try_from(count).is_err() {
            return Err(Error::value("keys", format!("at most {NONE} events at once"), count.to_string()));
        }
        self.expect_kind(keys)?;
        let Self { packed, slab, registry, spaces, .. } = self;
        each_kind!(registry, registry => {
            run(packed, slab, registry, spaces, events, y, options)
        })
    }

    /// Writes to `has` which of the keys have a session.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// # let events = Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 6], times: Times::Once(0.0) };
    /// # sessions.step(events, &mut [0.0; 16])?;
    /// let mut has = [false; 2];
    /// sessions.has(Keys::Integers(&[7, 9]), &mut has)?;
    /// assert_eq!(has, [true, false]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if `has` is not as long as the keys.
    pub fn has(&self, keys: Keys, has: &mut [bool]) -> Result<(), Error> {
        keys.expect(has.len())?;
        if !self.is_kind(keys) {
            has.fill(false);
            return Ok(());
        }
        each_kind!(&self.registry, registry => {
            has.iter_mut().enumerate().for_each(|(n, has)| *has = registry.find(keys, n).is_some());
        });
        Ok(())
    }

    /// Copies the states of the sessions of M keys to `states`, `[L, M, H]`. Returns the position of the first key that
    /// has no session, or `None` if all have one.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// # let events = Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 6], times: Times::Once(0.0) };
    /// # sessions.step(events, &mut [0.0; 16])?;
    /// let mut h = [0.0; 8];
    /// assert_eq!(sessions.states(Keys::Integers(&[7]), &mut h)?, None);
    /// assert_eq!(sessions.states(Keys::Integers(&[9]), &mut h)?, Some(0)); // has no session
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if `states` has another size.
    pub fn states(&self, keys: Keys, states: &mut [T]) -> Result<Option<usize>, Error> {
        let (dims, count) = (&self.packed.dims, keys.count());
        expect_shape("states", &[dims.num_layers * count * dims.hidden_size], &[states.len()])?;
        if !self.is_kind(keys) {
            return Ok((count > 0).then_some(0));
        }
        for n in 0..count {
            let slot = each_kind!(&self.registry, registry => registry.find(keys, n));
            let Some(slot) = slot else { return Ok(Some(n)) };
            for layer in 0..dims.num_layers {
                let row = (layer * count + n) * dims.hidden_size;
                self.slab.read(slot, layer, &mut states[row..][..dims.hidden_size]);
            }
        }
        Ok(None)
    }

    /// Ends the sessions of some keys. Returns how many it ended.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// # let events = Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 6], times: Times::Once(0.0) };
    /// # sessions.step(events, &mut [0.0; 16])?;
    /// assert_eq!(sessions.drop_keys(Keys::Integers(&[7, 9])), 1);
    /// assert_eq!(sessions.len(), 1);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn drop_keys(&mut self, keys: Keys) -> usize {
        if !self.is_kind(keys) {
            return 0;
        }
        each_kind!(&mut self.registry, registry => {
            (0..keys.count()).filter(|&n| registry.drop_key(keys, n)).count()
        })
    }

    /// Advances the clock to at least `now` (seconds) and ends the sessions that have timed out. Returns how many it
    /// ended.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// # let events = Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 6], times: Times::Once(0.0) };
    /// # sessions.step(events, &mut [0.0; 16])?;
    /// assert_eq!(sessions.expire(30.0)?, 0);
    /// assert_eq!(sessions.expire(61.0)?, 2); // after a minute without an event
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if there is no timeout, or `now` is not finite.
    pub fn expire(&mut self, now: f64) -> Result<usize, Error> {
        if self.limits.timeout.is_none() {
            return Err(no_timeout());
        }
        expect_finite("now", now)?;
        Ok(each_kind!(&mut self.registry, registry => registry.expire(now)))
    }

    /// Ends all sessions and frees their memory. Keys may be of another kind afterwards.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let limits = Limits { most: None, timeout: Some(60.0) };
    /// # let mut sessions = Gru::<f32>::seeded(Dims::new(3, 8), 0)?.sessions(limits, false)?;
    /// # let events = Events { keys: Keys::Integers(&[7, 8]), x: &[0.5; 6], times: Times::Once(0.0) };
    /// # sessions.step(events, &mut [0.0; 16])?;
    /// sessions.clear();
    /// assert!(sessions.is_empty());
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn clear(&mut self) {
        self.slab = Slab::new(self.packed.dims.num_layers, self.packed.dims.hidden_size, self.slab.half());
        self.registry = KeyKind::Integers(Registry::new(self.limits));
        self.spaces = Workspaces::default();
    }

    fn is_kind(&self, keys: Keys) -> bool {
        matches!(
            (&self.registry, keys),
            (KeyKind::Integers(_), Keys::Integers(_)) | (KeyKind::Texts(_), Keys::Texts { .. })
        )
    }

    /// Checks the kind of keys. While there are no sessions, the first keys determine it.
    fn expect_kind(&mut self, keys: Keys) -> Result<(), Error> {
        if self.is_kind(keys) {
            return Ok(());
        }
        if !self.is_empty() {
            return Err(Error::value("keys", "keys of the same kind as those of the sessions", "another kind"));
        }
        let clock = self.clock();
        self.registry = match keys {
            Keys::Integers(_) => KeyKind::Integers(Registry::new(self.limits)),
            Keys::Texts { .. } => KeyKind::Texts(Registry::new(self.limits)),
        };
        each_kind!(&mut self.registry, registry => registry.set_clock(clock));
        Ok(())
    }

    fn slots(&self) -> usize {
        each_kind!(&self.registry, registry => registry.slots())
    }
}

/// Reading and restoring all sessions, for snapshots.
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

fn no_timeout() -> Error {
    Error::value("timeout", "a number of seconds", "None")
}

fn expect_finite(name: &str, time: f64) -> Result<(), Error> {
    if time.is_finite() { Ok(()) } else { Err(Error::value(name, "a finite number", time.to_string())) }
}

/// Refuses states that are infinite or NaN, after any event.
fn expect_finite_states<T: Real>(
    segments: &Segments,
    finals: &FinalStates<T>,
    y: &[T],
    packed: &PackedWeights<T>,
) -> Result<(), Error> {
    let (hidden, below) = (packed.dims.hidden_size, packed.dims.num_layers - 1);
    if all_finite(y) && all_finite(&finals.below) {
        return Ok(());
    }
    let mut first = try_from_fn(segments.list().len(), |_| None)?;
    for (event, (row, &segment)) in y.chunks(hidden).zip(segments.of()).enumerate().rev() {
        if !all_finite(row) {
            first[segment as usize] = Some(event);
        }
    }
    for (row, &segment) in finals.below.chunks(below.max(1) * hidden).zip(&finals.order) {
        if !all_finite(row) {
            first[segment].get_or_insert(segments.list()[segment].last as usize);
        }
    }
    let after = |&(event, &segment): &(usize, &u32)| first[segment as usize].is_some_and(|first| event >= first);
    Err(Error::Overflow { events: segments.of().iter().enumerate().filter(after).map(|(event, _)| event).collect() })
}

/// Returns whether all numbers are finite. A number times 0 is 0 only if it is.
fn all_finite<T: Real>(numbers: &[T]) -> bool {
    const LANES: usize = 32;
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut sums = [T::ZERO; LANES];
    for chunk in chunks {
        for (sum, &number) in sums.iter_mut().zip(chunk) {
            *sum += number * T::ZERO;
        }
    }
    sums.iter().all(|sum| sum.is_finite()) && rest.iter().all(|number| number.is_finite())
}

/// Runs a batch, given the registry for its kind of keys.
fn run<T: Real, K: Key>(
    packed: &PackedWeights<T>,
    slab: &mut Slab<T>,
    registry: &mut Registry<K>,
    spaces: &Workspaces<T>,
    events: Events<T>,
    y: &mut [T],
    options: Options,
) -> Result<(), Error> {
    let Events { keys, x, times } = events;
    let options = Options { threads: Some(options.threads()?), ..options };
    let threads = options.threads()?;
    let (hashes, found) = find_all(registry, keys, threads)?;
    let transaction = registry.begin(keys, times, &hashes, &found)?;
    let executed = slab
        .ensure_len(registry.slots())
        .and_then(|()| execute(packed, slab, &transaction.segments, x, y, spaces, options))
        .and_then(|finals| expect_finite_states(&transaction.segments, &finals, y, packed).map(|()| finals))
        .and_then(|finals| write_back(packed, slab, transaction.segments.list(), &finals, y, threads));
    match executed {
        Ok(()) => registry.commit(&transaction),
        Err(_) => registry.rollback(&transaction),
    }
    executed
}

/// Returns the hashes of all keys, and their slots or [`NONE`].
fn find_all<K: Key>(registry: &Registry<K>, keys: Keys, threads: usize) -> Result<(Vec<u64>, Vec<u32>), Error> {
    let count = keys.count();
    let (mut hashes, mut found) = (try_from_fn(count, |_| 0)?, try_from_fn(count, |_| NONE)?);
    let parts = hashes.chunks_mut(EVENTS_PER_PART).zip(found.chunks_mut(EVENTS_PER_PART));
    let parts = try_collect(count.div_ceil(EVENTS_PER_PART), parts.enumerate())?;
    Grant::new(threads.min(parts.len()))?.execute(1, parts, &|| false, |(n, (hashes, found)), _, _| {
        registry.find_all(keys, n * EVENTS_PER_PART, hashes, found);
        Ok(())
    })?;
    Ok((hashes, found))
}

/// Writes the final states of a batch into the slab.
fn write_back<T: Real>(
    packed: &PackedWeights<T>,
    slab: &mut Slab<T>,
    segments: &[Segment],
    finals: &FinalStates<T>,
    y: &[T],
    threads: usize,
) -> Result<(), Error> {
    let (hidden, last) = (packed.dims.hidden_size, packed.dims.num_layers - 1);
    // Before anything is written, since nothing may fail afterwards.
    let grant = Grant::new(threads.min(segments.len().div_ceil(EVENTS_PER_PART)))?;
    grant.execute(1, slab.parts(grant.threads()), &|| false, |mut part, _, _| {
        for (n, &segment) in finals.order.iter().enumerate() {
            let ahead = finals.order.get(n + AHEAD).map(|&next| segments[next].slot);
            if let Some(slot) = ahead.filter(|&slot| part.has(slot)) {
                part.prefetch(slot);
            }
            let segment = &segments[segment];
            if segment.ended || !part.has(segment.slot) {
                continue;
            }
            for layer in 0..last {
                part.write(segment.slot, layer, &finals.below[(n * last + layer) * hidden..][..hidden]);
            }
            part.write(segment.slot, last, &y[segment.last as usize * hidden..][..hidden]);
        }
        Ok(())
    })
}
