//! The class `Sessions`: many live sequences by key.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use numpy::{PyArray1, PyArrayDyn};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyTuple};

use super::arrays::{Either, Input, PyReal, either, optional_slice, unwritten, zeros};
use super::gru::PyWeights;
use super::threads::detached;
use crate::cell::Real;
use crate::error::Error;
use crate::memory::try_alloc::try_from_fn;
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::sessions::{Events, Keys, Limits, Sessions, StoredStates, Times};
use crate::shape::{expect_last, expect_shape};
use crate::threads::runtime::num_threads;

#[pyclass(frozen, name = "Sessions", module = "rgru._core")]
pub struct PySessions(Either<Mutex<Sessions<f32>>, Mutex<Sessions<f64>>>);

#[pymethods]
impl PySessions {
    #[new]
    #[pyo3(signature = (weights, max_sessions, timeout, half))]
    fn new(weights: &PyWeights, max_sessions: Option<usize>, timeout: Option<f64>, half: bool) -> PyResult<Self> {
        fn new<T: Real>(
            packed: &Arc<PackedWeights<T>>,
            limits: Limits,
            half: bool,
        ) -> Result<Mutex<Sessions<T>>, Error> {
            Sessions::new(Arc::clone(packed), limits, half).map(Mutex::new)
        }
        let limits = Limits { most: max_sessions, timeout };
        Ok(Self(match &weights.0 {
            Either::F32(packed) => Either::F32(new(packed, limits, half)?),
            Either::F64(packed) => Either::F64(new(packed, limits, half)?),
        }))
    }

    fn __len__(&self) -> PyResult<usize> {
        either!(&self.0, sessions => Ok(locked(sessions)?.len()))
    }

    #[getter]
    fn clock(&self) -> PyResult<f64> {
        either!(&self.0, sessions => Ok(locked(sessions)?.clock()))
    }

    #[pyo3(signature = (keys, offsets, x, times))]
    fn step<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        offsets: Option<&Bound<'py, PyAny>>,
        x: &Bound<'py, PyAny>,
        times: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let keys = GivenKeys::new(keys, offsets)?;
        either!(&self.0, sessions => Ok(step(py, sessions, &keys, x, times)?.into_any()))
    }

    #[pyo3(signature = (keys, offsets))]
    fn has<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        offsets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<bool>>> {
        let given = GivenKeys::new(keys, offsets)?;
        let keys = given.keys()?;
        let mut has = try_from_fn(keys.count(), |_| false)?;
        either!(&self.0, sessions => py.detach(|| locked(sessions)?.has(keys, &mut has))?);
        Ok(PyArray1::from_vec(py, has))
    }

    #[pyo3(signature = (keys, offsets))]
    fn states<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        offsets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let keys = GivenKeys::new(keys, offsets)?;
        either!(&self.0, sessions => Ok(states(py, sessions, keys.keys()?)?.into_any()))
    }

    #[pyo3(signature = (keys, offsets))]
    fn drop(&self, py: Python<'_>, keys: &Bound<'_, PyAny>, offsets: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
        let given = GivenKeys::new(keys, offsets)?;
        let keys = given.keys()?;
        either!(&self.0, sessions => Ok(py.detach(|| Ok::<_, Error>(locked(sessions)?.drop_keys(keys)))?))
    }

    fn expire(&self, py: Python<'_>, now: f64) -> PyResult<usize> {
        either!(&self.0, sessions => Ok(py.detach(|| locked(sessions)?.expire(now))?))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        either!(&self.0, sessions => Ok(py.detach(|| {
            locked(sessions)?.clear();
            Ok::<_, Error>(())
        })?))
    }

    fn places<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let places = either!(&self.0, sessions => py.detach(|| locked(sessions)?.in_use())?);
        Ok(PyArray1::from_vec(py, places))
    }

    fn integers<'py>(&self, py: Python<'py>, places: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let places = Input::<u32>::new("places", places)?;
        Ok(PyArray1::from_vec(py, either!(&self.0, sessions => locked(sessions)?.integers(places.slice()?)?)))
    }

    fn texts<'py>(&self, py: Python<'py>, places: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        let places = Input::<u32>::new("places", places)?;
        let (data, offsets) = either!(&self.0, sessions => locked(sessions)?.texts(places.slice()?)?);
        (PyArray1::from_vec(py, data), PyArray1::from_vec(py, offsets)).into_pyobject(py)
    }

    fn times<'py>(&self, py: Python<'py>, places: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let places = Input::<u32>::new("places", places)?;
        Ok(PyArray1::from_vec(py, either!(&self.0, sessions => locked(sessions)?.times(places.slice()?)?)))
    }

    fn kept<'py>(&self, py: Python<'py>, places: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let places = Input::<u32>::new("places", places)?;
        either!(&self.0, sessions => kept(py, &*locked(sessions)?, places.slice()?))
    }

    #[pyo3(signature = (keys, offsets, states, times, clock))]
    fn restore(
        &self,
        keys: &Bound<'_, PyAny>,
        offsets: Option<&Bound<'_, PyAny>>,
        states: &Bound<'_, PyAny>,
        times: Option<&Bound<'_, PyAny>>,
        clock: f64,
    ) -> PyResult<()> {
        let (keys, times) = (GivenKeys::new(keys, offsets)?, Input::<f64>::optional("times", times)?);
        let (keys, times) = (keys.keys()?, optional_slice(times.as_ref())?);
        either!(&self.0, sessions => restore(&mut *locked(sessions)?, keys, states, times, clock))
    }
}

