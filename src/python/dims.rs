//! The sizes and options of a stack, from a dict.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::Error;
use crate::shape::{Activation, CellOptions, Dims, LayerNorm, Merge, NormForm};

/// The sizes and options of a stack, checked.
pub struct PyDims(pub Dims);

impl<'py> FromPyObject<'_, 'py> for PyDims {
    type Error = PyErr;

    fn extract(sizes: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let sizes = sizes.cast::<PyDict>().map_err(|_| PyTypeError::new_err("sizes: expected a dict"))?;
        let dims = Dims {
            num_layers: item(&sizes, "num_layers")?,
            bidirectional: item(&sizes, "bidirectional")?,
            reset_after: item(&sizes, "reset_after")?,
            bias: item(&sizes, "bias")?,
            cell: CellOptions {
                gate_activation: activation("gate_activation", &item::<Bound<'_, PyAny>>(&sizes, "gate_activation")?)?,
                activation: activation("activation", &item::<Bound<'_, PyAny>>(&sizes, "activation")?)?,
                clip: item(&sizes, "clip")?,
                zoneout: item(&sizes, "zoneout")?,
                state_clip: item(&sizes, "state_clip")?,
                layer_norm: layer_norm(item(&sizes, "layer_norm")?)?,
            },
            reverse: item(&sizes, "reverse")?,
            merge: merge(&item::<String>(&sizes, "merge")?)?,
            recurrent_dropout: item(&sizes, "recurrent_dropout")?,
            learned_h0: item(&sizes, "learned_h0")?,
            ..Dims::new(item(&sizes, "input_size")?, item(&sizes, "hidden_size")?)
        };
        Ok(Self(dims.check()?))
    }
}

fn item<'py, T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>>(
    sizes: &Bound<'py, PyDict>,
    name: &str,
) -> PyResult<T> {
    let value = sizes.get_item(name)?.ok_or_else(|| PyValueError::new_err(format!("sizes: expected {name}")))?;
    value.extract().map_err(Into::into)
}

/// Converts the name of an activation, or its name and parameters.
pub fn activation(option: &str, value: &Bound<'_, PyAny>) -> PyResult<Activation> {
    let (name, parameters): (String, Vec<f64>) = if let Ok(name) = value.extract::<String>() {
        (name, Vec::new())
    } else {
        let parts: Vec<Bound<'_, PyAny>> = value.extract()?;
        let name = parts.first().ok_or_else(|| PyValueError::new_err(format!("{option}: expected a name")))?;
        (name.extract()?, parts[1..].iter().map(PyAnyMethods::extract).collect::<PyResult<_>>()?)
    };
    Ok(match (name.as_str(), parameters.as_slice()) {
        ("sigmoid", []) => Activation::Sigmoid,
        ("hard_sigmoid", &[alpha, beta]) => Activation::HardSigmoid { alpha, beta },
        ("tanh", []) => Activation::Tanh,
        ("relu", []) => Activation::Relu,
        ("linear", []) => Activation::Linear,
        ("softsign", []) => Activation::Softsign,
        ("elu", &[alpha]) => Activation::Elu { alpha },
        _ => return Err(Error::value(option, "a known activation", value.repr()?.to_string()).into()),
    })
}

/// Converts the name of a form and its epsilon.
fn layer_norm(value: Option<(String, f64)>) -> PyResult<Option<LayerNorm>> {
    let Some((name, epsilon)) = value else { return Ok(None) };
    let form = match name.as_str() {
        "separate" => NormForm::Separate,
        "sum" => NormForm::Sum,
        _ => return Err(Error::value("layer_norm", "separate or sum", name).into()),
    };
    Ok(Some(LayerNorm { form, epsilon }))
}

fn merge(name: &str) -> PyResult<Merge> {
    Ok(match name {
        "concat" => Merge::Concat,
        "sum" => Merge::Sum,
        "mean" => Merge::Mean,
        "product" => Merge::Product,
        _ => return Err(Error::value("merge", "concat, sum, mean or product", name).into()),
    })
}
