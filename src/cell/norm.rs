//! Layer normalisation (Ba et al. 2016) of a cell's sums.
//!
//! All sums are in a fixed order, so that results have the same bits with every instruction set.

use crate::error::Error;
use crate::memory::aligned::Aligned;
use crate::shape::NormForm;
use crate::shape::params::CellParams;
use crate::simd::float::Float;

/// The parameters of a cell's layer normalisation, and its biases, in the canonical order: r, z, candidate.
pub struct Norm<T> {
    /// Whether W x and U h are normalised each by itself.
    pub(super) separate: bool,
    pub(super) epsilon: T,
    /// The gains, `[3H]`: of W x, or of W x + U h.
    pub(super) g: Aligned<T>,
    /// The gains of U h in the separate form, `[3H]`.
    pub(super) g_hh: Aligned<T>,
    /// `[3H]`, zeros in a cell without biases.
    pub(super) b: Aligned<T>,
    /// `[H]`, likewise; zeros in the other form.
    pub(super) b_hh: Aligned<T>,
}

impl<T: Float> Norm<T> {
    /// Copies the parameters of a cell, if it has layer normalisation.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn of(cell: &CellParams<T>) -> Result<Option<Self>, Error> {
        let copy = |len: usize, from: &[T]| -> Result<_, Error> {
            let mut copy = Aligned::zeros(len)?;
            copy[..from.len()].copy_from_slice(from);
            Ok(copy)
        };
        let Some(options) = cell.options.layer_norm else { return Ok(None) };
        Ok(Some(Self {
            separate: options.form == NormForm::Separate,
            epsilon: T::from_f64(options.epsilon),
            g: copy(3 * cell.hidden, cell.g)?,
            g_hh: copy(3 * cell.hidden, cell.g_hh)?,
            b: copy(3 * cell.hidden, cell.b)?,
            b_hh: copy(cell.hidden, cell.b_hh)?,
        }))
    }

    /// Returns how many rows of sums are normalised in a step.
    #[inline(always)]
    pub fn sums(&self) -> usize {
        1 + usize::from(self.separate)
    }
}

/// The number of partial sums: element i of a row belongs to sum i modulo this. It is a multiple of all widths of
/// registers.
const PARTIAL_SUMS: usize = 16;

/// Returns the sum of `term(x[i], y[i])`.
#[inline(always)]
fn sum_of<T: Float>(x: &[T], y: &[T], term: impl Fn(T, T) -> T) -> T {
    let mut sums = [T::ZERO; PARTIAL_SUMS];
    let (whole_x, rest_x) = x.as_chunks::<PARTIAL_SUMS>();
    let (whole_y, rest_y) = y.as_chunks::<PARTIAL_SUMS>();
    for (x, y) in whole_x.iter().zip(whole_y) {
        for i in 0..PARTIAL_SUMS {
            sums[i] += term(x[i], y[i]);
        }
    }
    for ((sum, &x), &y) in sums.iter_mut().zip(rest_x).zip(rest_y) {
        *sum += term(x, y);
    }
    let mut half = PARTIAL_SUMS / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Replaces a row by (x - mean) / sqrt(variance + epsilon), and returns the reciprocal of this root.
#[inline(always)]
pub fn normalise<T: Float>(row: &mut [T], epsilon: T) -> T {
    let count = T::from_f64(row.len() as f64);
    let mean = sum_of(row, row, |x, _| x) / count;
    let variance = sum_of(row, row, |x, _| (x - mean) * (x - mean)) / count;
    let scale = T::ONE / (variance + epsilon).sqrt();
    for x in row {
        *x = (*x - mean) * scale;
    }
    scale
}

/// The backward pass of [`normalise`]: replaces the gradients `d` of the normalised row, whose `scale` it returned, by
/// those of the row before.
#[inline(always)]
pub fn normalise_backward<T: Float>(d: &mut [T], normalised: &[T], scale: T) {
    let count = T::from_f64(d.len() as f64);
    let mean = sum_of(d, d, |d, _| d) / count;
    let slope = sum_of(d, normalised, |d, x| d * x) / count;
    for (d, &x) in d.iter_mut().zip(normalised) {
        *d = (*d - mean - x * slope) * scale;
    }
}
