//! Where the sequences of a batch lie.

use std::cmp::Reverse;
use std::ops::Range;

use crate::error::Error;
use crate::memory::try_alloc::{try_collect, try_from_fn, try_with_capacity};
use crate::shape::expect::expect_shape;

/// Where the sequences of a batch lie in an array of rows (one row a step), padded or ragged.
///
/// Their steps are also numbered without gaps, sequence after sequence: the compact rows that the tape uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    starts: Vec<usize>,
    lengths: Vec<usize>,
    rows: usize,
    compact: Vec<usize>,
    order: Vec<usize>,
    origins: Vec<usize>,
}

/// Steps of a sequence that are summed together; see [`Sequences::blocks`].
pub const SPAN: usize = 128;

impl Sequences {
    /// `batch` sequences padded to `time` steps, of which `lengths` (default: all) count.
    ///
    /// # Errors
    /// `lengths` has another size than the batch, or a length is not in 0..=time.
    pub fn padded(batch: usize, time: usize, lengths: Option<&[i64]>) -> Result<Self, Error> {
        let lengths = match lengths {
            None => try_from_fn(batch, |_| time)?,
            Some(lengths) => {
                expect_shape("lengths", &[batch], &[lengths.len()])?;
                let mut checked = try_with_capacity(batch)?;
                for (n, &length) in lengths.iter().enumerate() {
                    let fits = usize::try_from(length).ok().filter(|&length| length <= time);
                    checked.push(fits.ok_or_else(|| {
                        Error::value("lengths", format!("values in 0..={time}"), format!("{length} at position {n}"))
                    })?);
                }
                checked
            }
        };
        Self::new(try_from_fn(batch, |n| n * time)?, lengths, batch * time)
    }

    /// Sequence n takes rows `offsets[n]..offsets[n + 1]` of `rows`.
    ///
    /// # Errors
    /// `offsets` is empty, does not start at 0, descends, or does not end at `rows`.
    pub fn ragged(offsets: &[i64], rows: usize) -> Result<Self, Error> {
        let refuse = |expected: &str, got: String| Err(Error::value("offsets", expected, got));
        let Some((&first, &last)) = offsets.first().zip(offsets.last()) else {
            return refuse("at least one number", "none".into());
        };
        if first != 0 {
            return refuse("0 first", first.to_string());
        }
        if let Some(n) = offsets.windows(2).position(|pair| pair[1] < pair[0]) {
            return refuse(
                "ascending values",
                format!("{} after {} at position {}", offsets[n + 1], offsets[n], n + 1),
            );
        }
        if usize::try_from(last) != Ok(rows) {
            return refuse(&format!("{rows} (the number of rows of values) last"), last.to_string());
        }
        let offsets: Vec<usize> = offsets.iter().map(|&offset| offset.unsigned_abs() as usize).collect();
        let lengths = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Self::new(offsets[..offsets.len() - 1].to_vec(), lengths, rows)
    }

    fn new(starts: Vec<usize>, lengths: Vec<usize>, rows: usize) -> Result<Self, Error> {
        let mut sum = 0;
        let compact = try_from_fn(lengths.len() + 1, |n| {
            sum += if n == 0 { 0 } else { lengths[n - 1] };
            sum
        })?;
        let mut order = try_from_fn(lengths.len(), |n| n)?;
        order.sort_unstable_by_key(|&n| (Reverse(lengths[n]), n)); // takes no memory, unlike a stable sort
        let origins = try_collect(compact.len(), compact.iter().copied())?;
        Ok(Self { starts, lengths, rows, compact, order, origins })
    }

    /// Number of sequences, N.
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Rows of the arrays, padding included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Steps of all sequences, padding not included.
    pub fn steps(&self) -> usize {
        self.compact[self.count()]
    }

    /// Steps of sequence n.
    pub fn length(&self, n: usize) -> usize {
        self.lengths[n]
    }

    /// The rows of sequence n.
    pub fn range(&self, n: usize) -> Range<usize> {
        self.starts[n]..self.starts[n] + self.lengths[n]
    }

