//! Matrices cut into panels, in the order in which the register tile reads them.

use crate::error::Error;
use crate::memory::aligned::Aligned;
use crate::simd::float::Float;

/// Vectors in a panel of a matrix that a single thread multiplies.
pub const WIDTH: usize = 3;

/// Copies the numbers of a vector and sets the remaining lanes to 0. Whole vectors are copied in registers: a call of
/// the library's function would take longer than the copy.
#[inline]
fn copy_vector<T: Float>(to: &mut [T], from: &[T]) {
    fn whole<const N: usize, T: Copy>(to: &mut [T], from: &[T]) -> bool {
        match (<&mut [T; N]>::try_from(to), <&[T; N]>::try_from(from)) {
            (Ok(to), Ok(from)) => *to = *from,
            _ => return false,
        }
        true
    }
    if whole::<16, T>(to, from) || whole::<8, T>(to, from) || whole::<4, T>(to, from) {
        return;
    }
    to[..from.len()].copy_from_slice(from);
    to[from.len()..].fill(T::ZERO);
}

/// The right operand of a product, `[depth, columns]`, cut into panels: `[panel][k][vector][lane]`. Each panel is read
/// from front to back. All panels are `width` vectors wide, except that the last may be narrower; lanes past the last
/// column are 0.
pub struct PackedMatrix<T> {
    pub(crate) data: Aligned<T>,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    pub(crate) width: usize,
    pub(crate) lanes: usize,
}

impl<T: Float> PackedMatrix<T> {
    /// Returns an empty matrix in panels of `width` vectors of `lanes` lanes.
    pub fn new(lanes: usize, width: usize) -> Self {
        Self { data: Aligned::default(), depth: 0, columns: 0, width, lanes }
    }

    /// Packs columns given as slices over k (`None`: a column of zeros), for weights stored `[columns, depth]`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn from_columns<'a>(
        lanes: usize,
        width: usize,
        depth: usize,
        columns: usize,
        column: impl Fn(usize) -> Option<&'a [T]>,
    ) -> Result<Self, Error> {
        let mut packed = Self::new(lanes, width);
        packed.reshape(depth, columns)?;
        for c in 0..columns {
            if let Some(values) = column(c) {
                let (start, step) = packed.column_position(c);
                for (k, &value) in values[..depth].iter().enumerate() {
                    packed.data[start + k * step] = value;
                }
            }
        }
        Ok(packed)
    }

    /// Packs `depth` rows given as slices over the columns, in place of the previous matrix.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn pack_rows<'a>(&mut self, depth: usize, columns: usize, row: impl Fn(usize) -> &'a [T]) -> Result<(), Error> {
        self.reshape(depth, columns)?;
        let lanes = self.lanes;
        for k in 0..depth {
            for (vector, values) in row(k)[..columns].chunks(lanes).enumerate() {
                let (start, step) = self.column_position(vector * lanes);
                copy_vector(&mut self.data[start + k * step..][..lanes], values);
            }
        }
        Ok(())
    }

    fn reshape(&mut self, depth: usize, columns: usize) -> Result<(), Error> {
        let vectors = columns.div_ceil(self.lanes);
        self.data.resize((vectors * self.lanes).saturating_mul(depth))?;
        (self.depth, self.columns) = (depth, columns);
        Ok(())
    }

    pub(crate) fn vectors(&self) -> usize {
        self.columns.div_ceil(self.lanes)
    }

    /// Returns the number of panels, the narrower one included.
    pub(crate) fn panels(&self) -> usize {
        self.vectors().div_ceil(self.width)
    }

    /// Returns the position of the first number of column c, and the distance from one k to the next.
    fn column_position(&self, c: usize) -> (usize, usize) {
        let (vector, lane) = (c / self.lanes, c % self.lanes);
        let (panel, within) = (vector / self.width, vector % self.width);
        let width = self.width.min(self.vectors() - panel * self.width);
        (panel * self.width * self.depth * self.lanes + within * self.lanes + lane, width * self.lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_that_exceeds_memory_is_an_error() {
        let mut matrix = PackedMatrix::<f32>::new(8, WIDTH);
        assert!(matches!(matrix.pack_rows(1 << 40, 1 << 21, |_| &[]), Err(Error::Memory { .. })));
        assert!(matches!(matrix.pack_rows(1 << 40, 1 << 40, |_| &[]), Err(Error::Memory { .. })));
        matrix.pack_rows(1, 1, |_| &[2.0]).unwrap();
        assert_eq!(matrix.data[0], 2.0);
    }
}
