//! The positions of a batch's sequences in an array of steps.

use std::cmp::Reverse;
use std::ops::Range;

use crate::error::Error;
use crate::memory::try_alloc::{try_collect, try_from_fn, try_with_capacity};
use crate::shape::expect::expect_shape;

/// The positions of a batch's sequences in an array with one row per step, padded or ragged.
///
/// Their steps are also numbered without gaps, sequence after sequence: these are the compact rows that the tape uses.
///
/// ```
/// use rgru::Sequences;
///
/// let padded = Sequences::padded(2, 5, Some(&[5, 2]))?; // rows 0..5 and 5..7 of 10
/// assert_eq!((padded.count(), padded.rows(), padded.steps()), (2, 10, 7));
/// let ragged = Sequences::ragged(&[0, 5, 7], 7)?; // the same sequences without padding
/// assert_eq!((ragged.count(), ragged.rows(), ragged.steps()), (2, 7, 7));
/// # Ok::<(), rgru::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    starts: Vec<usize>,
    lengths: Vec<usize>,
    rows: usize,
    compact: Vec<usize>,
    order: Vec<usize>,
    origins: Vec<usize>,
}

/// The number of steps of a sequence that are summed together; see [`Sequences::blocks`].
pub const SPAN: usize = 128;

impl Sequences {
    /// Describes `batch` sequences padded to `time` steps each, of which the first `lengths[n]` belong to sequence n
    /// (`None`: all).
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 5, Some(&[5, 2]))?;
    /// assert_eq!((sequences.range(0), sequences.range(1)), (0..5, 5..7)); // of 10 rows
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if there are not `batch` lengths, or a length is not in 0..=time; [`Error::Memory`].
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

    /// Describes sequences without padding: sequence n is rows `offsets[n]..offsets[n + 1]` of an array of `rows` rows.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::ragged(&[0, 5, 7], 7)?;
    /// assert_eq!((sequences.range(0), sequences.range(1)), (0..5, 5..7)); // of 7 rows
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if `offsets` is empty, does not start at 0, descends, or does not end at `rows`;
    /// [`Error::Memory`].
    pub fn ragged(offsets: &[i64], rows: usize) -> Result<Self, Error> {
        let fail = |expected: &str, got: String| Err(Error::value("offsets", expected, got));
        let Some((&first, &last)) = offsets.first().zip(offsets.last()) else {
            return fail("at least one number", "none".into());
        };
        if first != 0 {
            return fail("0 first", first.to_string());
        }
        if let Some(n) = offsets.windows(2).position(|pair| pair[1] < pair[0]) {
            return fail("ascending values", format!("{} after {} at position {}", offsets[n + 1], offsets[n], n + 1));
        }
        if usize::try_from(last) != Ok(rows) {
            return fail(&format!("{rows} (the number of rows of values) last"), last.to_string());
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
        order.sort_unstable_by_key(|&n| (Reverse(lengths[n]), n)); // a stable sort would allocate
        let origins = try_collect(compact.len(), compact.iter().copied())?;
        Ok(Self { starts, lengths, rows, compact, order, origins })
    }

    /// Returns the number of sequences, N.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// # let sequences = Sequences::ragged(&[0, 2, 5], 5)?; // of 2 and 3 steps
    /// assert_eq!(sequences.count(), 2);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Returns the number of rows of the arrays, padding included.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// assert_eq!(sequences.rows(), 6);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of steps of all sequences, padding not included.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// assert_eq!(sequences.steps(), 5);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn steps(&self) -> usize {
        self.compact[self.count()]
    }

    /// Returns the number of steps of sequence n.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// # let sequences = Sequences::ragged(&[0, 2, 5], 5)?; // of 2 and 3 steps
    /// assert_eq!((sequences.length(0), sequences.length(1)), (2, 3));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn length(&self, n: usize) -> usize {
        self.lengths[n]
    }

    /// Returns the rows of sequence n.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// assert_eq!((sequences.range(0), sequences.range(1)), (0..2, 3..6));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn range(&self, n: usize) -> Range<usize> {
        self.starts[n]..self.starts[n] + self.lengths[n]
    }

    /// Returns the compact rows of sequence n.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// assert_eq!((sequences.compact_range(0), sequences.compact_range(1)), (0..2, 2..5));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn compact_range(&self, n: usize) -> Range<usize> {
        self.compact[n]..self.compact[n + 1]
    }

    /// Returns the steps in the order in which they are summed, in blocks of at most `most` pairs (sequence, step):
    /// spans of [`SPAN`] steps from the last to the first, and sequence after sequence in each span. An earlier window
    /// of the batch can therefore continue the sums.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// # let sequences = Sequences::ragged(&[0, 2, 5], 5)?; // of 2 and 3 steps
    /// let blocks: Vec<_> = sequences.blocks(4).collect();
    /// assert_eq!(blocks, [vec![(0, 0), (0, 1), (1, 0), (1, 1)], vec![(1, 2)]]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn blocks(&self, most: usize) -> impl Iterator<Item = Vec<(usize, usize)>> {
        let longest = self.order.first().map_or(0, |&n| self.lengths[n]);
        (0..longest.div_ceil(SPAN)).rev().flat_map(move |span| {
            let first = span * SPAN;
            let steps = move |n: usize| (first..self.lengths[n].min(first + SPAN)).map(move |t| (n, t));
            let mut rows = (0..self.count()).flat_map(steps);
            std::iter::from_fn(move || {
                let mut block = Vec::with_capacity(most);
                block.extend(rows.by_ref().take(most));
                (!block.is_empty()).then_some(block)
            })
        })
    }

    /// Restricts each sequence to its steps in `span`, which are counted from its first one. The rows stay the same.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// # let sequences = Sequences::ragged(&[0, 2, 5], 5)?; // of 2 and 3 steps
    /// let later = sequences.window(1..9)?; // without the first steps
    /// assert_eq!((later.range(0), later.range(1)), (1..2, 3..5));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn window(&self, span: Range<usize>) -> Result<Self, Error> {
        let starts = try_from_fn(self.count(), |n| self.starts[n] + span.start.min(self.lengths[n]))?;
        let lengths = try_from_fn(self.count(), |n| self.lengths[n].min(span.end).saturating_sub(span.start))?;
        let origins = try_from_fn(self.count(), |n| self.origins[n] + span.start.min(self.lengths[n]))?;
        Ok(Self { origins, ..Self::new(starts, lengths, self.rows)? })
    }

    /// Returns the positions of the same sequences in an array of the compact rows.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// assert_eq!(sequences.compacted()?, Sequences::ragged(&[0, 2, 5], 5)?);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn compacted(&self) -> Result<Self, Error> {
        let starts = try_from_fn(self.count(), |n| self.compact[n])?;
        Ok(Self { origins: self.origins.clone(), ..Self::new(starts, self.lengths.clone(), self.steps())? })
    }

    /// Returns the compact row of a sequence's first step, counted in the batch that this is a window of, if it is one.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// # let sequences = Sequences::ragged(&[0, 2, 5], 5)?; // of 2 and 3 steps
    /// assert_eq!((sequences.origin(1), sequences.window(1..9)?.origin(1)), (2, 3));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn origin(&self, n: usize) -> usize {
        self.origins[n]
    }

    /// Returns the sequences, longest first, those of equal length in the order of the batch.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// # let sequences = Sequences::ragged(&[0, 2, 5], 5)?; // of 2 and 3 steps
    /// assert_eq!(sequences.order(), [1, 0]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Returns [`Sequences::order`] by value.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// # let sequences = Sequences::ragged(&[0, 2, 5], 5)?; // of 2 and 3 steps
    /// assert_eq!(sequences.into_order(), [1, 0]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn into_order(self) -> Vec<usize> {
        self.order
    }

    /// Returns each sequence's part of an array of rows of `width` numbers.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// assert_eq!(sequences.split(&[0, 1, 2, 3, 4, 5], 1), [&[0, 1][..], &[3, 4, 5]]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn split<'a, T>(&self, data: &'a [T], width: usize) -> Vec<&'a [T]> {
        (0..self.count()).map(|n| &data[self.range(n).start * width..][..self.lengths[n] * width]).collect()
    }

    /// Returns each sequence's part of an array of rows of `width` numbers, for writing.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// let mut x = [0; 6];
    /// sequences.split_mut(&mut x, 1)[1].fill(7);
    /// assert_eq!(x, [0, 0, 0, 7, 7, 7]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn split_mut<'a, T>(&self, data: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        split_ranges(data, width, (0..self.count()).map(|n| self.range(n)))
    }

    /// Returns each sequence's part of an array of compact rows of `width` numbers.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// assert_eq!(sequences.split_compact(&[0, 1, 2, 3, 4], 1), [&[0, 1][..], &[2, 3, 4]]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn split_compact<'a, T>(&self, data: &'a [T], width: usize) -> Vec<&'a [T]> {
        (0..self.count()).map(|n| &data[self.compact[n] * width..][..self.lengths[n] * width]).collect()
    }

    /// Returns each sequence's part of an array of compact rows of `width` numbers, for writing.
    ///
    /// ```
    /// # use rgru::Sequences;
    /// let sequences = Sequences::padded(2, 3, Some(&[2, 3]))?;
    /// let mut x = [0; 5];
    /// sequences.split_compact_mut(&mut x, 1)[1].fill(7);
    /// assert_eq!(x, [0, 0, 7, 7, 7]);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn split_compact_mut<'a, T>(&self, data: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        split_ranges(data, width, (0..self.count()).map(|n| self.compact_range(n)))
    }
}

/// Splits an array into disjoint ascending ranges of rows.
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
