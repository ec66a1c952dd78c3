//! Types: from the letters of the interface, and in words.

use super::error::Refused;
use super::ffi::Schema;

/// A type of numbers.
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
}

/// A type, as far as sequences are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number(Number),
    List {
        large: bool,
    },
    ListView {
        large: bool,
    },
    /// Of so many values each.
    FixedSizeList(usize),
    Struct,
    Other,
}

/// How deep types are looked into; sequences need four levels.
const DEPTH: usize = 8;

impl Kind {
    /// The kind of a type; extension types and dictionaries are others, whatever they are stored as.
    pub fn of(schema: &Schema) -> Result<Self, Refused> {
        if schema.has_dictionary() || extension(schema)?.is_some() {
            return Ok(Self::Other);
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
            "+l" => Self::List { large: false },
            "+L" => Self::List { large: true },
            "+vl" => Self::ListView { large: false },
            "+vL" => Self::ListView { large: true },
            "+s" => Self::Struct,
            format => match format.strip_prefix("+w:").and_then(|size| size.parse().ok()) {
                Some(size) => Self::FixedSizeList(size),
                None => Self::Other,
            },
        })
    }

    /// Whether it is a list of any kind.
    pub fn is_list(self) -> bool {
        matches!(self, Self::List { .. } | Self::ListView { .. } | Self::FixedSizeList(_))
    }
}

fn extension(schema: &Schema) -> Result<Option<String>, Refused> {
    schema.metadata("ARROW:extension:name")
}

/// The type in words, as pyarrow writes it: `list<item: float>`.
pub fn describe(schema: &Schema) -> String {
    words(schema, DEPTH).unwrap_or_else(|_| format!("the malformed type '{}'", schema.format()))
}

fn words(schema: &Schema, depth: usize) -> Result<String, Refused> {
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
    let children = || -> Result<String, Refused> {
        let child = |child: &Schema| -> Result<String, Refused> {
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
        Kind::Number(_) | Kind::Other => simple(&format),
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
