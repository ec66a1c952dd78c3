//! Checks of shapes, with the errors that name them.

use crate::error::Error;

/// Checks a shape.
///
/// # Errors
/// It is another one.
pub fn expect_shape(name: &str, expected: &[usize], got: &[usize]) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(Error::value(name, format!("shape {}", tuple(expected)), tuple(got)))
}

/// Checks the size of the last dimension.
///
/// # Errors
/// It is another one.
pub fn expect_last(name: &str, expected: usize, meaning: &str, shape: &[usize]) -> Result<(), Error> {
    if shape.last() == Some(&expected) {
        return Ok(());
    }
    let got = shape.last().copied().unwrap_or(0);
    Err(Error::value(
        name,
        format!("last dimension {expected} ({meaning})"),
        format!("{got} in shape {}", tuple(shape)),
    ))
}

/// A shape as Python writes it.
pub fn tuple(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
