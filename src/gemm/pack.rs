//! Matrices cut into panels, in the order in which the register tile reads them.

use crate::error::Error;
use crate::memory::aligned::Aligned;
use crate::simd::float::Float;

/// Vectors in a panel of a matrix that a single thread multiplies.
pub const WIDTH: usize = 3;

/// A matrix of more bytes exceeds the second-level cache.
const CACHE_BYTES: usize = 1 << 20;

/// Rows that are packed together: the first panel reads them from memory, and the others from a cache.
const ROWS_AT_ONCE: usize = 32;

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

/// Writes N columns as rows of N numbers, `step` apart, and returns how many rows: those that fill square tiles, or none
/// if a column is missing. A tile is read line by line, since columns of a power of two numbers share few lines of the
/// cache.
fn transpose_tiles<const N: usize, T: Float>(columns: &[&[T]], depth: usize, rows: &mut [T], step: usize) -> usize {
    if columns.len() != N || columns.iter().any(|column| column.is_empty()) {
        return 0;
    }
    let whole = depth - depth % N;
    for k in (0..whole).step_by(N) {
        let mut tile = [[T::ZERO; N]; N];
        for (to, column) in tile.iter_mut().zip(columns) {
            to.copy_from_slice(&column[k..k + N]);
        }
        for (i, row) in rows[k * step..].chunks_mut(step).take(N).enumerate() {
            for (to, column) in row[..N].iter_mut().zip(&tile) {
                *to = column[i];
            }
        }
    }
    whole
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
        if depth == 0 {
            return Ok(packed);
        }
        for first in (0..columns).step_by(lanes) {
            let (start, step) = packed.vector_position(first / lanes);
            let vector: Vec<&[T]> = (first..columns.min(first + lanes)).map(|c| column(c).unwrap_or(&[])).collect();
            let rows = &mut packed.data[start..];
            let done = match lanes {
                16 => transpose_tiles::<16, T>(&vector, depth, rows, step),
                8 => transpose_tiles::<8, T>(&vector, depth, rows, step),
                4 => transpose_tiles::<4, T>(&vector, depth, rows, step),
                _ => 0,
            };
            for (lane, values) in vector.into_iter().enumerate().filter(|(_, values)| !values.is_empty()) {
                for (k, &value) in values[..depth].iter().enumerate().skip(done) {
                    rows[k * step + lane] = value;
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
        for first_row in (0..depth).step_by(ROWS_AT_ONCE) {
            let rows = ROWS_AT_ONCE.min(depth - first_row);
            for panel in 0..self.panels() {
                let (start, step) = self.vector_position(panel * self.width);
                let first = panel * self.width * lanes;
                let end = columns.min(first + step);
                let to = &mut self.data[start + first_row * step..][..rows * step];
                for (i, to) in to.chunks_exact_mut(step).enumerate() {
                    for (to, values) in to.chunks_exact_mut(lanes).zip(row(first_row + i)[first..end].chunks(lanes)) {
                        copy_vector(to, values);
                    }
                }
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

    /// Returns whether the matrix exceeds the second-level cache.
    pub(crate) fn exceeds_cache(&self) -> bool {
        size_of_val(&self.data[..]) > CACHE_BYTES
    }

    pub(crate) fn vectors(&self) -> usize {
        self.columns.div_ceil(self.lanes)
    }

    /// Returns the number of panels, the narrower one included.
    pub(crate) fn panels(&self) -> usize {
        self.vectors().div_ceil(self.width)
    }

    /// Returns the position of the first number of a vector of columns, and the distance from one k to the next.
    fn vector_position(&self, vector: usize) -> (usize, usize) {
        let (panel, within) = (vector / self.width, vector % self.width);
        let width = self.width.min(self.vectors() - panel * self.width);
        ((panel * self.width * self.depth + within) * self.lanes, width * self.lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles, what is left of them, columns of zeros, and no rows at all.
    #[test]
    fn columns_are_packed_as_rows_are() {
        for (lanes, width, depth, columns) in
            [(16, 3, 37, 100), (8, 2, 8, 16), (4, 3, 5, 7), (2, 1, 3, 5), (16, 3, 40, 96), (16, 3, 0, 48)]
        {
            let value = |k: usize, c: usize| if c == 1 { 0.0 } else { (k * columns + c) as f32 };
            let by_column: Vec<Vec<f32>> = (0..columns).map(|c| (0..depth).map(|k| value(k, c)).collect()).collect();
            let by_row: Vec<Vec<f32>> = (0..depth).map(|k| (0..columns).map(|c| value(k, c)).collect()).collect();
            let column = |c: usize| (c != 1).then(|| &by_column[c][..]);
            let transposed = PackedMatrix::from_columns(lanes, width, depth, columns, column).unwrap();
            let mut copied = PackedMatrix::new(lanes, width);
            copied.pack_rows(depth, columns, |k| &by_row[k]).unwrap();
            assert_eq!(&*transposed.data, &*copied.data);
        }
    }

    #[test]
    fn a_matrix_that_exceeds_memory_is_an_error() {
        let mut matrix = PackedMatrix::<f32>::new(8, WIDTH);
        assert!(matches!(matrix.pack_rows(1 << 40, 1 << 21, |_| &[]), Err(Error::Memory { .. })));
        assert!(matches!(matrix.pack_rows(1 << 40, 1 << 40, |_| &[]), Err(Error::Memory { .. })));
        matrix.pack_rows(1, 1, |_| &[2.0]).unwrap();
        assert_eq!(matrix.data[0], 2.0);
    }
}
