//! The classes `Weights` and `Tape`.

use std::sync::Arc;

use numpy::{PyArray1, PyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::arrays::{Either, InOut, Input, PyReal, either, optional_slice, precision, unwritten, zeros};
use super::dims::PyDims;
use super::threads::detached;
use crate::cell::Real;
use crate::error::Error;
use crate::options::Options;
use crate::rnn::packed_weights::PackedWeights;
use crate::rnn::{self, Checkpoints, ForwardArrays, InputGrads, Inputs, Masks, OutputGrads, Outputs, Tape};
use crate::shape::{Dims, Merge, Sequences, expect_last, expect_shape};
use crate::threads::runtime::num_threads;
use crate::train::init;

type Shared<T> = Arc<PackedWeights<T>>;

#[pyclass(frozen, name = "Weights", module = "rgru._core")]
pub struct PyWeights(pub(super) Either<Shared<f32>, Shared<f64>>);

#[pymethods]
impl PyWeights {
    #[new]
    #[pyo3(signature = (params, sizes, *, training))]
    fn new(py: Python<'_>, params: &Bound<'_, PyAny>, sizes: PyDims, training: bool) -> PyResult<Self> {
        fn pack<T: PyReal>(
            py: Python<'_>,
            params: &Bound<'_, PyAny>,
            dims: Dims,
            training: bool,
        ) -> PyResult<Shared<T>> {
            let params = Input::<T>::new("params", params)?;
            let params = params.slice()?;
            detached(py, |_| Ok(Arc::new(PackedWeights::new(dims, params, training)?)))
        }
        Ok(Self(match precision("params", params)? {
            Either::F32(()) => Either::F32(pack(py, params, sizes.0, training)?),
            Either::F64(()) => Either::F64(pack(py, params, sizes.0, training)?),
        }))
    }

    #[staticmethod]
    fn with_ids(
        py: Python<'_>,
        params: &Bound<'_, PyAny>,
        sizes: PyDims,
        embeddings: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        fn pack<T: PyReal>(
            py: Python<'_>,
            params: &Bound<'_, PyAny>,
            dims: Dims,
            embeddings: &Bound<'_, PyAny>,
        ) -> PyResult<Shared<T>> {
            let (params, embeddings) = (Input::<T>::new("params", params)?, Input::<T>::new("embeddings", embeddings)?);
            let [_, size] = embeddings.dimensions("embeddings")?;
            let (params, embeddings) = (params.slice()?, embeddings.slice()?);
            detached(py, |_| Ok(Arc::new(PackedWeights::with_ids(dims, params, embeddings, size)?)))
        }
        Ok(Self(match precision("params", params)? {
            Either::F32(()) => Either::F32(pack(py, params, sizes.0, embeddings)?),
            Either::F64(()) => Either::F64(pack(py, params, sizes.0, embeddings)?),
        }))
    }

    #[getter]
    fn training(&self) -> bool {
        either!(&self.0, packed => packed.training())
    }

    #[pyo3(signature = (x, h0, lengths, offsets))]
    fn forward<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        h0: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        offsets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        either!(&self.0, packed => {
            let call = Call::new(packed, x, h0, lengths, offsets)?;
            let (y, h_n, ()) =
                call.run(py, |inputs, outputs, options| rnn::forward(packed, inputs, outputs, options))?;
            (y, h_n).into_pyobject(py)
        })
    }

    #[pyo3(signature = (x, h0, lengths, offsets))]
    fn final_states<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        h0: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        offsets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        either!(&self.0, packed => Ok(Call::new(packed, x, h0, lengths, offsets)?.final_states(py)?.into_any()))
    }

    #[pyo3(signature = (x, h0, lengths, offsets, dropout, seed, checkpoint))]
    fn forward_tape<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        h0: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        offsets: Option<&Bound<'py, PyAny>>,
        dropout: f64,
        seed: Option<u64>,
        checkpoint: Option<usize>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        either!(&self.0, packed => {
            let call = Call::new(packed, x, h0, lengths, offsets)?;
            let masks = seed.map_or_else(|| Ok(Masks::default()), |seed| Masks::new(packed.dims(), dropout, seed))?;
            let (y, h_n, record) = call.run(py, |inputs, outputs, options| match checkpoint {
                None => rnn::forward_tape(packed, inputs, outputs, masks, options).map(Record::Tape),
                Some(every) => rnn::forward_checkpoints(packed, inputs, outputs, masks, every, options)
                    .map(Record::Checkpoints),
            })?;
            let whole = checkpoint.is_none();
            if whole {
                y.call_method1("setflags", (false,))?;
            }
            let h0 = if whole { optional_slice(call.h0.as_ref())?.map(<[_]>::to_vec) } else { None };
            let recorded = Recorded {
                packed: Arc::clone(packed),
                record,
                h0,
                x: x.cast::<PyArrayDyn<_>>()?.clone().unbind(),
                y: whole.then(|| y.clone().unbind()),
            };
            (y, h_n, recorded.wrap()).into_pyobject(py)
        })
    }
}

