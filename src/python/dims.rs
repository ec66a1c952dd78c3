//! The sizes and options of a stack, from a dict.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::shape::{Activation, CellOptions, Dims, LayerNorm, Merge};

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
                layer_norm: item::<Option<(String, f64)>>(&sizes, "layer_norm")?
                    .map(|(form, epsilon)| LayerNorm::named(&form, epsilon))
                    .transpose()?,
            },
            reverse: item(&sizes, "reverse")?,
            merge: Merge::named(&item::<String>(&sizes, "merge")?)?,
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
    Ok(Activation::named(option, &name, &parameters)?)
}
