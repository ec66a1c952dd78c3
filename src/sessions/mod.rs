//! Many live sequences by key, whose states are stored between events.
//!
//! ```text
//! keys -> slots (index) -> which sessions start, continue and end (registry, lru) -> segments of events
//!   -> groups of segments through the stack, from the stored states (execute) -> states written back (slab)
//! ```
//!
//! The outputs have the bits of each sequence run alone, and a batch has the effect of its events one by one.

mod batch;
mod execute;
mod index;
mod keys;
mod lru;
mod overflow;
mod registry;
mod segments;
mod slab;
mod snapshot;

use std::sync::Arc;

use execute::Workspaces;
pub use keys::Keys;
use keys::{Integer, NONE};
use registry::Registry;
pub use registry::{Limits, Times};
use slab::Slab;
pub use slab::StoredStates;

use crate::cell::Real;
use crate::error::Error;
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::shape::expect_shape;

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
use each_kind;

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
            batch::run(packed, slab, registry, spaces, events, y, options)
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

fn no_timeout() -> Error {
    Error::value("timeout", "a number of seconds", "None")
}

fn expect_finite(name: &str, time: f64) -> Result<(), Error> {
    if time.is_finite() { Ok(()) } else { Err(Error::value(name, "a finite number", time.to_string())) }
}
