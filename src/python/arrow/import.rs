//! Imports Arrow columns as NumPy arrays of steps, with the offsets of the sequences.

use numpy::{Element, PyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::error::{ArrowError, malformed};
use super::ffi::{Array, InCapsule, Schema, Stream, take};
use super::gather::{Target, gather, in_place};
use super::layout::{self, Column};
use super::scan::{ScanOptions, Scanned, scan};
use crate::memory::try_alloc::try_with_capacity;
use crate::python::arrays::unwritten;

/// The memory of an Arrow array, which lives as long as NumPy arrays refer to it.
#[pyclass(frozen, name = "ArrowMemory", module = "rgru._core")]
struct Memory {
    address: usize,
    shape: (usize, usize),
    kind: &'static str,
    _array: Array,
}

#[pymethods]
impl Memory {
    /// The array interface of NumPy; see "The array interface protocol" in its manual.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("shape", self.shape)?;
        interface.set_item("typestr", self.kind)?;
        interface.set_item("data", (self.address, true))?; // read-only
        Ok(interface)
    }
}

/// The values, the offsets, which rows are bad, and the names of the features.
type Parts<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<Vec<String>>);

#[pyfunction]
#[pyo3(signature = (column, *, name, width, dtype, first, null_on_error))]
pub fn arrow_sequences<'py>(
    py: Python<'py>,
    column: &Bound<'py, PyAny>,
    name: &str,
    width: Option<usize>,
    dtype: Option<&str>,
    first: usize,
    null_on_error: bool,
) -> PyResult<Parts<'py>> {
    let (schema, chunks) = read(py, column, name)?;
    let columns = layout::columns(&schema).map_err(|error| error.for_argument(name))?;
    let import = Import { name, schema, columns, options: ScanOptions { width, first, null_on_error } };
    let wide = match dtype {
        None => import.columns.iter().any(|column| column.step.is_wide()),
        Some("float32") => false,
        Some("float64") => true,
        Some(other) => {
            return Err(PyValueError::new_err(format!("dtype: expected 'float32' or 'float64', got '{other}'")));
        }
    };
    if wide { import.run::<f64>(py, chunks) } else { import.run::<f32>(py, chunks) }
}

#[pyfunction]
#[pyo3(signature = (kind, *, typed))]
pub fn is_arrow_sequences(kind: &Bound<'_, PyAny>, typed: bool) -> PyResult<bool> {
    let schema =
        take::<Schema>(&kind.call_method0("__arrow_c_schema__")?).map_err(|error| error.for_argument("kind"))?;
    let step = layout::step(&schema).map_err(|error| error.for_argument("kind"))?;
    Ok(step.is_some_and(|step| !typed || step.is_typed()))
}

/// Consumes a column: returns its type and its chunks.
fn read(py: Python<'_>, column: &Bound<'_, PyAny>, name: &str) -> PyResult<(Schema, Vec<Array>)> {
    if column.hasattr("__arrow_c_stream__")? {
        let capsule = column.call_method0("__arrow_c_stream__")?;
        let mut stream = taken::<Stream>(&capsule, name)?;
        let schema = py.detach(|| stream.schema()).map_err(|error| error.for_argument(name))?;
        let mut chunks = Vec::new();
        // Detached from the interpreter, which the stream may need on another thread.
        while let Some(array) = py.detach(|| stream.next()).map_err(|error| error.for_argument(name))? {
            chunks.push(array);
            py.check_signals()?;
        }
        return Ok((schema, chunks));
    }
    if column.hasattr("__arrow_c_array__")? {
        let pair = column.call_method0("__arrow_c_array__")?;
        let wrong = |_| malformed("a result of __arrow_c_array__ that is not a pair of capsules").for_argument(name);
        let (schema, array) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().map_err(wrong)?;
        return Ok((taken(&schema, name)?, vec![taken(&array, name)?]));
    }
    let got = column.get_type();
    Err(PyTypeError::new_err(format!("{name}: expected an Arrow column, got {}", got.name()?)))
}

fn taken<T: InCapsule>(capsule: &Bound<'_, PyAny>, name: &str) -> PyResult<T> {
    take(capsule).map_err(|error| error.for_argument(name))
}

struct Import<'a> {
    name: &'a str,
    schema: Schema,
    columns: Vec<Column>,
    options: ScanOptions,
}

impl Import<'_> {
    fn run<'py, T: Target + Named>(&self, py: Python<'py>, mut chunks: Vec<Array>) -> PyResult<Parts<'py>> {
        let scanned = py.detach(|| scan(&self.schema, &self.columns, &chunks, self.options));
        let mut scanned = scanned.map_err(|error| error.for_argument(self.name))?;
        let offsets = offsets(&scanned).map_err(|error| error.for_argument(self.name))?;
        let steps = offsets.last().map_or(0, |&steps| steps as usize);
        let features = scanned.widths.iter().try_fold(0_usize, |sum, &width| sum.checked_add(width));
        let features =
            features.ok_or_else(|| malformed("more features than fit into memory").for_argument(self.name))?;
        // Without steps the names are not needed, and the type may claim any number of features.
        let names = if steps == 0 { Ok(None) } else { layout::names(&self.schema, &self.columns, &scanned.widths) };
        let names = names.map_err(|error| error.for_argument(self.name))?;
        let offsets = PyArray1::from_vec(py, offsets).into_any();
        let bad = std::mem::take(&mut scanned.bad);
        let bad = self.options.null_on_error.then(|| PyArray1::from_vec(py, bad).into_any());
        let place =
            in_place::<T>(&scanned, steps).map(|(chunk, numbers)| (chunk, numbers.as_ptr().expose_provenance()));
        if let Some((chunk, address)) = place {
            let array = chunks.swap_remove(chunk);
            let memory = Memory { address, shape: (steps, features), kind: T::TYPESTR, _array: array };
            let values = py.import("numpy")?.call_method1("asarray", (memory.into_pyobject(py)?,))?;
            return Ok((values, offsets, bad, names));
        }
        let (values, mut out) = unwritten::<T>(py, &[steps, features])?;
        let out = out.slice()?;
        let too_large = py.detach(|| gather(&scanned, out));
        match too_large {
            Some((number, row)) if !self.options.null_on_error => {
                let row = self.options.first + row;
                let text = format!(
                    "expected numbers within the range of {}, got {number:e} in row {row} (counted from 0)",
                    numpy::dtype::<T>(py)
                );
                Err(ArrowError::Value(text).for_argument(self.name))
            }
            _ => Ok((values.into_any(), offsets, bad, names)),
        }
    }
}

/// A precision, with its name in NumPy's array interface.
trait Named: Element {
    const TYPESTR: &'static str;
}
impl Named for f32 {
    const TYPESTR: &'static str = if cfg!(target_endian = "big") { ">f4" } else { "<f4" };
}
impl Named for f64 {
    const TYPESTR: &'static str = if cfg!(target_endian = "big") { ">f8" } else { "<f8" };
}

/// Returns the offsets of the sequences, one more than there are sequences.
fn offsets(scanned: &Scanned<'_>) -> Result<Vec<i64>, ArrowError> {
    let mut offsets = try_with_capacity(scanned.lengths.len() + 1)?;
    let mut sum = 0_i64;
    offsets.push(sum);
    for &length in &scanned.lengths {
        sum = sum.checked_add(length as i64).ok_or_else(|| malformed("more steps than fit into memory"))?;
        offsets.push(sum);
    }
    Ok(offsets)
}
