//! All chunks of a column looked through: where its sequences lie, and whether they may be used.

use super::array_view::Node;
use super::error::{Refused, malformed, reserved};
use super::ffi::{Array, Schema};
use super::layout::Column;
use super::row_spans::{Count, Findings, Rows, find};

/// What to do with rows that cannot be sequences, and how to count them.
#[derive(Clone, Copy)]
pub struct Manner {
    /// Numbers per step of all columns, where the data cannot tell; with `null_on_error`, where they differ.
    pub width: Option<usize>,
    /// The number of the first row, in messages.
    pub first: usize,
    /// Whether such rows are marked and left empty, instead of refusing all.
    pub null_on_error: bool,
}

/// The sequences of a column.
pub struct Survey<'a> {
    /// For each chunk the rows of each column.
    pub chunks: Vec<Vec<Rows<'a>>>,
    /// Steps of each row.
    pub lengths: Vec<usize>,
    /// The rows that are no sequences; their lengths are 0.
    pub bad: Vec<bool>,
    /// Numbers per step of each column.
    pub widths: Vec<usize>,
}

/// Looks through all chunks.
pub fn survey<'a>(
    schema: &'a Schema,
    columns: &[Column],
    chunks: &'a [Array],
    manner: Manner,
) -> Result<Survey<'a>, Refused> {
    let roots = chunks.iter().map(|array| Node::new(schema, array)).collect::<Result<Vec<_>, _>>()?;
    let count = roots.iter().try_fold(0_usize, |sum, root| sum.checked_add(root.len));
    let count = count.ok_or_else(|| malformed("more rows than memory has"))?;
    let (mut lengths, mut bad) = (reserved(count)?, reserved(count)?);
    let mut findings: Vec<Findings> = columns.iter().map(|_| Findings::default()).collect();
    if let ([only], true) = (&mut findings[..], manner.null_on_error) {
        only.width = manner.width;
    }
    let (mut null_rows, mut uneven, mut found) = (Count::default(), None, reserved(chunks.len())?);
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
            let node = if column.part.is_some() { root.field(column.index)? } else { *root };
            find(column, node, first, findings, bad)
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
    if !manner.null_on_error {
        null_rows.refuse("sequence", None, manner.first)?;
        columns.iter().zip(&findings).try_for_each(|(column, findings)| refuse(column, findings, manner.first))?;
        if let Some((row, length, other, came)) = uneven {
            let (one, other) = (columns[0].part.as_deref().unwrap_or(""), columns[other].part.as_deref().unwrap_or(""));
            return Err(Refused::Value(format!(
                "expected as many steps in all columns of a row, got {length} in {one} and {came} in {other}, row {} \
                 (counted from 0)",
                manner.first + row
            )));
        }
    }
    let known = columns.iter().zip(&findings).map(|(column, findings)| column.step.width().or(findings.width));
    let sum = known.clone().fold(0_usize, |sum, width| sum.saturating_add(width.unwrap_or(1)));
    // A column that tells no width has no step either: it may have what is left of the whole, a second one 1.
    let mut left = manner.width.map_or(1, |whole| whole.saturating_sub(sum).saturating_add(1));
    let width = |(column, known): (&Column, Option<usize>)| {
        let width = known.unwrap_or_else(|| std::mem::replace(&mut left, 1));
        if width == 0 {
            return Err(column.refuse("expected at least one number per step, got steps of width 0".into()));
        }
        Ok(width)
    };
    let widths = columns.iter().zip(known).map(width).collect::<Result<Vec<_>, _>>()?;
    Ok(Survey { chunks: found, lengths, bad, widths })
}

/// Refuses what a column must not have.
fn refuse(column: &Column, findings: &Findings, first: usize) -> Result<(), Refused> {
    findings.null_sequences.refuse("sequence", Some(column), first)?;
    findings.null_steps.refuse("step", Some(column), first)?;
    findings.null_values.refuse("value", Some(column), first)?;
    let (Some(width), Some((other, row))) = (findings.width, findings.other_width) else { return Ok(()) };
    if width == 0 {
        return Ok(()); // refused for that
    }
    let (one, two) = if findings.same_chunk { (width, other) } else { (width.min(other), width.max(other)) };
    Err(column.refuse(format!(
        "expected steps of one width, got {one} and {two} numbers, the first other one in row {} (counted from 0)",
        first + row
    )))
}

impl Count {
    fn refuse(self, what: &str, column: Option<&Column>, first: usize) -> Result<(), Refused> {
        if self.times == 0 {
            return Ok(());
        }
        let (times, row) = (self.times, first + self.row);
        let place = if self.times == 1 { " in" } else { "s, the first in" };
        let text = format!("expected no nulls, got {times} null {what}{place} row {row} (counted from 0)");
        Err(column.map_or_else(|| Refused::Value(text.clone()), |column| column.refuse(text.clone())))
    }
}

impl Column {
    fn refuse(&self, text: String) -> Refused {
        match &self.part {
            None => Refused::Value(text),
            Some(part) => Refused::In(part.clone(), text),
        }
    }
}
