//! Which types are sequences, and what their steps are.

use super::error::{ArrowError, malformed};
use super::ffi::Schema;
use super::types::{Kind, Number, describe};

const EXPECTED: &str = "a list column of numbers: list<fixed_size_list<float>>, list<list<float>>, list<float> or \
                        list<struct<float, ...>>, or a table or struct of such columns";

/// A column of sequences. The features of several columns are concatenated.
pub struct Column {
    /// Its name in messages, if it is a column of a table or struct: `column 'a'`.
    pub part: Option<String>,
    /// Its index in the struct.
    pub index: usize,
    pub step: Step,
}

/// The type of a step, which is an element of a list.
pub enum Step {
    /// Bare numbers, this many for each step: 1, except for tensors.
    Bare(usize, Number),
    /// A list of this fixed size.
    Fixed(usize, Number),
    /// A list. All have the same size, which only the data determine.
    List { large: bool, number: Number },
    /// A struct with a number in each field.
    Struct(Vec<(String, Number)>),
    /// All steps, or all sequences, are null.
    Null,
}

impl Step {
    /// Returns the numbers per step, if the type determines them.
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::Bare(width, _) | Self::Fixed(width, _) => Some(*width),
            Self::List { .. } | Self::Null => None,
            Self::Struct(fields) => Some(fields.len()),
        }
    }

    fn any(&self, is: fn(Number) -> bool) -> bool {
        match self {
            Self::Bare(_, number) | Self::Fixed(_, number) | Self::List { number, .. } => is(*number),
            Self::Struct(fields) => fields.iter().any(|(_, number)| is(*number)),
            Self::Null => false,
        }
    }

    /// Returns whether a number needs float64.
    pub fn is_wide(&self) -> bool {
        self.any(Number::is_wide)
    }

    /// Returns whether the type has numbers, rather than only nulls.
    pub fn is_typed(&self) -> bool {
        self.any(|number| number != Number::Null)
    }
}

/// Returns the columns of sequences of a type: one for a list column, and one for each field of a struct or table.
pub fn columns(schema: &Schema) -> Result<Vec<Column>, ArrowError> {
    let whole = |part| ArrowError::Type(format!("expected {EXPECTED}, got {}{part}", describe(schema)));
    match Kind::of(schema)? {
        Kind::Struct => {
            let mut columns = Vec::new();
            for (index, field) in schema.children()?.all()?.into_iter().enumerate() {
                let name = field.name();
                let step = match step(field)? {
                    None | Some(Step::Null) if is_pandas_index(&name) => continue,
                    Some(step) => step,
                    None => {
                        let got = describe(field);
                        return Err(ArrowError::Type(format!("expected {EXPECTED}, got {got} in column '{name}'")));
                    }
                };
                columns.push(Column { part: Some(format!("column '{name}'")), index, step });
            }
            if columns.is_empty() { Err(whole(" without columns")) } else { Ok(columns) }
        }
        _ => match step(schema)? {
            Some(step) => Ok(vec![Column { part: None, index: 0, step }]),
            None => Err(whole("")),
        },
    }
}

/// Returns the names of the features, if all have one: the name of the field for steps that are structs, and that of
/// the column for bare numbers in a table or struct. With several columns, their names are prefixes: `a.x`, or `a[0]`
/// for steps that are lists.
pub fn names(schema: &Schema, columns: &[Column], widths: &[usize]) -> Result<Option<Vec<String>>, ArrowError> {
    let mut names = Vec::new();
    for (Column { part, index, step }, &width) in columns.iter().zip(widths) {
        let own = if part.is_some() { Some(schema.children()?.get(*index)?.name()) } else { None };
        let several = columns.len() > 1;
        match (step, own) {
            (Step::Bare(1, _), Some(own)) => names.push(own.into_owned()),
            (Step::Struct(fields), Some(own)) if several => {
                names.extend(fields.iter().map(|(field, _)| format!("{own}.{field}")));
            }
            (Step::Struct(fields), _) => names.extend(fields.iter().map(|(field, _)| field.clone())),
            (_, Some(own)) if several => names.extend((0..width).map(|i| format!("{own}[{i}]"))),
            _ => return Ok(None),
        }
    }
    Ok(Some(names))
}

/// Returns the type of the steps, if a column is one of sequences.
pub fn step(schema: &Schema) -> Result<Option<Step>, ArrowError> {
    let kind = Kind::of(schema)?;
    if kind == Kind::Number(Number::Null) {
        return Ok(Some(Step::Null));
    }
    if !kind.is_list() {
        return Ok(None);
    }
    let step = only_child(schema)?;
    if let Kind::Tensor { width, .. } = kind {
        return Ok(number(step)?.map(|number| Step::Bare(width, number)));
    }
    Ok(match Kind::of(step)? {
        Kind::Number(Number::Null) => Some(Step::Null),
        Kind::Number(number) => Some(Step::Bare(1, number)),
        Kind::FixedSizeList(width) => number(only_child(step)?)?.map(|number| Step::Fixed(width, number)),
        Kind::List { large } => number(only_child(step)?)?.map(|number| Step::List { large, number }),
        Kind::Struct => {
            let field = |field: &Schema| Ok(number(field)?.map(|number| (field.name().into_owned(), number)));
            let fields =
                step.children()?.all()?.into_iter().map(field).collect::<Result<Option<Vec<_>>, ArrowError>>()?;
            fields.map(Step::Struct)
        }
        Kind::ListView { .. } | Kind::Tensor { .. } | Kind::Other => None,
    })
}

fn number(schema: &Schema) -> Result<Option<Number>, ArrowError> {
    Ok(if let Kind::Number(number) = Kind::of(schema)? { Some(number) } else { None })
}

fn only_child(schema: &Schema) -> Result<&Schema, ArrowError> {
    let children = schema.children()?;
    if children.len() != 1 {
        return Err(malformed(format!("a list type with {} children", children.len())));
    }
    children.get(0)
}

/// Returns whether pandas has created a column from the index of a data frame. Such a column is not a feature.
fn is_pandas_index(name: &str) -> bool {
    name.strip_prefix("__index_level_")
        .and_then(|rest| rest.strip_suffix("__"))
        .is_some_and(|level| !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_digit()))
}
