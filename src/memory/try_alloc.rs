//! Fallible allocation of caller-sized vectors: out of memory is an `Err`, not an abort.

use crate::error::Error;

/// Returns an empty vector with room for `len` values.
///
/// # Errors
/// [`Error::Memory`].
pub fn try_with_capacity<V>(len: usize) -> Result<Vec<V>, Error> {
    let mut list = Vec::new();
    try_reserve(&mut list, len)?;
    Ok(list)
}

/// Reserves room for `more` values in addition to those that a vector has.
///
/// # Errors
/// [`Error::Memory`].
pub fn try_reserve<V>(list: &mut Vec<V>, more: usize) -> Result<(), Error> {
    if list.is_empty() { list.try_reserve_exact(more) } else { list.try_reserve(more) }
        .map_err(|_| Error::Memory { bytes: (list.len().saturating_add(more)).saturating_mul(size_of::<V>()) })
}

/// Returns a vector of `len` values, each computed from its position.
///
/// # Errors
/// [`Error::Memory`].
pub fn try_from_fn<V>(len: usize, value: impl FnMut(usize) -> V) -> Result<Vec<V>, Error> {
    try_collect(len, (0..len).map(value))
}

/// Collects an iterator of `len` values.
///
/// # Errors
/// [`Error::Memory`].
pub fn try_collect<V>(len: usize, values: impl Iterator<Item = V>) -> Result<Vec<V>, Error> {
    let mut list = try_with_capacity(len)?;
    list.extend(values);
    Ok(list)
}
