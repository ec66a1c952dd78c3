//! Where the sequences of one chunk lie, and what is wrong with them.

use super::array_view::{Node, Numbers, Offsets, view};
use super::error::{Refused, reserved};
use super::layout::{Column, Step};
use super::types::{Kind, Number};

/// Something that must not be: how often it is, and in which row first.
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

/// What is known of a column, chunk after chunk.
#[derive(Default)]
pub struct Findings {
    pub null_sequences: Count,
    pub null_steps: Count,
    pub null_values: Count,
    /// Numbers per step, once that is known.
    pub width: Option<usize>,
    /// The first other one that came, and in which row.
    pub other_width: Option<(usize, usize)>,
    /// Whether both are of the same chunk.
    pub same_chunk: bool,
}

/// Numbers of a chunk that belong together: `width` for each step.
pub struct Block<'a> {
    pub numbers: Numbers<'a>,
    pub width: usize,
    /// Where each step's numbers start, by offsets of which the first is that of the first number; one after the other
    /// if there is nothing.
    offsets: Option<Offsets<'a>>,
}

impl Block<'_> {
    /// Where the numbers of a step start.
    pub fn start(&self, step: usize) -> usize {
        self.offsets.as_ref().map_or(step * self.width, |offsets| offsets.get(step) - offsets.get(0))
    }
}

/// A column's part in a chunk.
pub struct Rows<'a> {
    /// The first step of each row, and how many there are.
    pub spans: Vec<(usize, usize)>,
    pub blocks: Vec<Block<'a>>,
}

/// Finds the sequences of a column in a chunk whose first row is row `first` of all.
///
/// What is wrong goes into `findings`, and its row into `bad`; of these rows nothing may be read.
pub fn find<'a>(
    column: &Column,
    node: Node<'a>,
    first: usize,
    findings: &mut Findings,
    bad: &mut [bool],
) -> Result<Rows<'a>, Refused> {
    let (mut spans, values) = spans(node)?;
    if let Some(nulls) = node.nulls()? {
        for row in (0..node.len).filter(|&row| nulls.at(row)) {
            findings.null_sequences.add(1, first + row);
            bad[row] = true;
            spans[row].1 = 0;
        }
    }
    // Only what the rows use, which may be a small part of the whole.
    let used = spans.iter().filter(|span| span.1 > 0);
    let start = used.clone().map(|span| span.0).min().unwrap_or(0);
    let end = used.map(|span| span.0 + span.1).max().unwrap_or(start);
    for span in &mut spans {
        // A row without steps may say that they start anywhere.
        span.0 = if span.1 > 0 { span.0 - start } else { 0 };
    }
    // Of tensors the values are the numbers.
    let per = if let Kind::Tensor { width, .. } = node.kind { width } else { 1 };
    let steps = values.part(start.checked_mul(per), (end - start).checked_mul(per))?;
    let mut scan = Scan { spans: &mut spans, first, findings, bad };
    let blocks = scan.blocks(&column.step, steps)?;
    Ok(Rows { spans, blocks })
}

/// The first step of each row and their number; and the steps.
fn spans(node: Node<'_>) -> Result<(Vec<(usize, usize)>, Node<'_>), Refused> {
    let mut spans = reserved(node.len)?;
    Ok(match node.kind {
        Kind::Number(_) => {
            spans.resize(node.len, (0, 0)); // all are null
            (spans, node.part(Some(0), Some(0))?)
        }
        Kind::Tensor { steps, width } => {
            let values = node.fixed_values(steps.saturating_mul(width))?;
            spans.extend((0..node.len).map(|row| (row * steps, steps)));
            (spans, values)
        }
        Kind::FixedSizeList(size) => {
            let values = node.fixed_values(size)?;
            spans.extend((0..node.len).map(|row| (row * size, size)));
            (spans, values)
        }
        Kind::ListView { large } => {
            let values = node.values()?;
            let (starts, sizes) = node.views(large)?;
            let nulls = node.nulls()?;
            for row in 0..node.len {
                // Those of a null may be anything.
                let null = nulls.as_ref().is_some_and(|nulls| nulls.at(row));
                spans.push(if null { (0, 0) } else { view(&starts, &sizes, row, values.len)? });
            }
            (spans, values)
        }
        kind => {
            let values = node.values()?;
            let offsets = node.offsets(kind == Kind::List { large: true }, values.len)?;
            spans.extend((0..node.len).map(|row| (offsets.get(row), offsets.get(row + 1) - offsets.get(row))));
            (spans, values)
        }
    })
}

/// A column's rows in a chunk, while what they hold is looked at.
struct Scan<'s> {
    spans: &'s mut [(usize, usize)],
    first: usize,
    findings: &'s mut Findings,
    bad: &'s mut [bool],
}

impl Scan<'_> {
    fn blocks<'a>(&mut self, step: &Step, steps: Node<'a>) -> Result<Vec<Block<'a>>, Refused> {
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

    fn block<'a>(&mut self, values: Node<'a>, number: Number, width: usize) -> Result<Block<'a>, Refused> {
        let block = Block { numbers: values.numbers(number)?, width, offsets: None };
        self.null_values(values, &block)?;
        Ok(block)
    }

    fn null_steps(&mut self, steps: Node<'_>) -> Result<(), Refused> {
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

    fn null_values(&mut self, values: Node<'_>, block: &Block<'_>) -> Result<(), Refused> {
        let Some(nulls) = values.nulls()? else { return Ok(()) };
        for (row, &(start, len)) in self.spans.iter().enumerate() {
            // In a row whose steps are of several widths, some may lie past the end.
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

    /// The one length of all steps; rows with others are bad.
    fn common_width(&mut self, offsets: &Offsets<'_>) -> usize {
        let known = self.findings.width.is_some();
        for (row, &(start, len)) in self.spans.iter().enumerate() {
            if self.bad[row] {
                continue; // null steps have no width
            }
            for step in start..start + len {
                let came = offsets.get(step + 1) - offsets.get(step);
                if came == *self.findings.width.get_or_insert(came) {
                    continue;
                }
                if self.findings.other_width.is_none() {
                    self.findings.other_width = Some((came, self.first + row));
                    self.findings.same_chunk = !known;
                }
                self.bad[row] = true;
                break;
            }
        }
        self.findings.width.unwrap_or(0)
    }
}
