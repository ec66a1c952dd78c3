//! Functions for scaling, heads and losses, and the class `Adam`.

use std::sync::{Mutex, PoisonError};

use numpy::{IntoPyArray, PyArrayDyn};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::arrays::{Either, InOut, Input, PyReal, precision, unwritten, zeros};
use super::threads::detached;
use crate::error::Error;
use crate::shape::{Activation, Sequences, expect_shape};
use crate::train::optim::{self, Adam, AdamSettings};
use crate::train::{embedding, head, loss, scaling};

type Array<'py> = Bound<'py, PyAny>;

/// Calls a generic function in the precision of an array.
macro_rules! by_precision {
    ($name:literal, $array:expr, $function:ident($($argument:expr),*)) => {
        match precision($name, $array)? {
            Either::F32(()) => $function::<f32>($($argument),*),
            Either::F64(()) => $function::<f64>($($argument),*),
        }
    };
}

#[pyfunction]
pub fn cosine_decay(done: f64) -> f64 {
    optim::cosine_decay(done)
}

#[pyfunction]
pub fn measure<'py>(py: Python<'py>, x: &Array<'py>) -> PyResult<(Array<'py>, Array<'py>)> {
    fn run<'py, X: PyReal>(py: Python<'py>, x: &Array<'py>) -> PyResult<(Array<'py>, Array<'py>)> {
        let x = Input::<X>::new("x", x)?;
        let [rows, features] = x.dimensions("x")?;
        if rows == 0 {
            return Err(PyValueError::new_err("x: expected at least one row, got none"));
        }
        let x = x.slice()?;
        let (mean, scale) = detached(py, |_| scaling::measure(x, features))?;
        Ok((mean.into_pyarray(py).into_any(), scale.into_pyarray(py).into_any()))
    }
    by_precision!("x", x, run(py, x))
}

#[pyfunction]
pub fn standardise<'py>(
    py: Python<'py>,
    x: &Array<'py>,
    mean: &Array<'py>,
    scale: &Array<'py>,
    dtype: &str,
) -> PyResult<Array<'py>> {
    fn run<'py, X: PyReal, T: PyReal>(
        py: Python<'py>,
        x: &Array<'py>,
        mean: &Array<'py>,
        scale: &Array<'py>,
    ) -> PyResult<Array<'py>> {
        let x = Input::<X>::new("x", x)?;
        let (mean, scale) = (Input::<f64>::new("mean", mean)?, Input::<f64>::new("scale", scale)?);
        let ([rows, _], [features]) = (x.dimensions("x")?, mean.dimensions("mean")?);
        expect_shape("x", &[rows, features], x.shape())?;
        let (result, mut out) = unwritten(py, &[rows, features])?;
        let (x, mean, scale, out) = (x.slice()?, mean.slice()?, scale.slice()?, out.slice()?);
        detached(py, |_| scaling::standardise::<X, T>(x, mean, scale, out))?;
        Ok(result.into_any())
    }
    match (precision("x", x)?, dtype) {
        (Either::F32(()), "float32") => run::<f32, f32>(py, x, mean, scale),
        (Either::F32(()), "float64") => run::<f32, f64>(py, x, mean, scale),
        (Either::F64(()), "float32") => run::<f64, f32>(py, x, mean, scale),
        (Either::F64(()), "float64") => run::<f64, f64>(py, x, mean, scale),
        _ => Err(PyValueError::new_err(format!("dtype: expected 'float32' or 'float64', got '{dtype}'"))),
    }
}

#[pyfunction]
pub fn linear<'py>(py: Python<'py>, x: &Array<'py>, weight: &Array<'py>, bias: &Array<'py>) -> PyResult<Array<'py>> {
    fn run<'py, T: PyReal>(py: Python<'py>, x: &Array<'py>, w: &Array<'py>, b: &Array<'py>) -> PyResult<Array<'py>> {
        let (x, w, b) = (Input::<T>::new("x", x)?, Input::<T>::new("weight", w)?, Input::<T>::new("bias", b)?);
        let ([rows, inputs], [outputs]) = (x.dimensions("x")?, b.dimensions("bias")?);
        expect_shape("weight", &[outputs, inputs], w.shape())?;
        let (y, mut out) = zeros(py, &[rows, outputs])?;
        let (x, w, b, out) = (x.slice()?, w.slice()?, b.slice()?, out.slice()?);
        detached(py, |_| head::linear(inputs, x, w, b, out))?;
        Ok(y.into_any())
    }
    by_precision!("x", x, run(py, x, weight, bias))
}

