//! NumPy arrays as slices, and their precision.

use numpy::{
    Element, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cell::Real;

/// A precision of both rgru and NumPy.
pub trait PyReal: Real + Element {}
impl<T: Real + Element> PyReal for T {}

/// A value for either precision, which is known at run time.
pub enum Either<A, B> {
    F32(A),
    F64(B),
}

/// Evaluates an expression with the value of either precision.
macro_rules! either {
    ($either:expr, $value:ident => $body:expr) => {
        match $either {
            $crate::python::arrays::Either::F32($value) => $body,
            $crate::python::arrays::Either::F64($value) => $body,
        }
    };
}
pub(super) use either;

/// A C-contiguous array, borrowed for reading.
pub struct Input<'py, T: Element>(PyReadonlyArrayDyn<'py, T>);

impl<'py, T: Element> Input<'py, T> {
    /// Borrows an array of this type.
    pub fn new(name: &str, array: &Bound<'py, PyAny>) -> PyResult<Self> {
        let typed = array.cast::<PyArrayDyn<T>>().map_err(|_| wrong_type::<T>(name, array))?;
        if !typed.is_c_contiguous() {
            return Err(PyValueError::new_err(format!("{name}: expected a C-contiguous array, got a strided one")));
        }
        let borrowed = typed.try_readonly();
        borrowed.map(Self).map_err(|error| PyValueError::new_err(format!("{name}: cannot be read: {error}")))
    }

    /// As [`Input::new`], for an optional array.
    pub fn optional(name: &str, array: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Self>> {
        array.map(|array| Self::new(name, array)).transpose()
    }

    /// Returns the numbers.
    pub fn slice(&self) -> PyResult<&[T]> {
        self.0.as_slice().map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Returns the sizes of all dimensions.
    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// Returns the sizes, after checking that there are N dimensions.
    pub fn dimensions<const N: usize>(&self, name: &str) -> PyResult<[usize; N]> {
        let shape = self.shape();
        shape.try_into().map_err(|_| {
            let got = crate::shape::tuple(shape);
            PyValueError::new_err(format!("{name}: expected {N} dimensions, got shape {got}"))
        })
    }
}

/// Returns the numbers of an optional array.
pub fn optional_slice<'a, T: Element>(array: Option<&'a Input<'_, T>>) -> PyResult<Option<&'a [T]>> {
    array.map(Input::slice).transpose()
}

/// A C-contiguous array, borrowed for writing.
pub struct InOut<'py, T: Element>(PyReadwriteArrayDyn<'py, T>);

impl<'py, T: Element> InOut<'py, T> {
    /// Borrows an array of this type.
    pub fn new(name: &str, array: &Bound<'py, PyAny>) -> PyResult<Self> {
        let typed = array.cast::<PyArrayDyn<T>>().map_err(|_| wrong_type::<T>(name, array))?;
        if !typed.is_c_contiguous() {
            return Err(PyValueError::new_err(format!("{name}: expected a C-contiguous array, got a strided one")));
        }
        let borrowed = typed.try_readwrite();
        borrowed.map(Self).map_err(|error| PyValueError::new_err(format!("{name}: cannot be written: {error}")))
    }

    /// Returns the numbers.
    pub fn slice(&mut self) -> PyResult<&mut [T]> {
        self.0.as_slice_mut().map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

/// Arrays of up to this many bytes are allocated in a fast way, which panics if there is no memory. Larger ones are
/// allocated by NumPy's Python function, which raises `MemoryError`.
const SMALL: usize = 1 << 20;

/// Returns a new array of zeros, and its borrow for writing.
pub fn zeros<'py, T: Element>(
    py: Python<'py>,
    shape: &[usize],
) -> PyResult<(Bound<'py, PyArrayDyn<T>>, InOut<'py, T>)> {
    new(py, "zeros", shape)
}

/// As [`zeros`], but the numbers of a large array are unspecified; for arrays that are written as a whole.
pub fn unwritten<'py, T: Element>(
    py: Python<'py>,
    shape: &[usize],
) -> PyResult<(Bound<'py, PyArrayDyn<T>>, InOut<'py, T>)> {
    new(py, "empty", shape)
}

fn new<'py, T: Element>(
    py: Python<'py>,
    function: &str,
    shape: &[usize],
) -> PyResult<(Bound<'py, PyArrayDyn<T>>, InOut<'py, T>)> {
    let bytes = shape.iter().try_fold(size_of::<T>(), |bytes, &size| bytes.checked_mul(size));
    let array = if bytes.is_some_and(|bytes| bytes <= SMALL) {
        PyArrayDyn::<T>::zeros(py, shape, false)
    } else {
        let (numpy, shape) = (py.import("numpy")?, PyTuple::new(py, shape)?);
        numpy.call_method1(function, (shape, numpy::dtype::<T>(py)))?.cast_into::<PyArrayDyn<T>>()?
    };
    let borrowed = InOut::new("output", array.as_any())?;
    Ok((array, borrowed))
}

/// Returns the precision of an array.
pub fn precision(name: &str, array: &Bound<'_, PyAny>) -> PyResult<Either<(), ()>> {
    if array.cast::<PyArrayDyn<f32>>().is_ok() {
        Ok(Either::F32(()))
    } else if array.cast::<PyArrayDyn<f64>>().is_ok() {
        Ok(Either::F64(()))
    } else {
        Err(PyTypeError::new_err(format!("{name}: expected a float32 or float64 array, got {}", describe(array))))
    }
}

fn wrong_type<T: Element>(name: &str, array: &Bound<'_, PyAny>) -> PyErr {
    let expected = numpy::dtype::<T>(array.py());
    PyTypeError::new_err(format!("{name}: expected a {expected} array, got {}", describe(array)))
}

fn describe(array: &Bound<'_, PyAny>) -> String {
    match array.cast::<PyUntypedArray>() {
        Ok(array) => array.dtype().to_string(),
        Err(_) => array.get_type().to_string(),
    }
}
