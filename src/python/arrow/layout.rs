//! Which types are sequences, and of what.

use super::error::{Refused, malformed};
use super::ffi::Schema;
use super::types::{Kind, Number, describe};

const EXPECTED: &str = "a list column of numbers: list<fixed_size_list<float>>, list<list<float>>, list<float> or \
                        list<struct<float, ...>>, or a table or struct of such columns";

/// A column of sequences; several side by side have the features of all.
pub struct Column {
    /// How messages call it, if it is one of several or a struct's: `column 'a'`.
    pub part: Option<String>,
    /// Its place in the struct.
    pub index: usize,
    pub step: Step,
}

/// What the lists hold.
pub enum Step {
    /// So many bare numbers each, 1 but for tensors.
    Bare(usize, Number),
    /// So many in a list of a fixed size each.
    Fixed(usize, Number),
    /// The same number of numbers each, which only they tell.
    List { large: bool, number: Number },
    /// A number in each field.
    Struct(Vec<(String, Number)>),
    /// Nothing: all steps, or all sequences, are null.
    Null,
}

impl Step {
    /// Numbers per step, where the type tells.
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

    /// Whether a number needs another precision than float32.
    pub fn is_wide(&self) -> bool {
        self.any(Number::is_wide)
    }

    /// Whether there can be a number.
    pub fn is_typed(&self) -> bool {
        self.any(|number| number != Number::Null)
    }
}

/// The columns of sequences that a column, or a table as a struct, is made of.
pub fn columns(schema: &Schema) -> Result<Vec<Column>, Refused> {
    let whole = |part| Refused::Type(format!("expected {EXPECTED}, got {}{part}", describe(schema)));
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
                        return Err(Refused::Type(format!("expected {EXPECTED}, got {got} in column '{name}'")));
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

/// What the features are called, if each has a name: that of its field in the steps' structs or, in a table or struct,
/// of its column of bare numbers. Where columns are several, their names lead: `a.x`, and `a[0]` of steps that are lists.
pub fn names(schema: &Schema, columns: &[Column], widths: &[usize]) -> Result<Option<Vec<String>>, Refused> {
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

/// What the lists of a column hold, if it is one of sequences.
pub fn step(schema: &Schema) -> Result<Option<Step>, Refused> {
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
            let fields = step.children()?.all()?.into_iter().map(field).collect::<Result<Option<Vec<_>>, Refused>>()?;
            fields.map(Step::Struct)
        }
        Kind::ListView { .. } | Kind::Tensor { .. } | Kind::Other => None,
    })
}

fn number(schema: &Schema) -> Result<Option<Number>, Refused> {
    Ok(if let Kind::Number(number) = Kind::of(schema)? { Some(number) } else { None })
}

fn only_child(schema: &Schema) -> Result<&Schema, Refused> {
    let children = schema.children()?;
    if children.len() != 1 {
        return Err(malformed(format!("a list type with {} children", children.len())));
    }
    children.get(0)
}

/// Whether pandas has made the column of a frame's index; it is no feature.
fn is_pandas_index(name: &str) -> bool {
    name.strip_prefix("__index_level_")
        .and_then(|rest| rest.strip_suffix("__"))
        .is_some_and(|level| !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_digit()))
}
