//! Scans all chunks of a column: finds its sequences, and checks that they can be used.

use super::array_view::ArrayView;
use super::error::{ArrowError, malformed};
use super::ffi::{Array, Schema};
use super::layout::Column;
use super::row_spans::{Count, Findings, Rows, scan_chunk};
use crate::memory::try_alloc::try_with_capacity;

/// The options of [`scan`].
#[derive(Clone, Copy)]
pub struct ScanOptions {
    /// The numbers per step of all columns together, for data that do not determine it. With `null_on_error`, also the
    /// width that steps must have.
    pub width: Option<usize>,
    /// The number of the first row, for messages.
    pub first: usize,
    /// Whether rows that are not valid sequences are marked and left empty, instead of being an error.
    pub null_on_error: bool,
}

/// The sequences of a column.
pub struct Scanned<'a> {
    /// By chunk, the rows of each column.
    pub chunks: Vec<Vec<Rows<'a>>>,
    /// The number of steps of each row.
    pub lengths: Vec<usize>,
    /// Whether each row is not a valid sequence; the lengths of such rows are 0.
    pub bad: Vec<bool>,
    /// The numbers per step of each column.
    pub widths: Vec<usize>,
}

/// Scans all chunks.
pub fn scan<'a>(
    schema: &'a Schema,
    columns: &[Column],
    chunks: &'a [Array],
    options: ScanOptions,
) -> Result<Scanned<'a>, ArrowError> {
    let roots = chunks.iter().map(|array| ArrayView::new(schema, array)).collect::<Result<Vec<_>, _>>()?;
    let count = roots.iter().try_fold(0_usize, |sum, root| sum.checked_add(root.len));
    let count = count.ok_or_else(|| malformed("more rows than fit into memory"))?;
    let (mut lengths, mut bad) = (try_with_capacity(count)?, try_with_capacity(count)?);
    let mut findings: Vec<Findings> = columns.iter().map(|_| Findings::default()).collect();
    if let ([only], true) = (&mut findings[..], options.null_on_error) {
        only.width = options.width;
    }
    let (mut null_rows, mut uneven, mut found) = (Count::default(), None, try_with_capacity(chunks.len())?);
    for root in &roots {
        let first = lengths.len();
        bad.resize(first + root.len, false);
        let bad = &mut bad[first..];
        if let (Some(_), Some(nulls)) = (&columns[0].part, root.nulls()?) {
            for row in (0..root.len).filter(|&row| nulls.at(row)) {
                null_rows.add(1, first + row);
                bad[row] = true;
            }
        }
        let rows = |(column, findings): (&Column, &mut Findings)| {
            let array = if column.part.is_some() { root.field(column.index)? } else { *root };
            scan_chunk(column, array, first, findings, bad)
        };
        let rows = columns.iter().zip(&mut findings).map(rows).collect::<Result<Vec<_>, _>>()?;
        for row in 0..root.len {
            let length = rows[0].spans[row].1;
            if let Some(other) = rows.iter().position(|rows| rows.spans[row].1 != length).filter(|_| !bad[row]) {
                bad[row] = true;
                uneven.get_or_insert((first + row, length, other, rows[other].spans[row].1));
            }
            lengths.push(if bad[row] { 0 } else { length });
        }
        found.push(rows);
    }
    if !options.null_on_error {
        null_rows.reject("sequence", None, options.first)?;
        columns.iter().zip(&findings).try_for_each(|(column, findings)| reject(column, findings, options.first))?;
        if let Some((row, length, other, other_length)) = uneven {
            let (one, other) = (columns[0].part.as_deref().unwrap_or(""), columns[other].part.as_deref().unwrap_or(""));
            return Err(ArrowError::Value(format!(
                "expected the same number of steps in all columns of a row, got {length} in {one} and {other_length} in {other}, row {} \
                 (counted from 0)",
                options.first + row
            )));
        }
    }
    let known = columns.iter().zip(&findings).map(|(column, findings)| column.step.width().or(findings.width));
    let sum = known.clone().fold(0_usize, |sum, width| sum.saturating_add(width.unwrap_or(1)));
    // A column without a known width has no steps either. The first such column gets the rest of the whole width,
    // others 1.
    let mut left = options.width.map_or(1, |whole| whole.saturating_sub(sum).saturating_add(1));
    let width = |(column, known): (&Column, Option<usize>)| {
        let width = known.unwrap_or_else(|| std::mem::replace(&mut left, 1));
        if width == 0 {
            return Err(column.reject("expected at least one number per step, got steps of width 0".into()));
        }
        Ok(width)
    };
    let widths = columns.iter().zip(known).map(width).collect::<Result<Vec<_>, _>>()?;
    Ok(Scanned { chunks: found, lengths, bad, widths })
}

/// Returns an error for the first fault that was found in a column.
fn reject(column: &Column, findings: &Findings, first: usize) -> Result<(), ArrowError> {
    findings.null_sequences.reject("sequence", Some(column), first)?;
    findings.null_steps.reject("step", Some(column), first)?;
    findings.null_values.reject("value", Some(column), first)?;
    let (Some(width), Some((other, row))) = (findings.width, findings.other_width) else { return Ok(()) };
    if width == 0 {
        return Ok(()); // an error elsewhere
    }
    let (one, two) = if findings.same_chunk { (width, other) } else { (width.min(other), width.max(other)) };
    Err(column.reject(format!(
        "expected steps of one width, got {one} and {two} numbers; the width first differs in row {} (counted from 0)",
        first + row
    )))
}

impl Count {
    fn reject(self, what: &str, column: Option<&Column>, first: usize) -> Result<(), ArrowError> {
        if self.times == 0 {
            return Ok(());
        }
        let (times, row) = (self.times, first + self.row);
        let place = if self.times == 1 { " in" } else { "s, the first in" };
        let text = format!("expected no nulls, got {times} null {what}{place} row {row} (counted from 0)");
        Err(column.map_or_else(|| ArrowError::Value(text.clone()), |column| column.reject(text.clone())))
    }
}

impl Column {
    fn reject(&self, text: String) -> ArrowError {
        match &self.part {
            None => ArrowError::Value(text),
            Some(part) => ArrowError::In(part.clone(), text),
        }
    }
}
