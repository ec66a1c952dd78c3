//! Overflow of states, which unbounded activations allow.

use super::execute::FinalStates;
use super::segments::Segments;
use crate::cell::Real;
use crate::error::Error;
use crate::memory::try_alloc::try_from_fn;
use crate::rnn::packed_weights::PackedWeights;

/// Refuses states that are infinite or NaN, after any event.
pub fn expect_finite_states<T: Real>(
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
