//! Exports results as Arrow columns, without a copy.

use std::sync::Arc;

use numpy::{Element, PyArrayDyn};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use super::data::{Buffer, Data, Field};
use super::ffi::{Array, InCapsule, Schema, Stream};
use super::types::describe;
use crate::python::arrays::Input;

/// An Arrow array of results. Any library with the Arrow `PyCapsule` interface can import it.
#[pyclass(frozen, name = "ArrowColumn", module = "rgru._core")]
pub struct Exported {
    field: Arc<Field>,
    data: Arc<Data>,
}

#[pymethods]
impl Exported {
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        PyCapsule::new_with_value(py, Schema::new(&self.field), Schema::CAPSULE)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let _ = requested_schema; // the interface allows a producer to ignore it
        let array = PyCapsule::new_with_value(py, Array::new(&self.data), Array::CAPSULE)?;
        (self.__arrow_c_schema__(py)?, array).into_pyobject(py)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema; // as above
        let stream = Stream::new(Arc::clone(&self.field), Arc::clone(&self.data));
        PyCapsule::new_with_value(py, stream, Stream::CAPSULE)
    }

    #[getter]
    fn null_count(&self) -> usize {
        self.data.null_count
    }

    #[getter]
    fn r#type(&self) -> String {
        describe(&Schema::new(&self.field))
    }

    fn __len__(&self) -> usize {
        self.data.length
    }

    fn __repr__(&self) -> String {
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (rows, nulls) = (plural(self.data.length, "row"), plural(self.data.null_count, "null"));
        format!("ArrowColumn({rows}, {nulls}, {})", self.r#type())
    }
}

/// An array with its type.
type Typed = (Field, Data);

impl Exported {
    fn new((mut field, data): Typed) -> Self {
        field.name = ""; // the table that it is added to names the column
        Self { field: Arc::new(field), data: Arc::new(data) }
    }
}

/// Returns an array with its type. The first buffer is the validity bitmap, if some rows are null.
fn rows(
    format: impl Into<String>,
    length: usize,
    valid: Option<&[bool]>,
    buffers: impl IntoIterator<Item = Buffer>,
    child: Option<Typed>,
) -> PyResult<Typed> {
    if let Some(valid) = valid.filter(|valid| valid.len() != length) {
        return Err(PyValueError::new_err(format!("valid: expected {length}, got {}", valid.len())));
    }
    let null_count = valid.map_or(0, |valid| valid.iter().filter(|valid| !**valid).count());
    let bitmap = if null_count == 0 { Buffer::none() } else { Buffer::of(bits(valid.unwrap_or_default())) };
    let (fields, children) = child.map(|(field, data)| (vec![field], vec![Arc::new(data)])).unwrap_or_default();
    let field = Field { name: "item", format: format.into(), nullable: true, children: fields };
    let buffers = std::iter::once(bitmap).chain(buffers).collect();
    Ok((field, Data { length, null_count, buffers, children }))
}

/// Packs values as bits, the lowest bit first.
fn bits(values: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
    values.chunks(8).map(byte).collect()
}

/// Returns whether offsets of lists or texts need 64 bits, and a buffer of 32 or 64 bits.
fn offsets(offsets: &[i64]) -> (bool, Buffer) {
    match offsets.iter().map(|&offset| i32::try_from(offset)).collect::<Result<Vec<_>, _>>() {
        Ok(narrow) => (false, Buffer::of(narrow)),
        Err(_) => (true, Buffer::of(offsets.to_vec())),
    }
}

#[pyfunction]
#[pyo3(signature = (values, *, places, valid))]
pub fn arrow_numbers<'py>(
    values: &Bound<'py, PyAny>,
    places: Option<&Bound<'py, PyAny>>,
    valid: Option<&Bound<'py, PyAny>>,
) -> PyResult<Exported> {
    let valid = Input::<bool>::optional("valid", valid)?;
    let valid = valid.as_ref().map(Input::slice).transpose()?;
    let Some(places) = places else {
        return Ok(Exported::new(numbers(values, valid)?));
    };
    let places = Input::<i64>::new("places", places)?;
    let places = places.slice()?;
    let (field, data) = numbers(values, None)?;
    let ascending = places.windows(2).all(|pair| pair[0] <= pair[1]);
    if places.first() != Some(&0) || !ascending || places.last() != i64::try_from(data.length).ok().as_ref() {
        return Err(PyValueError::new_err(format!("places: expected offsets from 0 to {}", data.length)));
    }
    let (large, buffer) = offsets(places);
    let format = if large { "+L" } else { "+l" };
    Ok(Exported::new(rows(format, places.len() - 1, valid, [buffer], Some((field, data)))?))
}

/// Exports an array `[M]` as numbers, or `[M, K]` as lists of K numbers.
fn numbers(values: &Bound<'_, PyAny>, valid: Option<&[bool]>) -> PyResult<Typed> {
    fn typed<T: Element + Sync + 'static>(
        array: &Bound<'_, PyArrayDyn<T>>,
        format: &str,
        valid: Option<&[bool]>,
    ) -> PyResult<Typed> {
        let input = Input::<T>::new("values", array.as_any())?;
        match *input.shape() {
            [count] => rows(format, count, valid, [Buffer::view(array)?], None),
            [count, width] => {
                let flat = rows(format, count * width, None, [Buffer::view(array)?], None)?;
                rows(format!("+w:{width}"), count, valid, [], Some(flat))
            }
            ref shape => Err(PyValueError::new_err(format!("values: expected (M,) or (M, K), got {shape:?}"))),
        }
    }
    macro_rules! first_that_fits {
        ($($kind:ty => $format:literal),*) => {
            $(if let Ok(array) = values.cast::<PyArrayDyn<$kind>>() {
                return typed(array, $format, valid);
            })*
        };
    }
    first_that_fits!(
        f32 => "f", f64 => "g", i64 => "l", i32 => "i", i16 => "s", i8 => "c", u64 => "L", u32 => "I", u16 => "S", u8 => "C"
    );
    if let Ok(flags) = Input::<bool>::new("values", values) {
        let [count] = flags.dimensions("values")?;
        return rows("b", count, valid, [Buffer::of(bits(flags.slice()?))], None);
    }
    Err(PyTypeError::new_err("values: expected numbers"))
}

#[pyfunction]
#[pyo3(signature = (texts, codes, *, valid))]
pub fn arrow_texts<'py>(
    texts: Vec<String>,
    codes: &Bound<'py, PyAny>,
    valid: Option<&Bound<'py, PyAny>>,
) -> PyResult<Exported> {
    let valid = Input::<bool>::optional("valid", valid)?;
    let valid = valid.as_ref().map(Input::slice).transpose()?;
    let codes = Input::<i64>::new("codes", codes)?;
    let codes = codes.slice()?;
    let (mut places, mut bytes) = (vec![0], Vec::new());
    for (row, &code) in codes.iter().enumerate() {
        if valid.is_none_or(|valid| valid.get(row) != Some(&false)) {
            let text = usize::try_from(code).ok().and_then(|code| texts.get(code));
            let text = text.ok_or_else(|| PyValueError::new_err(format!("codes: expected 0 to {}", texts.len())))?;
            bytes.extend_from_slice(text.as_bytes());
        }
        places.push(bytes.len() as i64);
    }
    let (large, places) = offsets(&places);
    let format = if large { "U" } else { "u" };
    Ok(Exported::new(rows(format, codes.len(), valid, [places, Buffer::of(bytes)], None)?))
}