#[pyfunction]
pub fn linear_backward<'py>(
    py: Python<'py>,
    x: &Array<'py>,
    weight: &Array<'py>,
    dy: &Array<'py>,
) -> PyResult<(Array<'py>, Array<'py>, Array<'py>)> {
    fn run<'py, T: PyReal>(
        py: Python<'py>,
        x: &Array<'py>,
        w: &Array<'py>,
        dy: &Array<'py>,
    ) -> PyResult<(Array<'py>, Array<'py>, Array<'py>)> {
        let (x, w, dy) = (Input::<T>::new("x", x)?, Input::<T>::new("weight", w)?, Input::<T>::new("dy", dy)?);
        let ([rows, inputs], [_, outputs]) = (x.dimensions("x")?, dy.dimensions("dy")?);
        expect_shape("weight", &[outputs, inputs], w.shape())?;
        expect_shape("dy", &[rows, outputs], dy.shape())?;
        let (dx, mut dx_out) = zeros(py, &[rows, inputs])?;
        let (dw, mut dw_out) = zeros(py, &[outputs, inputs])?;
        let (db, mut db_out) = zeros(py, &[outputs])?;
        let (x, w, dy) = (x.slice()?, w.slice()?, dy.slice()?);
        let (dx_out, dw_out, db_out) = (dx_out.slice()?, dw_out.slice()?, db_out.slice()?);
        detached(py, |_| head::linear_backward(inputs, x, w, dy, dx_out, dw_out, db_out))?;
        Ok((dx.into_any(), dw.into_any(), db.into_any()))
    }
    by_precision!("x", x, run(py, x, weight, dy))
}

#[pyfunction]
pub fn with_embedding_gradient<'py>(
    py: Python<'py>,
    cells: &Array<'py>,
    rows: &Array<'py>,
    ids: &Array<'py>,
    vocabulary: usize,
    embedding_size: usize,
) -> PyResult<Array<'py>> {
    fn run<'py, T: PyReal>(
        py: Python<'py>,
        cells: &Array<'py>,
        rows: &Array<'py>,
        ids: &Array<'py>,
        [count, size]: [usize; 2],
    ) -> PyResult<Array<'py>> {
        let (cells, rows) = (Input::<T>::new("cells", cells)?, Input::<T>::new("rows", rows)?);
        let ids = Input::<i64>::new("ids", ids)?;
        let ([used], [number, width]) = (cells.dimensions("cells")?, rows.dimensions("rows")?);
        expect_shape("ids", &[number], ids.shape())?;
        if size == 0 || size > width {
            return Err(Error::value("embedding_size", format!("1 to {width}"), size.to_string()).into());
        }
        let (flat, mut out) = zeros(py, &[used.saturating_add(count.saturating_mul(size))])?;
        let (cells, rows, ids, out) = (cells.slice()?, rows.slice()?, ids.slice()?, out.slice()?);
        py.detach(|| {
            let (of_cells, sums) = out.split_at_mut(used);
            of_cells.copy_from_slice(cells);
            embedding::add_by_id(ids, rows, width, size, sums);
        });
        Ok(flat.into_any())
    }
    by_precision!("cells", cells, run(py, cells, rows, ids, [vocabulary, embedding_size]))
}

#[pyfunction]
pub fn mean_over_time<'py>(py: Python<'py>, y: &Array<'py>, offsets: &Array<'py>) -> PyResult<Array<'py>> {
    fn run<'py, T: PyReal>(py: Python<'py>, y: &Array<'py>, offsets: &Array<'py>) -> PyResult<Array<'py>> {
        let (y, offsets) = (Input::<T>::new("y", y)?, Input::<i64>::new("offsets", offsets)?);
        let [rows, width] = y.dimensions("y")?;
        let sequences = Sequences::ragged(offsets.slice()?, rows)?;
        let (mean, mut out) = zeros(py, &[sequences.count(), width])?;
        let (y, out) = (y.slice()?, out.slice()?);
        detached(py, |_| head::mean_over_time(width, y, &sequences, out))?;
        Ok(mean.into_any())
    }
    by_precision!("y", y, run(py, y, offsets))
}