/// The keys of a call, borrowed.
enum GivenKeys<'py> {
    Integers(Input<'py, i64>),
    Texts { data: Input<'py, u8>, offsets: Input<'py, i64> },
}

impl<'py> GivenKeys<'py> {
    fn new(keys: &Bound<'py, PyAny>, offsets: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        Ok(match offsets {
            None => Self::Integers(Input::new("keys", keys)?),
            Some(offsets) => Self::Texts { data: Input::new("keys", keys)?, offsets: Input::new("offsets", offsets)? },
        })
    }

    fn keys(&self) -> PyResult<Keys<'_>> {
        Ok(match self {
            Self::Integers(keys) => Keys::Integers(keys.slice()?),
            Self::Texts { data, offsets } => Keys::texts(data.slice()?, offsets.slice()?)?,
        })
    }
}

fn step<'py, T: PyReal>(
    py: Python<'py>,
    sessions: &Mutex<Sessions<T>>,
    keys: &GivenKeys<'py>,
    x: &Bound<'py, PyAny>,
    times: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let (keys, x) = (keys.keys()?, Input::<T>::new("x", x)?);
    let dims = *locked(sessions)?.packed().dims();
    let [rows, _] = x.dimensions("x")?;
    expect_last("x", dims.input_size, "input_size", x.shape())?;
    keys.expect(rows)?;
    let each = match times {
        Some(times) if !times.is_instance_of::<PyFloat>() => Some(Input::<f64>::new("times", times)?),
        _ => None,
    };
    let times = match (&each, times) {
        (Some(each), _) => {
            expect_shape("times", &[rows], each.shape())?;
            Times::Each(each.slice()?)
        }
        (None, Some(once)) => Times::Once(once.extract()?),
        (None, None) => Times::Once(0.0),
    };
    let (y, mut out) = unwritten(py, &[rows, dims.hidden_size])?;
    let (x, out) = (x.slice()?, out.slice()?);
    let events = Events { keys, x, times };
    let threads = num_threads()?;
    detached(py, |stop| {
        locked(sessions)?.step_with(events, out, Options { threads: Some(threads), stop: Some(stop) })
    })?;
    Ok(y)
}

fn states<'py, T: PyReal>(
    py: Python<'py>,
    sessions: &Mutex<Sessions<T>>,
    keys: Keys,
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let dims = *locked(sessions)?.packed().dims();
    let (h, mut out) = zeros(py, &[dims.num_layers, keys.count(), dims.hidden_size])?;
    let out = out.slice()?;
    match py.detach(|| locked(sessions)?.states(keys, out))? {
        None => Ok(h),
        Some(n) => Err(PyKeyError::new_err(n)),
    }
}

fn kept<'py, T: PyReal>(py: Python<'py>, sessions: &Sessions<T>, places: &[u32]) -> PyResult<Bound<'py, PyAny>> {
    let dims = sessions.packed().dims();
    let shape = [places.len(), dims.num_layers, dims.hidden_size];
    if sessions.half() {
        let (states, mut out) = unwritten::<u16>(py, &shape)?;
        sessions.copy_out(places, StoredStates::Half(out.slice()?))?;
        return Ok(states.into_any());
    }
    let (states, mut out) = unwritten::<T>(py, &shape)?;
    sessions.copy_out(places, StoredStates::Whole(out.slice()?))?;
    Ok(states.into_any())
}

fn restore<T: PyReal>(
    sessions: &mut Sessions<T>,
    keys: Keys,
    states: &Bound<'_, PyAny>,
    times: Option<&[f64]>,
    clock: f64,
) -> PyResult<()> {
    if sessions.half() {
        let states = Input::<u16>::new("states", states)?;
        return Ok(sessions.restore(keys, StoredStates::Half(states.slice()?), times, clock)?);
    }
    let states = Input::<T>::new("states", states)?;
    Ok(sessions.restore(keys, StoredStates::Whole(states.slice()?), times, clock)?)
}

/// Locks the sessions without waiting: a signal handler that waited would wait for the call that it has interrupted.
fn locked<T: Real>(sessions: &Mutex<Sessions<T>>) -> Result<MutexGuard<'_, Sessions<T>>, Error> {
    match sessions.try_lock() {
        Ok(sessions) => Ok(sessions),
        Err(TryLockError::Poisoned(sessions)) => Ok(sessions.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Error::value("sessions", "one call at a time", "one during another")),
    }
}
