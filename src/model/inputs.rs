//! The inputs of a model in its precision, standardised if it standardises; and its targets in their own units.

use crate::cell::Real;
use crate::error::Error;
use crate::memory::aligned::zeros;
use crate::train::scaling::standardise;

/// The means and deviations of columns.
pub struct Scaler {
    /// `[F]`.
    pub mean: Vec<f64>,
    /// `[F]`.
    pub scale: Vec<f64>,
}

impl Scaler {
    /// Converts rows of F numbers from standard units. Numbers beyond the range of f64 become its largest one, as in
    /// Python.
    pub fn undo(&self, rows: &mut [f64]) {
        for row in rows.chunks_exact_mut(self.mean.len().max(1)) {
            for ((number, &mean), &scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                // Halves of large numbers are exact, and their sum is within the range.
                let part = if mean.abs().max(scale) > 1.0 { 0.5 } else { 1.0 };
                *number = ((*number * (scale * part) + mean * part) / part).clamp(-f64::MAX, f64::MAX);
            }
        }
    }
}

/// What a model does with its inputs before the first layer.
pub struct Inputs {
    /// The number of features.
    pub size: usize,
    /// Whether the first feature is an id.
    pub ids: bool,
    /// Whether numbers that are not finite are refused, as estimators do.
    pub finite: bool,
    /// The standardisation.
    pub scaler: Option<Scaler>,
}

impl Inputs {
    /// Returns the number of rows of an array.
    ///
    /// # Errors
    /// [`Error::Value`] if they are not whole.
    pub fn rows<X>(&self, x: &[X]) -> Result<usize, Error> {
        if x.len().is_multiple_of(self.size) {
            return Ok(x.len() / self.size);
        }
        Err(Error::value("x", format!("rows of {} features", self.size), format!("{} numbers", x.len())))
    }

    /// Converts rows to the precision of the model. `place` describes a row for errors.
    ///
    /// # Errors
    /// [`Error::Value`] if a number is not valid; [`Error::Memory`].
    pub fn convert<X: Real, T: Real>(&self, x: &[X], place: impl Fn(usize) -> String) -> Result<Vec<T>, Error> {
        let mut rows = zeros::<T>(x.len())?;
        match &self.scaler {
            Some(scaler) => standardise(x, &scaler.mean, &scaler.scale, &mut rows)?,
            None => rows.iter_mut().zip(x).for_each(|(to, from)| *to = T::from_f64(from.to_f64())),
        }
        for (i, (given, converted)) in x.iter().zip(&rows).enumerate() {
            let feature = i % self.size;
            let expected = if self.finite && !given.is_finite() {
                "finite numbers".into()
            } else if given.is_finite() && !converted.is_finite() {
                format!(
                    "numbers that are finite in {}{}",
                    T::NAME,
                    if self.scaler.is_some() { ", standardised" } else { "" }
                )
            } else if self.ids && feature == 0 && given.is_finite() && given.to_f64() != converted.to_f64() {
                "ids in feature 0".into()
            } else {
                continue;
            };
            let got = format!("{given} in {}, feature {feature} (counted from 0)", place(i / self.size));
            return Err(Error::value("x", expected, got));
        }
        Ok(rows)
    }
}
