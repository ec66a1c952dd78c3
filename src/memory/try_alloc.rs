//! Lists whose size the caller decides: an error where there is no memory for them, not the end of the process.

use crate::error::Error;

/// An empty list with room for `len` values.
///
/// # Errors
/// There is not as much memory.
pub fn reserved<V>(len: usize) -> Result<Vec<V>, Error> {
    let mut list = Vec::new();
    reserve(&mut list, len)?;
    Ok(list)
}

/// Room for `more` values than a list has.
///
/// # Errors
/// There is not as much memory.
pub fn reserve<V>(list: &mut Vec<V>, more: usize) -> Result<(), Error> {
    if list.is_empty() { list.try_reserve_exact(more) } else { list.try_reserve(more) }
        .map_err(|_| Error::Memory { bytes: (list.len().saturating_add(more)).saturating_mul(size_of::<V>()) })
}

/// `len` values by their position.
///
/// # Errors
/// There is not as much memory.
pub fn filled<V>(len: usize, value: impl FnMut(usize) -> V) -> Result<Vec<V>, Error> {
    collected(len, (0..len).map(value))
}

/// What an iterator gives, which is `len` values.
///
/// # Errors
/// There is not as much memory.
pub fn collected<V>(len: usize, values: impl Iterator<Item = V>) -> Result<Vec<V>, Error> {
    let mut list = reserved(len)?;
    list.extend(values);
    Ok(list)
}