/// The checked arguments of a forward pass.
struct Call<'a, 'py, T: PyReal> {
    packed: &'a PackedWeights<T>,
    x: Input<'py, T>,
    h0: Option<Input<'py, T>>,
    sequences: Sequences,
    /// Whether rows of y may belong to no step.
    padding: bool,
}

type Results<'py, T, R> = (Bound<'py, PyArrayDyn<T>>, Bound<'py, PyArrayDyn<T>>, R);

impl<'a, 'py, T: PyReal> Call<'a, 'py, T> {
    fn new(
        packed: &'a PackedWeights<T>,
        x: &Bound<'py, PyAny>,
        h0: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        offsets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let dims = packed.dims();
        let x = Input::<T>::new("x", x)?;
        let lengths = Input::<i64>::optional("lengths", lengths)?;
        let offsets = Input::<i64>::optional("offsets", offsets)?;
        // The shape is checked before anything is allocated by sequence: a wrong array may claim any number of them.
        let sequences = match (&offsets, &lengths) {
            (Some(offsets), None) => {
                let [rows, _] = x.dimensions("x")?;
                expect_last("x", dims.input_size, "input_size", x.shape())?;
                Sequences::ragged(offsets.slice()?, rows)?
            }
            (None, lengths) => {
                let [batch, time, _] = x.dimensions("x")?;
                expect_last("x", dims.input_size, "input_size", x.shape())?;
                Sequences::padded(batch, time, optional_slice(lengths.as_ref())?)?
            }
            (Some(_), Some(_)) => return Err(Error::value("lengths", "None if offsets are given", "both").into()),
        };
        let h0 = Input::<T>::optional("h0", h0)?;
        if let Some(h0) = &h0 {
            dims.check_states("h0", h0.shape(), sequences.count())?;
        }
        Ok(Self { packed, x, h0, sequences, padding: lengths.is_some() })
    }

    /// Runs `work` with new arrays for y and `h_n`, and returns them with its result.
    fn run<R: Send>(
        &self,
        py: Python<'py>,
        work: impl Send + FnOnce(Inputs<T>, Outputs<T>, Options) -> Result<R, Error>,
    ) -> PyResult<Results<'py, T, R>> {
        let dims = self.packed.dims();
        let mut shape = self.x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = dims.output_size();
        }
        let (y, mut y_out) = if self.padding { zeros(py, &shape)? } else { unwritten(py, &shape)? };
        let (h_n, mut h_n_out) = self.states(py)?;
        let outputs = Outputs { y: y_out.slice()?, h_n: h_n_out.slice()? };
        let (inputs, threads) = (self.inputs()?, Some(num_threads()?));
        let result = detached(py, |stop| work(inputs, outputs, Options { threads, stop: Some(stop) }))?;
        Ok((y, h_n, result))
    }

    fn final_states(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
        let (h_n, mut out) = self.states(py)?;
        let (packed, inputs, out) = (self.packed, self.inputs()?, out.slice()?);
        let threads = Some(num_threads()?);
        detached(py, |stop| rnn::final_states(packed, inputs, out, Options { threads, stop: Some(stop) }))?;
        Ok(h_n)
    }

    fn inputs(&self) -> PyResult<Inputs<'_, T>> {
        Ok(Inputs { x: self.x.slice()?, sequences: &self.sequences, h0: optional_slice(self.h0.as_ref())? })
    }

    /// Returns a new array for `h_n`.
    fn states(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyArrayDyn<T>>, InOut<'py, T>)> {
        let dims = self.packed.dims();
        zeros(py, &[dims.num_cells(), self.sequences.count(), dims.hidden_size])
    }
}

