//! Arrow columns as NumPy arrays of steps, and where the sequences lie in them.

use numpy::{Element, PyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::error::{Refused, malformed, reserved};
use super::ffi::{Array, Schema, Stream, Travels, take};
use super::gather::{Target, gather, in_place};
use super::layout::{self, Column};
use super::scan::{Manner, Survey, survey};
use crate::python::arrays::unwritten;

/// Memory of an Arrow array, which NumPy arrays are views of: alive until the last of them is gone.
#[pyclass(frozen, name = "ArrowMemory", module = "rgru._core")]
struct Memory {
    address: usize,
    shape: (usize, usize),
    kind: &'static str,
    _array: Array,
}

#[pymethods]
impl Memory {
    /// What NumPy wants to know; see "The array interface protocol" in its manual.
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

/// Values, offsets, which rows are bad, and the features' names.
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
    let columns = layout::columns(&schema).map_err(|refused| refused.of(name))?;
    let import = Import { name, schema, columns, manner: Manner { width, first, null_on_error } };
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
    let schema = take::<Schema>(&kind.call_method0("__arrow_c_schema__")?).map_err(|refused| refused.of("kind"))?;
    let step = layout::step(&schema).map_err(|refused| refused.of("kind"))?;
    Ok(step.is_some_and(|step| !typed || step.is_typed()))
}

/// Takes a column over: its type, and its chunks.
fn read(py: Python<'_>, column: &Bound<'_, PyAny>, name: &str) -> PyResult<(Schema, Vec<Array>)> {
    if column.hasattr("__arrow_c_stream__")? {
        let capsule = column.call_method0("__arrow_c_stream__")?;
        let mut stream = taken::<Stream>(&capsule, name)?;
        let schema = py.detach(|| stream.schema()).map_err(|refused| refused.of(name))?;
        let mut chunks = Vec::new();
        // Without the interpreter: what the stream computes may need it on another thread.
        while let Some(array) = py.detach(|| stream.next()).map_err(|refused| refused.of(name))? {
            chunks.push(array);
            py.check_signals()?;
        }
        return Ok((schema, chunks));
    }
    if column.hasattr("__arrow_c_array__")? {
        let pair = column.call_method0("__arrow_c_array__")?;
        let wrong = |_| malformed("another result of __arrow_c_array__ than a pair of capsules").of(name);
        let (schema, array) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().map_err(wrong)?;
        return Ok((taken(&schema, name)?, vec![taken(&array, name)?]));
    }
    let got = column.get_type();
    Err(PyTypeError::new_err(format!("{name}: expected an Arrow column, got {}", got.name()?)))
}

fn taken<T: Travels>(capsule: &Bound<'_, PyAny>, name: &str) -> PyResult<T> {
    take(capsule).map_err(|refused| refused.of(name))
}

struct Import<'a> {
    name: &'a str,
    schema: Schema,
    columns: Vec<Column>,
    manner: Manner,
}

impl Import<'_> {
    fn run<'py, T: Target + Named>(&self, py: Python<'py>, mut chunks: Vec<Array>) -> PyResult<Parts<'py>> {
        let survey = py.detach(|| survey(&self.schema, &self.columns, &chunks, self.manner));
        let mut survey = survey.map_err(|refused| refused.of(self.name))?;
        let offsets = offsets(&survey).map_err(|refused| refused.of(self.name))?;
        let steps = offsets.last().map_or(0, |&steps| steps as usize);
        let features = survey.widths.iter().try_fold(0_usize, |sum, &width| sum.checked_add(width));
        let features = features.ok_or_else(|| malformed("more features than memory has").of(self.name))?;
        // Without a step nothing depends on the features, and the type alone may claim any number of them.
        let names = if steps == 0 { Ok(None) } else { layout::names(&self.schema, &self.columns, &survey.widths) };
        let names = names.map_err(|refused| refused.of(self.name))?;
        let offsets = PyArray1::from_vec(py, offsets).into_any();
        let bad = std::mem::take(&mut survey.bad);
        let bad = self.manner.null_on_error.then(|| PyArray1::from_vec(py, bad).into_any());
        let place = in_place::<T>(&survey, steps).map(|(chunk, numbers)| (chunk, numbers.as_ptr().expose_provenance()));
        if let Some((chunk, address)) = place {
            let array = chunks.swap_remove(chunk);
            let memory = Memory { address, shape: (steps, features), kind: T::TYPESTR, _array: array };
            let values = py.import("numpy")?.call_method1("asarray", (memory.into_pyobject(py)?,))?;
            return Ok((values, offsets, bad, names));
        }
        let (values, mut out) = unwritten::<T>(py, &[steps, features])?;
        let out = out.slice()?;
        let too_large = py.detach(|| gather(&survey, out));
        match too_large {
            Some((number, row)) if !self.manner.null_on_error => {
                let row = self.manner.first + row;
                let text = format!(
                    "expected numbers within the range of {}, got {number:e} in row {row} (counted from 0)",
                    numpy::dtype::<T>(py)
                );
                Err(Refused::Value(text).of(self.name))
            }
            _ => Ok((values.into_any(), offsets, bad, names)),
        }
    }
}

/// A precision as NumPy's array interface calls it.
trait Named: Element {
    const TYPESTR: &'static str;
}
impl Named for f32 {
    const TYPESTR: &'static str = if cfg!(target_endian = "big") { ">f4" } else { "<f4" };
}
impl Named for f64 {
    const TYPESTR: &'static str = if cfg!(target_endian = "big") { ">f8" } else { "<f8" };
}

/// Where the sequences start, and the last one ends.
fn offsets(survey: &Survey<'_>) -> Result<Vec<i64>, Refused> {
    let mut offsets = reserved(survey.lengths.len() + 1)?;
    let mut sum = 0_i64;
    offsets.push(sum);
    for &length in &survey.lengths {
        sum = sum.checked_add(length as i64).ok_or_else(|| malformed("more steps than memory has"))?;
        offsets.push(sum);
    }
    Ok(offsets)
}