#[pyfunction]
pub fn activate<'py>(py: Python<'py>, x: &Array<'py>, activation: &Array<'py>) -> PyResult<Array<'py>> {
    fn run<'py, T: PyReal>(py: Python<'py>, x: &Array<'py>, activation: Activation) -> PyResult<Array<'py>> {
        let (y, mut out) = copy(py, &Input::<T>::new("x", x)?)?;
        let out = out.slice()?;
        detached(py, |_| head::activate(activation, out))?;
        Ok(y.into_any())
    }
    let activation = super::dims::activation("activation", activation)?;
    by_precision!("x", x, run(py, x, activation))
}

#[pyfunction]
pub fn normalise<'py>(py: Python<'py>, x: &Array<'py>, epsilon: f64) -> PyResult<(Array<'py>, Array<'py>)> {
    fn run<'py, T: PyReal>(py: Python<'py>, x: &Array<'py>, epsilon: f64) -> PyResult<(Array<'py>, Array<'py>)> {
        let x = Input::<T>::new("x", x)?;
        let [rows, width] = x.dimensions("x")?;
        let ((y, mut out), (scales, mut scales_out)) = (copy(py, &x)?, zeros(py, &[rows])?);
        let (out, scales_out) = (out.slice()?, scales_out.slice()?);
        py.detach(|| head::normalise(width, T::from_f64(epsilon), out, scales_out));
        Ok((y.into_any(), scales.into_any()))
    }
    by_precision!("x", x, run(py, x, epsilon))
}

#[pyfunction]
pub fn normalise_backward<'py>(
    py: Python<'py>,
    dy: &Array<'py>,
    y: &Array<'py>,
    scales: &Array<'py>,
) -> PyResult<Array<'py>> {
    fn run<'py, T: PyReal>(
        py: Python<'py>,
        dy: &Array<'py>,
        y: &Array<'py>,
        scales: &Array<'py>,
    ) -> PyResult<Array<'py>> {
        let (dy, y) = (Input::<T>::new("dy", dy)?, Input::<T>::new("y", y)?);
        let scales = Input::<T>::new("scales", scales)?;
        let [rows, width] = dy.dimensions("dy")?;
        expect_shape("y", &[rows, width], y.shape())?;
        expect_shape("scales", &[rows], scales.shape())?;
        let (dx, mut out) = copy(py, &dy)?;
        let (y, scales, out) = (y.slice()?, scales.slice()?, out.slice()?);
        py.detach(|| head::normalise_backward(width, y, scales, out));
        Ok(dx.into_any())
    }
    by_precision!("dy", dy, run(py, dy, y, scales))
}

#[pyfunction]
pub fn softmax<'py>(py: Python<'py>, logits: &Array<'py>) -> PyResult<Array<'py>> {
    fn run<'py, T: PyReal>(py: Python<'py>, logits: &Array<'py>) -> PyResult<Array<'py>> {
        let logits = Input::<T>::new("logits", logits)?;
        let [_, classes] = logits.dimensions("logits")?;
        let (probabilities, mut out) = copy(py, &logits)?;
        let numbers = out.slice()?;
        py.detach(|| loss::softmax(classes, numbers));
        Ok(probabilities.into_any())
    }
    by_precision!("logits", logits, run(py, logits))
}

#[pyfunction]
pub fn cross_entropy<'py>(py: Python<'py>, logits: &Array<'py>, targets: &Array<'py>) -> PyResult<(f64, Array<'py>)> {
    fn run<'py, T: PyReal>(py: Python<'py>, logits: &Array<'py>, targets: &Array<'py>) -> PyResult<(f64, Array<'py>)> {
        let (logits, targets) = (Input::<T>::new("logits", logits)?, Input::<i64>::new("targets", targets)?);
        let [rows, classes] = logits.dimensions("logits")?;
        expect_shape("targets", &[rows], targets.shape())?;
        let (gradient, mut out) = copy(py, &logits)?;
        let (numbers, targets) = (out.slice()?, targets.slice()?);
        let loss = py.detach(|| loss::cross_entropy(classes, numbers, targets))?;
        Ok((loss, gradient.into_any()))
    }
    by_precision!("logits", logits, run(py, logits, targets))
}