    /// The compact rows of sequence n.
    pub fn compact_range(&self, n: usize) -> Range<usize> {
        self.compact[n]..self.compact[n + 1]
    }

    /// The steps in the order in which sums over them are taken, as blocks of at most `most` (sequence, step): spans of
    /// [`SPAN`] steps from the last to the first, in each sequence after sequence. So the sums can be continued by an
    /// earlier window of the batch.
    pub fn blocks(&self, most: usize) -> impl Iterator<Item = Vec<(usize, usize)>> {
        let longest = self.order.first().map_or(0, |&n| self.lengths[n]);
        (0..longest.div_ceil(SPAN)).rev().flat_map(move |span| {
            let first = span * SPAN;
            let steps = move |n: usize| (first..self.lengths[n].min(first + SPAN)).map(move |t| (n, t));
            let mut rows = (0..self.count()).flat_map(steps);
            std::iter::from_fn(move || {
                let block: Vec<_> = rows.by_ref().take(most).collect();
                (!block.is_empty()).then_some(block)
            })
        })
    }

    /// The steps of a span of all sequences that are in `span`, in the same places; `span` is counted from each
    /// sequence's start.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn window(&self, span: Range<usize>) -> Result<Self, Error> {
        let starts = try_from_fn(self.count(), |n| self.starts[n] + span.start.min(self.lengths[n]))?;
        let lengths = try_from_fn(self.count(), |n| self.lengths[n].min(span.end).saturating_sub(span.start))?;
        let origins = try_from_fn(self.count(), |n| self.origins[n] + span.start.min(self.lengths[n]))?;
        Ok(Self { origins, ..Self::new(starts, lengths, self.rows)? })
    }

    /// The same sequences in an array of their own, without padding.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn compacted(&self) -> Result<Self, Error> {
        let starts = try_from_fn(self.count(), |n| self.compact[n])?;
        Ok(Self { origins: self.origins.clone(), ..Self::new(starts, self.lengths.clone(), self.steps())? })
    }

    /// The compact row of a sequence's first step in the batch that this is a window of, or in itself.
    pub fn origin(&self, n: usize) -> usize {
        self.origins[n]
    }

    /// The sequences, longest first; equal ones in the order of the batch.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The same, when nothing else is needed any more.
    pub fn into_order(self) -> Vec<usize> {
        self.order
    }

    /// Each sequence's part of an array of rows of `width` numbers.
    pub fn split<'a, T>(&self, data: &'a [T], width: usize) -> Vec<&'a [T]> {
        (0..self.count()).map(|n| &data[self.range(n).start * width..][..self.lengths[n] * width]).collect()
    }

    /// Each sequence's part of an array of rows of `width` numbers, to be written.
    pub fn split_mut<'a, T>(&self, data: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        split_ranges(data, width, (0..self.count()).map(|n| self.range(n)))
    }

    /// Each sequence's part of an array of compact rows of `width` numbers.
    pub fn split_compact<'a, T>(&self, data: &'a [T], width: usize) -> Vec<&'a [T]> {
        (0..self.count()).map(|n| &data[self.compact[n] * width..][..self.lengths[n] * width]).collect()
    }

    /// Each sequence's part of an array of compact rows of `width` numbers, to be written.
    pub fn split_compact_mut<'a, T>(&self, data: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        split_ranges(data, width, (0..self.count()).map(|n| self.compact_range(n)))
    }
}

/// Disjoint ascending ranges of rows.
fn split_ranges<T>(mut data: &mut [T], width: usize, ranges: impl Iterator<Item = Range<usize>>) -> Vec<&mut [T]> {
    let mut passed = 0;
    ranges
        .map(|range| {
            let (_, rest) = std::mem::take(&mut data).split_at_mut((range.start - passed) * width);
            let (part, rest) = rest.split_at_mut(range.len() * width);
            (data, passed) = (rest, range.end);
            part
        })
        .collect()
}