/// The record of a forward pass for its backward pass.
enum Record<T: Real> {
    Tape(Tape<T>),
    Checkpoints(Checkpoints<T>),
}

/// A record with the arrays of its forward pass.
struct Recorded<T: PyReal> {
    packed: Shared<T>,
    record: Record<T>,
    /// For a tape only.
    h0: Option<Vec<T>>,
    x: Py<PyArrayDyn<T>>,
    /// For a tape only.
    y: Option<Py<PyArrayDyn<T>>>,
}

/// Wraps a record of one precision in the Python class.
trait Wrap {
    type Wrapped;
    fn wrap(self) -> Self::Wrapped;
}

impl Wrap for Recorded<f32> {
    type Wrapped = PyTape;
    fn wrap(self) -> PyTape {
        PyTape(Either::F32(self))
    }
}

impl Wrap for Recorded<f64> {
    type Wrapped = PyTape;
    fn wrap(self) -> PyTape {
        PyTape(Either::F64(self))
    }
}

#[pyclass(frozen, name = "Tape", module = "rgru._core")]
pub struct PyTape(Either<Recorded<f32>, Recorded<f64>>);

#[pymethods]
impl PyTape {
    #[pyo3(signature = (dy, dh_n))]
    fn backward<'py>(
        &self,
        py: Python<'py>,
        dy: Option<&Bound<'py, PyAny>>,
        dh_n: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        either!(&self.0, recorded => recorded.backward(py, dy, dh_n))
    }

    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        either!(&self.0, recorded => recorded.layers(py))
    }
}

