//! Checks of shapes, whose errors name the argument and both shapes.

use crate::error::Error;

/// Checks that the shape of an argument called `name` is `expected`.
///
/// # Errors
/// [`Error::Value`] if it is not.
pub fn expect_shape(name: &str, expected: &[usize], got: &[usize]) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(Error::value(name, format!("shape {}", tuple(expected)), tuple(got)))
}

/// Checks that the last dimension of an argument called `name` is `expected`; `meaning` says in the message what that
/// is.
///
/// # Errors
/// [`Error::Value`] if it is not.
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

/// Formats a shape as Python does.
pub fn tuple(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
