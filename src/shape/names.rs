//! The options of a cell by the names that Python and files have for them.

use crate::error::Error;
use crate::shape::cell_options::{Activation, LayerNorm, NormForm};
use crate::shape::dims::Merge;

impl Activation {
    /// Returns the activation of a name and its parameters, the value of the option called `option`.
    ///
    /// # Errors
    /// [`Error::Value`] if there is none.
    pub(crate) fn named(option: &str, name: &str, parameters: &[f64]) -> Result<Self, Error> {
        Ok(match (name, parameters) {
            ("sigmoid", []) => Self::Sigmoid,
            ("hard_sigmoid", &[alpha, beta]) => Self::HardSigmoid { alpha, beta },
            ("tanh", []) => Self::Tanh,
            ("relu", []) => Self::Relu,
            ("linear", []) => Self::Linear,
            ("softsign", []) => Self::Softsign,
            ("elu", &[alpha]) => Self::Elu { alpha },
            _ => return Err(Error::value(option, "a known activation", format!("'{name}' with {parameters:?}"))),
        })
    }
}

impl LayerNorm {
    /// Returns the form of a name, with its epsilon.
    ///
    /// # Errors
    /// [`Error::Value`] if there is no such form.
    pub(crate) fn named(name: &str, epsilon: f64) -> Result<Self, Error> {
        let form = match name {
            "separate" => NormForm::Separate,
            "sum" => NormForm::Sum,
            _ => return Err(Error::value("layer_norm", "separate or sum", name)),
        };
        Ok(Self { form, epsilon })
    }
}

impl Merge {
    /// Returns the merge of a name.
    ///
    /// # Errors
    /// [`Error::Value`] if there is none.
    pub(crate) fn named(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "concat" => Self::Concat,
            "sum" => Self::Sum,
            "mean" => Self::Mean,
            "product" => Self::Product,
            _ => return Err(Error::value("merge", "concat, sum, mean or product", name)),
        })
    }
}
