//! Arrow types: parsed from the format strings of the C data interface, and described in words.

use super::error::ArrowError;
use super::ffi::Schema;

/// A number type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    F16,
    F32,
    F64,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    Bool,
    /// Integers of `bytes` bytes, times `10^-scale`.
    Decimal {
        bytes: usize,
        scale: i32,
    },
    /// The type without values: all are null.
    Null,
}

impl Number {
    /// Returns whether the numbers are converted to float64 by default, rather than to float32.
    pub fn is_wide(self) -> bool {
        !matches!(self, Self::F32 | Self::Null)
    }
}

/// An Arrow type, as far as it matters for sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number(Number),
    List {
        large: bool,
    },
    ListView {
        large: bool,
    },
    /// Lists of this many values each.
    FixedSizeList(usize),
    /// Sequences of `steps` steps of `width` numbers each, end to end.
    Tensor {
        steps: usize,
        width: usize,
    },
    Struct,
    Other,
}

/// The depth to which types are described; sequences need four levels.
const DEPTH: usize = 8;

impl Kind {
    /// Returns the kind of a type. Dictionaries, and extension types other than tensors, are [`Kind::Other`], whatever
    /// their storage is.
    pub fn of(schema: &Schema) -> Result<Self, ArrowError> {
        if schema.has_dictionary() {
            return Ok(Self::Other);
        }
        if let Some(name) = extension(schema)? {
            let tensor = if name == TENSOR { Self::tensor(schema)? } else { None };
            return Ok(tensor.unwrap_or(Self::Other));
        }
        Ok(match &*schema.format() {
            "e" => Self::Number(Number::F16),
            "f" => Self::Number(Number::F32),
            "g" => Self::Number(Number::F64),
            "c" => Self::Number(Number::I8),
            "C" => Self::Number(Number::U8),
            "s" => Self::Number(Number::I16),
            "S" => Self::Number(Number::U16),
            "i" => Self::Number(Number::I32),
            "I" => Self::Number(Number::U32),
            "l" => Self::Number(Number::I64),
            "L" => Self::Number(Number::U64),
            "b" => Self::Number(Number::Bool),
            "n" => Self::Number(Number::Null),
            "+l" => Self::List { large: false },
            "+L" => Self::List { large: true },
            "+vl" => Self::ListView { large: false },
            "+vL" => Self::ListView { large: true },
            "+s" => Self::Struct,
            format => match (fixed_size(format), decimal(format)) {
                (Some(size), _) => Self::FixedSizeList(size),
                (_, Some(number)) => Self::Number(number),
                _ => Self::Other,
            },
        })
    }

    /// Returns whether it is a list of any kind.
    pub fn is_list(self) -> bool {
        matches!(self, Self::List { .. } | Self::ListView { .. } | Self::FixedSizeList(_) | Self::Tensor { .. })
    }

    /// Returns the kind of tensors of a fixed shape, which are stored as lists of a fixed size. Tensors of one
    /// dimension are treated as these lists.
    fn tensor(schema: &Schema) -> Result<Option<Self>, ArrowError> {
        let parameters = schema.metadata("ARROW:extension:metadata")?.unwrap_or_default();
        let ordered = integers(&parameters, "permutation").is_none_or(|order| order.is_sorted());
        Ok(match integers(&parameters, "shape").as_deref() {
            Some(&[size]) if fixed_size(&schema.format()) == Some(size) => Some(Self::FixedSizeList(size)),
            Some(&[steps, width]) if ordered && fixed_size(&schema.format()) == steps.checked_mul(width) => {
                Some(Self::Tensor { steps, width })
            }
            _ => None,
        })
    }
}

const TENSOR: &str = "arrow.fixed_shape_tensor";

fn fixed_size(format: &str) -> Option<usize> {
    format.strip_prefix("+w:")?.parse().ok()
}

/// Parses "d:precision,scale" or "d:precision,scale,bits".
fn decimal(format: &str) -> Option<Number> {
    let mut parts = format.strip_prefix("d:")?.split(',').skip(1);
    let scale = parts.next()?.parse().ok()?;
    let bits: usize = parts.next().map_or(Ok(128), str::parse).ok()?;
    matches!(bits, 32 | 64 | 128 | 256).then_some(Number::Decimal { bytes: bits / 8, scale })
}

/// Returns the integers of the array at a key of a JSON object. A text that equals the key is not mistaken for it: no
/// array follows it, and quotes within a text are escaped.
fn integers(json: &str, key: &str) -> Option<Vec<usize>> {
    json.split(&format!("\"{key}\"")).skip(1).find_map(|rest| {
        let array = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('[')?;
        let (items, _) = array.split_once(']')?;
        items.split(',').map(|item| item.trim().parse().ok()).collect()
    })
}

fn extension(schema: &Schema) -> Result<Option<String>, ArrowError> {
    schema.metadata("ARROW:extension:name")
}

/// Returns a description of a type, as pyarrow writes it: `list<item: float>`.
pub fn describe(schema: &Schema) -> String {
    words(schema, DEPTH).unwrap_or_else(|_| format!("the malformed type '{}'", schema.format()))
}

fn words(schema: &Schema, depth: usize) -> Result<String, ArrowError> {
    if depth == 0 {
        return Ok("...".into());
    }
    if let Some(name) = extension(schema)? {
        return Ok(format!("extension<{name}>"));
    }
    let format = schema.format();
    if schema.has_dictionary() {
        return Ok(format!("dictionary<indices={}>", simple(&format)));
    }
    let children = || -> Result<String, ArrowError> {
        let child = |child: &Schema| -> Result<String, ArrowError> {
            let suffix = if child.nullable() { "" } else { " not null" };
            Ok(format!("{}: {}{suffix}", child.name(), words(child, depth - 1)?))
        };
        Ok(schema.children()?.all()?.into_iter().map(child).collect::<Result<Vec<_>, _>>()?.join(", "))
    };
    Ok(match Kind::of(schema)? {
        Kind::List { large: false } => format!("list<{}>", children()?),
        Kind::List { large: true } => format!("large_list<{}>", children()?),
        Kind::ListView { large: false } => format!("list_view<{}>", children()?),
        Kind::ListView { large: true } => format!("large_list_view<{}>", children()?),
        Kind::FixedSizeList(size) => format!("fixed_size_list<{}>[{size}]", children()?),
        Kind::Struct => format!("struct<{}>", children()?),
        Kind::Number(_) | Kind::Tensor { .. } | Kind::Other => simple(&format),
    })
}

fn simple(format: &str) -> String {
    let known = match format {
        "n" => "null",
        "b" => "bool",
        "e" => "halffloat",
        "f" => "float",
        "g" => "double",
        "c" => "int8",
        "C" => "uint8",
        "s" => "int16",
        "S" => "uint16",
        "i" => "int32",
        "I" => "uint32",
        "l" => "int64",
        "L" => "uint64",
        "u" => "string",
        "U" => "large_string",
        "vu" => "string_view",
        "z" => "binary",
        "Z" => "large_binary",
        "vz" => "binary_view",
        "tdD" => "date32[day]",
        "tdm" => "date64[ms]",
        "+m" => "map",
        "+r" => "run_end_encoded",
        _ => match format.get(..2) {
            Some("d:") => "decimal",
            Some("w:") => "fixed_size_binary",
            Some("ts") => "timestamp",
            Some("tt") => "time",
            Some("tD") => "duration",
            Some("ti") => "interval",
            Some("+u") => "union",
            _ => return format!("the Arrow type '{format}'"),
        },
    };
    known.into()
}