impl<T: PyReal> Recorded<T> {
    /// Returns for each layer copies of the records of its cells, and of its states if they are not y.
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let Record::Tape(tape) = &self.record else {
            return Err(PyValueError::new_err("checkpoint: expected None for the values of every step"));
        };
        let dims = self.packed.dims();
        let hidden = dims.hidden_size;
        let copy = |rows: &[T], width: usize| -> PyResult<Bound<'py, PyArrayDyn<T>>> {
            let (array, mut out) = unwritten(py, &[rows.len() / width, width])?;
            out.slice()?.copy_from_slice(rows);
            Ok(array)
        };
        let width = dims.directions() * hidden;
        (0..dims.num_layers)
            .map(|layer| {
                let cells: Vec<_> =
                    tape.gates(layer).map(|rows| copy(rows, dims.record_len())).collect::<PyResult<_>>()?;
                let is_output = layer + 1 == dims.num_layers && dims.merge == Merge::Concat;
                let states = (!is_output).then(|| copy(tape.states(layer), width)).transpose()?;
                (cells, states).into_pyobject(py)
            })
            .collect()
    }

    fn backward<'py>(
        &self,
        py: Python<'py>,
        dy: Option<&Bound<'py, PyAny>>,
        dh_n: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let dims = self.packed.dims();
        let x = Input::<T>::new("x", self.x.bind(py).as_any())?;
        let y = self.y.as_ref().map(|y| Input::<T>::new("y", y.bind(py).as_any())).transpose()?;
        let dy = Input::<T>::optional("dy", dy)?;
        if let Some(dy) = &dy {
            let mut shape = x.shape().to_vec();
            if let Some(last) = shape.last_mut() {
                *last = dims.output_size();
            }
            expect_shape("dy", &shape, dy.shape())?;
        }
        let dh_n = Input::<T>::optional("dh_n", dh_n)?;
        let batch = match &self.record {
            Record::Tape(tape) => tape.sequences().count(),
            Record::Checkpoints(checkpoints) => checkpoints.sequences().count(),
        };
        if let Some(dh_n) = &dh_n {
            dims.check_states("dh_n", dh_n.shape(), batch)?;
        }
        let (dx, mut dx_out) = zeros(py, x.shape())?;
        let (dh0, mut dh0_out) = zeros(py, &[dims.num_cells(), batch, dims.hidden_size])?;
        let (dparams, mut dparams_out) = zeros(py, &[dims.num_params()])?;
        let input_grads = InputGrads { dx: dx_out.slice()?, dh0: dh0_out.slice()?, dparams: dparams_out.slice()? };
        let output_grads = OutputGrads { dy: optional_slice(dy.as_ref())?, dh_n: optional_slice(dh_n.as_ref())? };
        let (x, y) = (x.slice()?, optional_slice(y.as_ref())?.unwrap_or_default());
        let arrays = ForwardArrays { x, h0: self.h0.as_deref(), y };
        let (packed, record, threads) = (&*self.packed, &self.record, Some(num_threads()?));
        detached(py, |stop| {
            let options = Options { threads, stop: Some(stop) };
            match record {
                Record::Tape(tape) => rnn::backward(packed, tape, arrays, output_grads, input_grads, options),
                Record::Checkpoints(checkpoints) => {
                    rnn::backward_checkpoints(packed, checkpoints, x, output_grads, input_grads, options)
                }
            }
        })?;
        (dx, dh0, dparams).into_pyobject(py)
    }
}

#[pyfunction]
pub fn layout(py: Python<'_>, sizes: PyDims) -> PyResult<Vec<(String, Bound<'_, PyTuple>, usize)>> {
    let tensors = sizes.0.tensors();
    tensors.into_iter().map(|tensor| Ok((tensor.name, PyTuple::new(py, tensor.shape)?, tensor.offset))).collect()
}

#[pyfunction]
#[pyo3(signature = (count, *, seed, dtype))]
pub fn initial_embeddings<'py>(py: Python<'py>, count: usize, seed: u64, dtype: &str) -> PyResult<Bound<'py, PyAny>> {
    match dtype {
        "float32" => Ok(PyArray1::from_vec(py, init::initial_embeddings::<f32>(count, seed)?).into_any()),
        "float64" => Ok(PyArray1::from_vec(py, init::initial_embeddings::<f64>(count, seed)?).into_any()),
        _ => Err(PyValueError::new_err(format!("dtype: expected 'float32' or 'float64', got '{dtype}'"))),
    }
}

#[pyfunction]
pub fn dropout_key(py: Python<'_>, seed: u64) -> Bound<'_, PyBytes> {
    PyBytes::new(py, &Masks::key(seed))
}

#[pyfunction]
#[pyo3(signature = (sizes, *, seed, dtype))]
pub fn initial<'py>(py: Python<'py>, sizes: PyDims, seed: u64, dtype: &str) -> PyResult<Bound<'py, PyAny>> {
    let dims = sizes.0;
    match dtype {
        "float32" => {
            Ok(PyArray1::from_vec(py, detached(py, |stop| init::initial::<f32>(dims, seed, stop))?).into_any())
        }
        "float64" => {
            Ok(PyArray1::from_vec(py, detached(py, |stop| init::initial::<f64>(dims, seed, stop))?).into_any())
        }
        _ => Err(PyValueError::new_err(format!("dtype: expected 'float32' or 'float64', got '{dtype}'"))),
    }
}
