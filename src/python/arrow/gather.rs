//! The numbers of all sequences end to end: used in place if they are contiguous, else converted in one pass.

use std::borrow::Cow;

use super::array_view::Numbers;
use super::row_spans::Block;
use super::scan::Scanned;
use crate::python::arrays::PyReal;
use crate::simd::half::widen;

/// A precision that numbers are converted to.
pub trait Target: PyReal + From<f32> {
    /// Returns the numbers without a copy, if they are of this precision and in place.
    fn borrowed<'s>(numbers: &'s Numbers<'_>) -> Option<&'s [Self]>;
    fn from_i64(number: i64) -> Self;
    fn from_u64(number: u64) -> Self;
}

macro_rules! target {
    ($kind:ty, $variant:ident) => {
        impl Target for $kind {
            fn borrowed<'s>(numbers: &'s Numbers<'_>) -> Option<&'s [Self]> {
                if let Numbers::$variant(Cow::Borrowed(numbers)) = numbers { Some(numbers) } else { None }
            }
            fn from_i64(number: i64) -> Self {
                number as $kind
            }
            fn from_u64(number: u64) -> Self {
                number as $kind
            }
        }
    };
}
target!(f32, F32);
target!(f64, F64);

/// Returns all numbers `[S, F]` in place, and their chunk, if they are end to end in one chunk.
pub fn in_place<'s, T: Target>(scanned: &'s Scanned<'_>, steps: usize) -> Option<(usize, &'s [T])> {
    let mut first = 0;
    let mut place: Option<(usize, usize, &[T], usize)> = None;
    let mut next = 0;
    for (index, rows) in scanned.chunks.iter().enumerate() {
        let [rows] = &rows[..] else { return None };
        let [block] = &rows.blocks[..] else { return None };
        for (row, &(step, _)) in rows.spans.iter().enumerate() {
            let length = scanned.lengths[first + row];
            if length == 0 {
                continue;
            }
            let start = block.start(step);
            match place {
                None => place = Some((index, start, T::borrowed(&block.numbers)?, block.width)),
                Some((chunk, ..)) if chunk != index || start != next => return None,
                Some(_) => {}
            }
            next = start + length * block.width;
        }
        first += rows.spans.len();
    }
    let (chunk, start, numbers, width) = place?;
    Some((chunk, &numbers[start..start + steps * width]))
}

/// A number outside the range of the precision, and its row.
pub type TooLarge = Option<(f64, usize)>;

/// Writes all numbers to `out` `[S, F]`. Numbers that are too large become infinite, and the first of them is returned.
pub fn gather<T: Target>(scanned: &Scanned<'_>, out: &mut [T]) -> TooLarge {
    let features: usize = scanned.widths.iter().sum();
    let mut too_large = None;
    let (mut first, mut step) = (0, 0);
    for columns in &scanned.chunks {
        let lengths = &scanned.lengths[first..first + columns[0].spans.len()];
        let steps: usize = lengths.iter().sum();
        let out = &mut out[step * features..(step + steps) * features];
        let mut feature = 0;
        for rows in columns {
            let mut copy = Copy { spans: &rows.spans, lengths, first, features, feature, out };
            for block in &rows.blocks {
                copy.block(block, &mut too_large);
                copy.feature += block.width;
            }
            feature = copy.feature;
        }
        first += lengths.len();
        step += steps;
    }
    too_large
}

/// The conversion of a column of a chunk to `out`, the chunk's rows of `features` numbers.
struct Copy<'s, T> {
    spans: &'s [(usize, usize)],
    lengths: &'s [usize],
    first: usize,
    features: usize,
    feature: usize,
    out: &'s mut [T],
}

impl<T: Target> Copy<'_, T> {
    fn block(&mut self, block: &Block<'_>, too_large: &mut TooLarge) {
        match &block.numbers {
            Numbers::F16(numbers) => self.convert_rows(block, numbers, |from, to| widen(from, to)),
            Numbers::F32(numbers) => self.convert(block, numbers, T::from),
            Numbers::F64(numbers) => {
                self.convert(block, numbers, T::from_f64);
                if size_of::<T>() < size_of::<f64>() && too_large.is_none() {
                    *too_large = self.too_large(block, numbers);
                }
            }
            Numbers::I8(numbers) => self.convert(block, numbers, |number| T::from_i64(number.into())),
            Numbers::U8(numbers) => self.convert(block, numbers, |number| T::from_i64(number.into())),
            Numbers::I16(numbers) => self.convert(block, numbers, |number| T::from_i64(number.into())),
            Numbers::U16(numbers) => self.convert(block, numbers, |number| T::from_i64(number.into())),
            Numbers::I32(numbers) => self.convert(block, numbers, |number| T::from_i64(number.into())),
            Numbers::U32(numbers) => self.convert(block, numbers, |number| T::from_i64(number.into())),
            Numbers::I64(numbers) => self.convert(block, numbers, T::from_i64),
            Numbers::U64(numbers) => self.convert(block, numbers, T::from_u64),
            Numbers::Null => {} // all rows are empty or bad
        }
    }

    fn convert<S: std::marker::Copy>(&mut self, block: &Block<'_>, numbers: &[S], mut convert: impl FnMut(S) -> T) {
        self.convert_rows(block, numbers, |from, to| {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = convert(from));
        });
    }

    fn convert_rows<S>(&mut self, block: &Block<'_>, numbers: &[S], mut convert: impl FnMut(&[S], &mut [T])) {
        let (features, width) = (self.features, block.width);
        let mut at = 0;
        for (&(step, _), &length) in self.spans.iter().zip(self.lengths) {
            if length == 0 {
                continue;
            }
            let from = &numbers[block.start(step)..][..length * width];
            let to = &mut self.out[at * features..(at + length) * features];
            if width == features {
                convert(from, to);
            } else {
                for (to, from) in to.chunks_exact_mut(features).zip(from.chunks_exact(width)) {
                    convert(from, &mut to[self.feature..][..width]);
                }
            }
            at += length;
        }
    }

    /// Returns the first number outside the range of float32.
    fn too_large(&self, block: &Block<'_>, numbers: &[f64]) -> TooLarge {
        let rounds_up = |&number: &f64| number.abs() >= FLOAT32_END && number.is_finite();
        for (row, (&(step, _), &length)) in self.spans.iter().zip(self.lengths).enumerate() {
            if length == 0 {
                continue;
            }
            let numbers = &numbers[block.start(step)..][..length * block.width];
            // Test a whole row at once, since most have no such number.
            if numbers.iter().fold(false, |any, number| any | rounds_up(number)) {
                return numbers.iter().find(|number| rounds_up(number)).map(|&number| (number, self.first + row));
            }
        }
        None
    }
}

/// The smallest float64 that rounds to infinity in float32: half a step above its largest number, 2^128 - 2^103.
const FLOAT32_END: f64 = f32::MAX as f64 + (1_u128 << 103) as f64;
