//! Converts Python's keys to integers, or to bytes end to end.

use numpy::PyArray1;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString, PyTuple};

use super::arrays::Input;
use crate::error::Error;
use crate::memory::try_alloc::{try_reserve, try_with_capacity};

/// Texts or bytes end to end, and their offsets.
struct Texts {
    data: Vec<u8>,
    offsets: Vec<i64>,
}

impl Texts {
    fn with_capacity(count: usize) -> Result<Self, Error> {
        let mut offsets = try_with_capacity(count + 1)?;
        offsets.push(0);
        Ok(Self { data: Vec::new(), offsets })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        try_reserve(&mut self.data, bytes.len())?;
        self.data.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) {
        self.offsets.push(self.data.len() as i64);
    }
}

/// Returns `(kind, keys, offsets)` for an array of objects that are all int (without offsets), all str or all bytes.
#[pyfunction]
pub fn object_keys<'py>(py: Python<'py>, objects: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let objects = Input::<Py<PyAny>>::new("keys", objects)?;
    let objects = objects.slice()?;
    let unlike = |n: usize, kind: &str| {
        let got = objects[n].bind(py).get_type();
        PyTypeError::new_err(format!("keys: expected {kind}, got {got} at position {n}"))
    };
    let is_int = |object: &Bound<'_, PyAny>| object.is_instance_of::<PyInt>() && !object.is_instance_of::<PyBool>();
    let Some(first) = objects.first().map(|first| first.bind(py)) else {
        return ("int", PyArray1::<i64>::from_vec(py, vec![]), py.None()).into_pyobject(py);
    };
    if is_int(first) {
        let mut keys = try_with_capacity(objects.len())?;
        for (n, object) in objects.iter().enumerate() {
            let object = object.bind(py);
            if !is_int(object) {
                return Err(unlike(n, "int, like the first key"));
            }
            keys.push(object.extract::<i64>().map_err(|error| {
                if error.is_instance_of::<PyOverflowError>(py) {
                    return PyValueError::new_err(format!("keys: expected integers of 64 bits, got {object}"));
                }
                error
            })?);
        }
        return ("int", PyArray1::from_vec(py, keys), py.None()).into_pyobject(py);
    }
    let mut texts = Texts::with_capacity(objects.len())?;
    let kind = if first.is_instance_of::<PyString>() { "str" } else { "bytes" };
    for (n, object) in objects.iter().enumerate() {
        let object = object.bind(py);
        if let (Ok(text), "str") = (object.cast::<PyString>(), kind) {
            let text = text.to_str().map_err(|_| {
                PyValueError::new_err(format!("keys: expected Unicode letters, got half of a pair at position {n}"))
            })?;
            texts.push(text.as_bytes())?;
        } else if let (Ok(bytes), "bytes") = (object.cast::<PyBytes>(), kind) {
            texts.push(bytes.as_bytes())?;
        } else {
            return Err(unlike(n, if n == 0 { "int, str or bytes" } else { "the type of the first key" }));
        }
        texts.end();
    }
    (kind, PyArray1::from_vec(py, texts.data), PyArray1::from_vec(py, texts.offsets)).into_pyobject(py)
}

/// Returns `(kind, keys, offsets)` for an array `[M, width]` of texts in UTF-32 or of bytes, without trailing zeros.
#[pyfunction]
pub fn fixed_width_keys<'py>(py: Python<'py>, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    fn used<T: Copy + Default + PartialEq>(row: &[T]) -> &[T] {
        let used = row.iter().rposition(|&unit| unit != T::default()).map_or(0, |last| last + 1);
        &row[..used]
    }
    let kind;
    let mut texts;
    if let Ok(array) = Input::<u32>::new("keys", array) {
        let [count, width] = array.dimensions("keys")?;
        (kind, texts) = ("str", Texts::with_capacity(count)?);
        for row in rows(array.slice()?, count, width) {
            for &unit in used(row) {
                let Some(letter) = char::from_u32(unit) else {
                    return Err(PyValueError::new_err(format!("keys: expected Unicode letters, got {unit:#x}")));
                };
                texts.push(letter.encode_utf8(&mut [0; 4]).as_bytes())?;
            }
            texts.end();
        }
    } else {
        let array = Input::<u8>::new("keys", array)?;
        let [count, width] = array.dimensions("keys")?;
        (kind, texts) = ("bytes", Texts::with_capacity(count)?);
        for row in rows(array.slice()?, count, width) {
            texts.push(used(row))?;
            texts.end();
        }
    }
    (kind, PyArray1::from_vec(py, texts.data), PyArray1::from_vec(py, texts.offsets)).into_pyobject(py)
}

/// Returns the rows of an array, whose width may be 0.
fn rows<T>(units: &[T], count: usize, width: usize) -> impl Iterator<Item = &[T]> {
    (0..count).map(move |n| &units[n * width..(n + 1) * width])
}