#[pyfunction]
pub fn mean_squared_error<'py>(
    py: Python<'py>,
    prediction: &Array<'py>,
    target: &Array<'py>,
) -> PyResult<(f64, Array<'py>)> {
    fn run<'py, T: PyReal>(
        py: Python<'py>,
        prediction: &Array<'py>,
        target: &Array<'py>,
    ) -> PyResult<(f64, Array<'py>)> {
        let (prediction, target) = (Input::<T>::new("prediction", prediction)?, Input::<T>::new("target", target)?);
        expect_shape("target", prediction.shape(), target.shape())?;
        let (gradient, mut out) = copy(py, &prediction)?;
        let (numbers, target) = (out.slice()?, target.slice()?);
        let loss = py.detach(|| loss::mean_squared_error(numbers, target))?;
        Ok((loss, gradient.into_any()))
    }
    by_precision!("prediction", prediction, run(py, prediction, target))
}

/// Returns a copy of an array, and its borrow for writing.
fn copy<'py, T: PyReal>(
    py: Python<'py>,
    array: &Input<'py, T>,
) -> PyResult<(Bound<'py, PyArrayDyn<T>>, InOut<'py, T>)> {
    let (new, mut out) = zeros::<T>(py, array.shape())?;
    out.slice()?.copy_from_slice(array.slice()?);
    Ok((new, out))
}

#[pyclass(frozen, name = "Adam", module = "rgru._core")]
pub struct PyAdam {
    settings: Mutex<AdamSettings>,
    moments: Mutex<Option<Either<Adam<f32>, Adam<f64>>>>,
}

#[pymethods]
impl PyAdam {
    #[new]
    fn new(lr: f64, beta1: f64, beta2: f64, eps: f64) -> PyResult<Self> {
        let settings = AdamSettings { lr, beta1, beta2, eps }.check()?;
        Ok(Self { settings: Mutex::new(settings), moments: Mutex::new(None) })
    }

    #[getter]
    fn lr(&self) -> f64 {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).lr
    }

    #[setter]
    fn set_lr(&self, lr: f64) -> PyResult<()> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        *settings = AdamSettings { lr, ..*settings }.check()?;
        Ok(())
    }

    #[pyo3(signature = (params, grads, max_norm))]
    fn step<'py>(
        &self,
        py: Python<'py>,
        params: Vec<Array<'py>>,
        grads: Vec<Array<'py>>,
        max_norm: Option<f64>,
    ) -> PyResult<f64> {
        let Some(first) = params.first() else {
            return Err(PyTypeError::new_err("params: expected at least one array, got none"));
        };
        match precision("params[0]", first)? {
            Either::F32(()) => update(py, self, &params, &grads, max_norm, Either::F32, |moments| match moments {
                Either::F32(adam) => Some(adam),
                Either::F64(_) => None,
            }),
            Either::F64(()) => update(py, self, &params, &grads, max_norm, Either::F64, |moments| match moments {
                Either::F64(adam) => Some(adam),
                Either::F32(_) => None,
            }),
        }
    }
}

/// Runs one step in a precision, detached from the interpreter: no lock is held while Python code runs.
fn update<T: PyReal>(
    py: Python<'_>,
    adam: &PyAdam,
    params: &[Array<'_>],
    grads: &[Array<'_>],
    max_norm: Option<f64>,
    new: impl Send + FnOnce(Adam<T>) -> Either<Adam<f32>, Adam<f64>>,
    typed: impl Send + FnOnce(&mut Either<Adam<f32>, Adam<f64>>) -> Option<&mut Adam<T>>,
) -> PyResult<f64> {
    let named = |i: usize, kind: &str| format!("{kind}[{i}]");
    let mut params: Vec<InOut<T>> =
        params.iter().enumerate().map(|(i, p)| InOut::new(&named(i, "params"), p)).collect::<PyResult<_>>()?;
    let grads: Vec<Input<T>> =
        grads.iter().enumerate().map(|(i, g)| Input::new(&named(i, "grads"), g)).collect::<PyResult<_>>()?;
    let mut params: Vec<&mut [T]> = params.iter_mut().map(InOut::slice).collect::<PyResult<_>>()?;
    let grads: Vec<&[T]> = grads.iter().map(Input::slice).collect::<PyResult<_>>()?;
    let settings = *adam.settings.lock().unwrap_or_else(PoisonError::into_inner);
    let moments = &adam.moments;
    Ok(py.detach(|| {
        let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
        let moments = typed(moments.get_or_insert_with(|| new(Adam::default())));
        let moments =
            moments.ok_or_else(|| Error::value("params", "the precision of the first step", "the other one"))?;
        moments.step(settings, &mut params, &grads, max_norm)
    })?)
}
