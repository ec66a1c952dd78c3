//! Views of some rows of Arrow arrays. Every access to buffers and children is checked here.

use std::borrow::Cow;

use bytemuck::AnyBitPattern;

use super::decimal::{Wide, to_f64, wide_to_f64};
use super::error::{ArrowError, malformed};
use super::ffi::{Array, MAX_BYTES, Schema};
use super::types::{Kind, Number};
use crate::memory::try_alloc::try_with_capacity;

/// Rows `first..first + len` of an array's buffers, with its type. `first` includes the array's own offset.
#[derive(Clone, Copy)]
pub struct ArrayView<'a> {
    pub kind: Kind,
    schema: &'a Schema,
    array: &'a Array,
    first: usize,
    pub len: usize,
}

/// The numbers of an array. They are in place, unless they are unaligned or of a type that CPUs do not have.
pub enum Numbers<'a> {
    F16(Cow<'a, [u16]>),
    F32(Cow<'a, [f32]>),
    F64(Cow<'a, [f64]>),
    I8(Cow<'a, [i8]>),
    U8(Cow<'a, [u8]>),
    I16(Cow<'a, [i16]>),
    U16(Cow<'a, [u16]>),
    I32(Cow<'a, [i32]>),
    U32(Cow<'a, [u32]>),
    I64(Cow<'a, [i64]>),
    U64(Cow<'a, [u64]>),
    /// No numbers: all are null.
    Null,
}

/// The offsets, starts or sizes of lists, of 32 or 64 bits.
pub enum Offsets<'a> {
    Small(Cow<'a, [i32]>),
    Large(Cow<'a, [i64]>),
}

impl Offsets<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Small(numbers) => numbers.len(),
            Self::Large(numbers) => numbers.len(),
        }
    }

    fn raw(&self, i: usize) -> i64 {
        match self {
            Self::Small(numbers) => numbers[i].into(),
            Self::Large(numbers) => numbers[i],
        }
    }

    /// Returns a number, which must have been checked.
    pub fn get(&self, i: usize) -> usize {
        self.raw(i) as usize
    }
}

/// The validity of rows.
pub struct Nulls<'a> {
    /// One bit for each row, 0 for null; `None` if all are null.
    bits: Option<Cow<'a, [u8]>>,
    first: usize,
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits[at / 8] >> (at % 8) & 1 == 1
}

impl Nulls<'_> {
    /// Returns whether a row is null.
    pub fn at(&self, row: usize) -> bool {
        self.bits.as_ref().is_none_or(|bits| !bit(bits, self.first + row))
    }

    /// Returns how many of the `len` rows from `row` on are null.
    pub fn count(&self, row: usize, len: usize) -> usize {
        let Some(bits) = &self.bits else { return len };
        let (mut at, end) = (self.first + row, self.first + row + len);
        let mut valid = 0;
        while at < end && !at.is_multiple_of(8) {
            valid += usize::from(bit(bits, at));
            at += 1;
        }
        let whole = (end - at) / 8;
        valid += bits[at / 8..][..whole].iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        at += whole * 8;
        while at < end {
            valid += usize::from(bit(bits, at));
            at += 1;
        }
        len - valid
    }
}

impl<'a> ArrayView<'a> {
    /// Returns a view of a whole array, after checking everything that does not need its buffers.
    pub fn new(schema: &'a Schema, array: &'a Array) -> Result<Self, ArrowError> {
        let kind = Kind::of(schema)?;
        let (first, len) = (array.offset()?, array.length()?);
        if first.checked_add(len).is_none_or(|end| end as u64 > MAX_BYTES) {
            return Err(malformed(format!("offset {first} and length {len}")));
        }
        if let Some(buffers) = match kind {
            Kind::Number(Number::Null) | Kind::Other => None,
            Kind::Number(_) | Kind::List { .. } => Some(2),
            Kind::ListView { .. } => Some(3),
            Kind::FixedSizeList(_) | Kind::Tensor { .. } | Kind::Struct => Some(1),
        } {
            array.expect_buffers(buffers)?;
        }
        let (children, wanted) = (array.children()?.len(), schema.children()?.len());
        if children != wanted {
            return Err(malformed(format!("{children} children instead of {wanted}")));
        }
        Ok(Self { kind, schema, array, first, len })
    }

    /// Returns a child. Its rows are counted from the start of this array's buffers.
    fn child(&self, index: usize) -> Result<ArrayView<'a>, ArrowError> {
        ArrayView::new(self.schema.children()?.get(index)?, self.array.children()?.get(index)?)
    }

    /// Returns the values of the lists.
    pub fn values(&self) -> Result<ArrayView<'a>, ArrowError> {
        self.child(0)
    }

    /// Returns the values of lists of a fixed size, from the first row on.
    pub fn fixed_values(&self, size: usize) -> Result<ArrayView<'a>, ArrowError> {
        let values = self.child(0)?;
        values.part(self.first.checked_mul(size), self.len.checked_mul(size))
    }

    /// Returns the same rows of a field.
    pub fn field(&self, index: usize) -> Result<ArrayView<'a>, ArrowError> {
        self.child(index)?.part(Some(self.first), Some(self.len))
    }

    /// Returns some rows, counted from the first. `None` stands for a number that has overflowed.
    pub fn part(&self, start: Option<usize>, len: Option<usize>) -> Result<Self, ArrowError> {
        match start.zip(len) {
            Some((start, len)) if start.checked_add(len).is_some_and(|end| end <= self.len) => {
                Ok(Self { first: self.first + start, len, ..*self })
            }
            _ => Err(malformed(format!("a child of {} rows, fewer than its parent needs", self.len))),
        }
    }

    /// Returns the validity of the rows, or `None` if none is null.
    pub fn nulls(&self) -> Result<Option<Nulls<'a>>, ArrowError> {
        if self.kind == Kind::Number(Number::Null) {
            return Ok(Some(Nulls { bits: None, first: self.first }));
        }
        let count = self.array.null_count()?;
        if count == Some(0) || self.len == 0 {
            return Ok(None);
        }
        if !self.array.has_buffer(0) {
            return match count {
                None => Ok(None),
                Some(count) => Err(malformed(format!("{count} nulls, but no validity bitmap"))),
            };
        }
        let bits = self.array.buffer(0, (self.first + self.len).div_ceil(8))?;
        Ok(Some(Nulls { bits: Some(bits), first: self.first }))
    }

    /// Returns the offsets of the rows' lists in their `values` values, one more than there are rows. They are checked
    /// to ascend within 0..=values.
    pub fn offsets(&self, large: bool, values: usize) -> Result<Offsets<'a>, ArrowError> {
        if self.len == 0 {
            return Ok(Offsets::Large(Cow::Borrowed(&[0]))); // without rows, the buffer may be missing
        }
        let offsets = self.indices(1, large, self.len + 1)?;
        let (mut last, end) = (0, values as i64);
        for i in 0..offsets.len() {
            let offset = offsets.raw(i);
            if offset < last || offset > end {
                return Err(malformed(format!(
                    "list offset {offset} in row {i}, after {last} and with {values} values in all"
                )));
            }
            last = offset;
        }
        Ok(offsets)
    }

    /// Returns the starts and sizes of the rows' list views, unchecked.
    pub fn views(&self, large: bool) -> Result<(Offsets<'a>, Offsets<'a>), ArrowError> {
        Ok((self.indices(1, large, self.len)?, self.indices(2, large, self.len)?))
    }

    fn indices(&self, buffer: usize, large: bool, count: usize) -> Result<Offsets<'a>, ArrowError> {
        Ok(if large { Offsets::Large(self.rows(buffer, count)?) } else { Offsets::Small(self.rows(buffer, count)?) })
    }

    fn rows<T: AnyBitPattern>(&self, buffer: usize, count: usize) -> Result<Cow<'a, [T]>, ArrowError> {
        if count == 0 {
            return Ok(Cow::Borrowed(&[])); // without rows, the buffer may be missing
        }
        Ok(match self.array.buffer(buffer, self.first + count)? {
            Cow::Borrowed(numbers) => Cow::Borrowed(&numbers[self.first..]),
            Cow::Owned(mut numbers) => {
                numbers.drain(..self.first);
                Cow::Owned(numbers)
            }
        })
    }

    /// Returns the rows' numbers.
    pub fn numbers(&self, number: Number) -> Result<Numbers<'a>, ArrowError> {
        let count = self.len;
        Ok(match number {
            Number::F16 => Numbers::F16(self.rows(1, count)?),
            Number::F32 => Numbers::F32(self.rows(1, count)?),
            Number::F64 => Numbers::F64(self.rows(1, count)?),
            Number::I8 => Numbers::I8(self.rows(1, count)?),
            Number::U8 => Numbers::U8(self.rows(1, count)?),
            Number::I16 => Numbers::I16(self.rows(1, count)?),
            Number::U16 => Numbers::U16(self.rows(1, count)?),
            Number::I32 => Numbers::I32(self.rows(1, count)?),
            Number::U32 => Numbers::U32(self.rows(1, count)?),
            Number::I64 => Numbers::I64(self.rows(1, count)?),
            Number::U64 => Numbers::U64(self.rows(1, count)?),
            Number::Bool => Numbers::U8(self.flags()?),
            Number::Decimal { bytes: 4, scale } => self.decimals(|integer: i32| to_f64(integer.into(), scale))?,
            Number::Decimal { bytes: 8, scale } => self.decimals(|integer: i64| to_f64(integer.into(), scale))?,
            Number::Decimal { bytes: 16, scale } => self.decimals(|integer: i128| to_f64(integer, scale))?,
            Number::Decimal { scale, .. } => self.decimals(|mut integer: Wide| {
                if cfg!(target_endian = "big") {
                    integer.reverse();
                }
                wide_to_f64(integer, scale)
            })?,
            Number::Null => Numbers::Null,
        })
    }

    /// Returns one bit for each row as 0 or 1.
    fn flags(&self) -> Result<Cow<'a, [u8]>, ArrowError> {
        let mut flags = try_with_capacity(self.len)?;
        if self.len > 0 {
            let bits: Cow<'_, [u8]> = self.array.buffer(1, (self.first + self.len).div_ceil(8))?;
            flags.extend((0..self.len).map(|row| u8::from(bit(&bits, self.first + row))));
        }
        Ok(Cow::Owned(flags))
    }

    fn decimals<T: AnyBitPattern>(&self, convert: impl Fn(T) -> f64) -> Result<Numbers<'a>, ArrowError> {
        let mut numbers = try_with_capacity(self.len)?;
        numbers.extend(self.rows(1, self.len)?.iter().map(|&integer| convert(integer)));
        Ok(Numbers::F64(Cow::Owned(numbers)))
    }
}

/// Returns the start and size of the list view of a row, after checking that they are within the `values` values.
pub fn list_view(starts: &Offsets, sizes: &Offsets, row: usize, values: usize) -> Result<(usize, usize), ArrowError> {
    let (start, size) = (starts.raw(row), sizes.raw(row));
    let wrong = || malformed(format!("a list view of {size} values from {start} on in row {row}, of {values} in all"));
    if start < 0 || size < 0 || start.checked_add(size).is_none_or(|end| end > values as i64) {
        return Err(wrong());
    }
    Ok((start as usize, size as usize))
}
