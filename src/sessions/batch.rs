//! A batch of events: all of it takes effect, or nothing.

use super::Events;
use super::execute::{FinalStates, Workspaces, execute};
use super::keys::{Key, Keys, NONE};
use super::overflow::expect_finite_states;
use super::registry::{AHEAD, Registry};
use super::segments::Segment;
use super::slab::Slab;
use crate::cell::Real;
use crate::error::Error;
use crate::memory::try_alloc::{try_collect, try_from_fn};
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::threads::runtime::Grant;

/// The number of events whose keys one thread looks up at a time; fewer are not worth another thread.
const EVENTS_PER_PART: usize = 1024;

/// Runs a batch, given the registry for its kind of keys.
pub fn run<T: Real, K: Key>(
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
    let (hashes, found) = find_all(registry, keys, options)?;
    let transaction = registry.begin(keys, times, &hashes, &found, options.stop())?;
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
fn find_all<K: Key>(registry: &Registry<K>, keys: Keys, options: Options) -> Result<(Vec<u64>, Vec<u32>), Error> {
    let (count, threads) = (keys.count(), options.threads()?);
    let (mut hashes, mut found) = (try_from_fn(count, |_| 0)?, try_from_fn(count, |_| NONE)?);
    let parts = hashes.chunks_mut(EVENTS_PER_PART).zip(found.chunks_mut(EVENTS_PER_PART));
    let parts = try_collect(count.div_ceil(EVENTS_PER_PART), parts.enumerate())?;
    Grant::new(threads.min(parts.len()))?.execute(1, parts, options.stop(), |(n, (hashes, found)), _, check| {
        check()?;
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
