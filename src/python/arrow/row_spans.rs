//! The positions of the sequences of one chunk, and their faults.

use super::array_view::{ArrayView, Numbers, Offsets, list_view};
use super::error::ArrowError;
use super::layout::{Column, Step};
use super::types::{Kind, Number};
use crate::memory::try_alloc::try_with_capacity;

/// How often a fault occurs, and the first row that has it.
#[derive(Clone, Copy, Default)]
pub struct Count {
    pub times: usize,
    pub row: usize,
}

impl Count {
    pub fn add(&mut self, times: usize, row: usize) {
        if self.times == 0 {
            self.row = row;
        }
        self.times += times;
    }
}

/// The properties of a column that are known after some of its chunks.
#[derive(Default)]
pub struct Findings {
    pub null_sequences: Count,
    pub null_steps: Count,
    pub null_values: Count,
    /// The numbers per step, once known.
    pub width: Option<usize>,
    /// The first different width, and its row.
    pub other_width: Option<(usize, usize)>,
    /// Whether both widths are in the same chunk.
    pub same_chunk: bool,
}

/// Contiguous numbers of a chunk, `width` for each step.
pub struct Block<'a> {
    pub numbers: Numbers<'a>,
    pub width: usize,
    /// The offset of each step's numbers; the first offset is that of the first number. `None` if the numbers of all
    /// steps follow each other.
    offsets: Option<Offsets<'a>>,
}

impl Block<'_> {
    /// Returns the position of a step's numbers.
    pub fn start(&self, step: usize) -> usize {
        self.offsets.as_ref().map_or(step * self.width, |offsets| offsets.get(step) - offsets.get(0))
    }
}

/// The rows of a column in a chunk.
pub struct Rows<'a> {
    /// The first step of each row, and its number of steps.
    pub spans: Vec<(usize, usize)>,
    pub blocks: Vec<Block<'a>>,
}

/// Finds the sequences of a column in a chunk whose first row is row `first` of the whole column.
///
/// Faults are recorded in `findings`, and their rows in `bad`; the spans of these rows must not be read.
pub fn scan_chunk<'a>(
    column: &Column,
    array: ArrayView<'a>,
    first: usize,
    findings: &mut Findings,
    bad: &mut [bool],
) -> Result<Rows<'a>, ArrowError> {
    let (mut spans, values) = spans(array)?;
    if let Some(nulls) = array.nulls()? {
        for row in (0..array.len).filter(|&row| nulls.at(row)) {
            findings.null_sequences.add(1, first + row);
            bad[row] = true;
            spans[row].1 = 0;
        }
    }
    // Only the steps that the rows use, which may be a small part of the child.
    let used = spans.iter().filter(|span| span.1 > 0);
    let start = used.clone().map(|span| span.0).min().unwrap_or(0);
    let end = used.map(|span| span.0 + span.1).max().unwrap_or(start);
    for span in &mut spans {
        // The start of a row without steps may be anything.
        span.0 = if span.1 > 0 { span.0 - start } else { 0 };
    }
    // The values of tensors are numbers, not steps.
    let per = if let Kind::Tensor { width, .. } = array.kind { width } else { 1 };
    let steps = values.part(start.checked_mul(per), (end - start).checked_mul(per))?;
    let mut scan = ChunkScan { spans: &mut spans, first, findings, bad };
    let blocks = scan.blocks(&column.step, steps)?;
    Ok(Rows { spans, blocks })
}

/// Returns the first step of each row with the number of its steps, and the array of steps.
fn spans(array: ArrayView<'_>) -> Result<(Vec<(usize, usize)>, ArrayView<'_>), ArrowError> {
    let mut spans = try_with_capacity(array.len)?;
    Ok(match array.kind {
        Kind::Number(_) => {
            spans.resize(array.len, (0, 0)); // all are null
            (spans, array.part(Some(0), Some(0))?)
        }
        Kind::Tensor { steps, width } => {
            let values = array.fixed_values(steps.saturating_mul(width))?;
            spans.extend((0..array.len).map(|row| (row * steps, steps)));
            (spans, values)
        }
        Kind::FixedSizeList(size) => {
            let values = array.fixed_values(size)?;
            spans.extend((0..array.len).map(|row| (row * size, size)));
            (spans, values)
        }
        Kind::ListView { large } => {
            let values = array.values()?;
            let (starts, sizes) = array.views(large)?;
            let nulls = array.nulls()?;
            for row in 0..array.len {
                // The start and size of a null may be anything.
                let null = nulls.as_ref().is_some_and(|nulls| nulls.at(row));
                spans.push(if null { (0, 0) } else { list_view(&starts, &sizes, row, values.len)? });
            }
            (spans, values)
        }
        kind => {
            let values = array.values()?;
            let offsets = array.offsets(kind == Kind::List { large: true }, values.len)?;
            spans.extend((0..array.len).map(|row| (offsets.get(row), offsets.get(row + 1) - offsets.get(row))));
            (spans, values)
        }
    })
}

