//! The class `Stream`: sequences that advance one step at a time.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use numpy::PyArrayDyn;
use pyo3::prelude::*;

use super::arrays::{Either, Input, PyReal, either, zeros};
use super::gru::PyWeights;
use super::threads::detached;
use crate::cell::Real;
use crate::error::Error;
use crate::options::Options;
use crate::rnn::Stream;
use crate::shape::expect_shape;
use crate::threads::runtime::num_threads;

#[pyclass(frozen, name = "Stream", module = "rgru._core")]
pub struct PyStream(Either<Mutex<Stream<f32>>, Mutex<Stream<f64>>>);

#[pymethods]
impl PyStream {
    #[new]
    fn new(weights: &PyWeights, batch_size: usize) -> PyResult<Self> {
        Ok(Self(match &weights.0 {
            Either::F32(packed) => Either::F32(Mutex::new(Stream::new(Arc::clone(packed), batch_size)?)),
            Either::F64(packed) => Either::F64(Mutex::new(Stream::new(Arc::clone(packed), batch_size)?)),
        }))
    }

    fn step<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        either!(&self.0, stream => Ok(step(py, stream, x)?.into_any()))
    }

    fn restart(&self, py: Python<'_>, n: usize) -> PyResult<()> {
        either!(&self.0, stream => with(py, stream, |stream| stream.restart(n)))
    }

    fn get_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        either!(&self.0, stream => Ok(state(py, stream)?.into_any()))
    }

    fn set_state(&self, py: Python<'_>, h: &Bound<'_, PyAny>) -> PyResult<()> {
        either!(&self.0, stream => set_state(py, stream, h))
    }
}

fn step<'py, T: PyReal>(
    py: Python<'py>,
    stream: &Mutex<Stream<T>>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let x = Input::<T>::new("x", x)?;
    let [batch, input, hidden] = with(py, stream, |stream| {
        let dims = stream.packed().dims();
        Ok([stream.batch(), dims.input_size, dims.hidden_size])
    })?;
    expect_shape("x", &[batch, input], x.shape())?;
    let (y, mut out) = zeros(py, &[batch, hidden])?;
    let (x, out) = (x.slice()?, out.slice()?);
    let threads = num_threads()?;
    detached(py, |stop| locked(stream)?.step_with(x, out, Options { threads: Some(threads), stop: Some(stop) }))?;
    Ok(y)
}

fn state<'py, T: PyReal>(py: Python<'py>, stream: &Mutex<Stream<T>>) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let (batch, dims) = with(py, stream, |stream| Ok((stream.batch(), *stream.packed().dims())))?;
    let (h, mut out) = zeros(py, &[dims.num_layers, batch, dims.hidden_size])?;
    let out = out.slice()?;
    with(py, stream, |stream| stream.states(out))?;
    Ok(h)
}

fn set_state<T: PyReal>(py: Python<'_>, stream: &Mutex<Stream<T>>, h: &Bound<'_, PyAny>) -> PyResult<()> {
    let h = Input::<T>::new("h", h)?;
    let (batch, dims) = with(py, stream, |stream| Ok((stream.batch(), *stream.packed().dims())))?;
    dims.check_states("h", h.shape(), batch)?;
    let h = h.slice()?;
    with(py, stream, |stream| stream.set_states(h))
}

/// Calls `work` with a stream that no other call is using, detached from the interpreter.
fn with<T: Real, R: Send>(
    py: Python<'_>,
    stream: &Mutex<Stream<T>>,
    work: impl Send + FnOnce(&mut Stream<T>) -> Result<R, Error>,
) -> PyResult<R> {
    Ok(py.detach(|| work(&mut *locked(stream)?))?)
}

/// Locks the stream without waiting: a signal handler that waited would wait for the call that it has interrupted.
fn locked<T: Real>(stream: &Mutex<Stream<T>>) -> Result<MutexGuard<'_, Stream<T>>, Error> {
    match stream.try_lock() {
        Ok(stream) => Ok(stream),
        Err(TryLockError::Poisoned(stream)) => Ok(stream.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Error::value("stream", "one call at a time", "one during another")),
    }
}
