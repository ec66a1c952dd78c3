//! Memory as the kernels want it: buffers on cache lines, and matrices cut into panels.

use std::alloc::{Layout, alloc_zeroed};
use std::ops::{Deref, DerefMut};

use crate::error::Error;
use crate::simd::float::Real;

/// `len` zeros, their pages touched only when they are written.
///
/// # Errors
/// There is not as much memory.
pub fn zeros<T: Real>(len: usize) -> Result<Vec<T>, Error> {
    let bytes = len.saturating_mul(size_of::<T>());
    let Ok(layout) = Layout::array::<T>(len) else { return Err(Error::Memory { bytes }) };
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if start.is_null() {
        return Err(Error::Memory { bytes });
    }
    // SAFETY: allocated by the global allocator with the layout of `len` numbers; zero bits are the number 0.
    Ok(unsafe { Vec::from_raw_parts(start, len, len) })
}

/// Bytes of a cache line, which is also the widest register.
const LINE: usize = 64;

/// A buffer of numbers that starts on a cache line.
///
/// Memory of the allocator's usual alignment with room to move the start: it is handed out much faster than memory
/// asked for with an alignment.
pub struct Aligned<T> {
    memory: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: Real> Aligned<T> {
    /// Numbers that a buffer needs beyond its own.
    pub const ROOM: usize = LINE / size_of::<T>();

    /// `len` zeros.
    ///
    /// # Panics
    /// Where there cannot be as many.
    pub fn zeros(len: usize) -> Self {
        let len_and_room = len.checked_add(Self::ROOM).expect("a buffer that fits into memory addresses");
        Self::within(vec![T::ZERO; len_and_room])
    }

    /// What of `memory` begins on a line, of [`Aligned::ROOM`] numbers fewer.
    ///
    /// # Panics
    /// With fewer than those.
    pub fn within(memory: Vec<T>) -> Self {
        let first = memory.as_ptr().align_offset(LINE);
        assert!(first <= Self::ROOM && memory.len() >= Self::ROOM, "memory that cannot be aligned");
        let mut within = Self { memory, first, len: 0 };
        within.len = within.capacity();
        within
    }

    /// Numbers that there is memory for.
    pub fn capacity(&self) -> usize {
        self.memory.len().saturating_sub(Self::ROOM)
    }

    /// Makes room for `len` numbers; their values are unspecified.
    pub fn resize(&mut self, len: usize) {
        if len > self.capacity() {
            *self = Self::zeros(len);
        }
        self.len = len;
    }
}

impl<T: Real> Default for Aligned<T> {
    fn default() -> Self {
        Self { memory: Vec::new(), first: 0, len: 0 }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.memory[self.first..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.first..][..self.len]
    }
}

/// Copies a vector's numbers; lanes that there are none for become 0. Whole vectors are copied in registers: a call of
/// the library's function would take longer than the copy.
#[inline]
fn copy_vector<T: Real>(to: &mut [T], from: &[T]) {
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
/// from front to back. All panels are `width` vectors wide, but the last may be narrower; lanes past the last column
/// are 0.
pub struct PackedMatrix<T> {
    pub(crate) data: Aligned<T>,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    pub(crate) width: usize,
    pub(crate) lanes: usize,
}

impl<T: Real> PackedMatrix<T> {
    /// An empty matrix in panels of `width` vectors of `lanes` lanes.
    pub fn new(lanes: usize, width: usize) -> Self {
        Self { data: Aligned::default(), depth: 0, columns: 0, width, lanes }
    }

    /// Packs columns given as slices over k (`None`: a column of zeros), for weights stored `[columns, depth]`.
    pub fn from_columns<'a>(
        lanes: usize,
        width: usize,
        depth: usize,
        columns: usize,
        column: impl Fn(usize) -> Option<&'a [T]>,
    ) -> Self {
        let mut packed = Self::new(lanes, width);
        packed.reshape(depth, columns);
        for c in 0..columns {
            if let Some(values) = column(c) {
                let (start, step) = packed.column_position(c);
                for (k, &value) in values[..depth].iter().enumerate() {
                    packed.data[start + k * step] = value;
                }
            }
        }
        packed
    }

    /// Packs `depth` rows given as slices over the columns, in place of what was there before.
    pub fn pack_rows<'a>(&mut self, depth: usize, columns: usize, row: impl Fn(usize) -> &'a [T]) {
        self.reshape(depth, columns);
        let lanes = self.lanes;
        for k in 0..depth {
            for (vector, values) in row(k)[..columns].chunks(lanes).enumerate() {
                let (start, step) = self.column_position(vector * lanes);
                copy_vector(&mut self.data[start + k * step..][..lanes], values);
            }
        }
    }

    fn reshape(&mut self, depth: usize, columns: usize) {
        (self.depth, self.columns) = (depth, columns);
        let len = (self.vectors() * self.lanes).checked_mul(depth);
        self.data.resize(len.expect("a matrix that fits into memory addresses"));
    }

    pub(crate) fn vectors(&self) -> usize {
        self.columns.div_ceil(self.lanes)
    }

    /// Panels, the narrower one included.
    pub(crate) fn panels(&self) -> usize {
        self.vectors().div_ceil(self.width)
    }

    /// Where column c starts, and the distance from one k to the next.
    fn column_position(&self, c: usize) -> (usize, usize) {
        let (vector, lane) = (c / self.lanes, c % self.lanes);
        let (panel, within) = (vector / self.width, vector % self.width);
        let width = self.width.min(self.vectors() - panel * self.width);
        (panel * self.width * self.depth * self.lanes + within * self.lanes + lane, width * self.lanes)
    }
}