/// The state of [`scan_chunk`].
struct ChunkScan<'s> {
    spans: &'s mut [(usize, usize)],
    first: usize,
    findings: &'s mut Findings,
    bad: &'s mut [bool],
}

impl ChunkScan<'_> {
    fn blocks<'a>(&mut self, step: &Step, steps: ArrayView<'a>) -> Result<Vec<Block<'a>>, ArrowError> {
        if !matches!(step, Step::Bare(..)) {
            self.null_steps(steps)?;
        }
        match step {
            Step::Null => Ok(vec![]),
            Step::Bare(width, number) => Ok(vec![self.block(steps, *number, *width)?]),
            Step::Fixed(width, number) => Ok(vec![self.block(steps.fixed_values(*width)?, *number, *width)?]),
            Step::Struct(fields) => {
                let field = |(i, (_, number)): (usize, &(String, Number))| self.block(steps.field(i)?, *number, 1);
                fields.iter().enumerate().map(field).collect()
            }
            Step::List { large, number } => {
                let values = steps.values()?;
                let offsets = steps.offsets(*large, values.len)?;
                let (start, end) = (offsets.get(0), offsets.get(steps.len));
                let values = values.part(Some(start), Some(end - start))?;
                let width = self.common_width(&offsets);
                let block = Block { numbers: values.numbers(*number)?, width, offsets: Some(offsets) };
                self.null_values(values, &block)?;
                Ok(vec![block])
            }
        }
    }

    fn block<'a>(&mut self, values: ArrayView<'a>, number: Number, width: usize) -> Result<Block<'a>, ArrowError> {
        let block = Block { numbers: values.numbers(number)?, width, offsets: None };
        self.null_values(values, &block)?;
        Ok(block)
    }

    fn null_steps(&mut self, steps: ArrayView<'_>) -> Result<(), ArrowError> {
        let Some(nulls) = steps.nulls()? else { return Ok(()) };
        for (row, &(start, len)) in self.spans.iter().enumerate() {
            let count = nulls.count(start, len);
            if count > 0 {
                self.findings.null_steps.add(count, self.first + row);
                self.bad[row] = true;
            }
        }
        Ok(())
    }

    fn null_values(&mut self, values: ArrayView<'_>, block: &Block<'_>) -> Result<(), ArrowError> {
        let Some(nulls) = values.nulls()? else { return Ok(()) };
        for (row, &(start, len)) in self.spans.iter().enumerate() {
            // If the steps of a row have several widths, its numbers may be past the end.
            if len == 0 || (self.bad[row] && block.offsets.is_some()) {
                continue;
            }
            let count = nulls.count(block.start(start), len * block.width);
            if count > 0 {
                self.findings.null_values.add(count, self.first + row);
                self.bad[row] = true;
            }
        }
        Ok(())
    }

    /// Returns the common length of all steps, and marks rows with other lengths as bad.
    fn common_width(&mut self, offsets: &Offsets<'_>) -> usize {
        let known = self.findings.width.is_some();
        for (row, &(start, len)) in self.spans.iter().enumerate() {
            if self.bad[row] {
                continue; // null steps have no width
            }
            for step in start..start + len {
                let size = offsets.get(step + 1) - offsets.get(step);
                if size == *self.findings.width.get_or_insert(size) {
                    continue;
                }
                if self.findings.other_width.is_none() {
                    self.findings.other_width = Some((size, self.first + row));
                    self.findings.same_chunk = !known;
                }
                self.bad[row] = true;
                break;
            }
        }
        self.findings.width.unwrap_or(0)
    }
}
