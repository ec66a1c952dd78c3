//! The settings of a GRU in a file, by the names that `python/rgru/nn/_settings.py` has for them.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::shape::{Activation, CellOptions, Dims, LayerNorm, Merge};
use crate::simd::float::Float;

/// More ids than this f32 cannot count.
const MAX_VOCABULARY: u32 = 1 << 24;

/// The settings of a GRU. Those that files leave out have their usual values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GruSettings {
    input_size: u32,
    hidden_size: u32,
    num_layers: u32,
    bidirectional: bool,
    reset_after: bool,
    bias: bool,
    dtype: String,
    /// Between layers, of training alone.
    #[serde(rename = "dropout")]
    _dropout: f64,
    gate_activation: Option<Named>,
    activation: Option<Named>,
    clip: Option<f64>,
    #[serde(default)]
    zoneout: f64,
    #[serde(default)]
    recurrent_dropout: f64,
    state_clip: Option<f64>,
    layer_norm: Option<(String, f64)>,
    #[serde(default)]
    reverse: bool,
    merge: Option<String>,
    #[serde(default)]
    learned_h0: bool,
    vocabulary: Option<u32>,
    embedding_size: Option<u32>,
}

/// A name, or a name and its parameters.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Named {
    /// A name alone.
    Name(String),
    /// With one parameter.
    One(String, f64),
    /// With two parameters, of which null is NaN.
    Two(String, Option<f64>, Option<f64>),
}

impl Named {
    /// Returns the name and its parameters.
    pub fn parts(&self) -> (&str, Vec<f64>) {
        match self {
            Self::Name(name) => (name, Vec::new()),
            Self::One(name, a) => (name, vec![*a]),
            Self::Two(name, a, b) => (name, [a, b].map(|one| one.unwrap_or(f64::NAN)).to_vec()),
        }
    }

    /// Returns the activation of this name, the value of the option called `option`.
    ///
    /// # Errors
    /// [`Error::Value`] if there is none, or a parameter is beyond the range of `T`.
    pub fn activation<T: Float>(&self, option: &str) -> Result<Activation, Error> {
        let (name, parameters) = self.parts();
        for &parameter in &parameters {
            in_range::<T>(option, parameter)?;
        }
        Activation::named(option, name, &parameters)
    }
}

impl GruSettings {
    /// Returns the number of ids and the size of their embeddings, if the GRU reads ids.
    ///
    /// # Errors
    /// [`Error::Value`] if one is missing or 0, or there are too many ids.
    pub fn embedding(&self) -> Result<Option<[usize; 2]>, Error> {
        match (self.vocabulary, self.embedding_size) {
            (None, None) => Ok(None),
            (Some(count @ 1..=MAX_VOCABULARY), Some(size @ 1..)) => Ok(Some([count as usize, size as usize])),
            got => Err(Error::value("vocabulary, embedding_size", "both or neither, above 0", format!("{got:?}"))),
        }
    }

    /// Returns the sizes and options of the stack, with the features of an embedding in the place of the id.
    ///
    /// # Errors
    /// [`Error::Value`] if one is not valid, or the precision is not `T`.
    pub fn dims<T: Float>(&self) -> Result<Dims, Error> {
        expect_dtype::<T>(&self.dtype)?;
        let mut input_size = self.input_size as usize;
        if let Some([_, size]) = self.embedding()? {
            input_size = input_size.saturating_sub(1) + size;
        }
        let number = |option: &str, number: Option<f64>| number.map(|n| in_range::<T>(option, n)).transpose();
        let activation = |option: &str, named: &Option<Named>, usual: Activation| match named {
            Some(named) => named.activation::<T>(option),
            None => Ok(usual),
        };
        let usual = CellOptions::default();
        let cell = CellOptions {
            gate_activation: activation("gate_activation", &self.gate_activation, usual.gate_activation)?,
            activation: activation("activation", &self.activation, usual.activation)?,
            clip: number("clip", self.clip)?,
            zoneout: self.zoneout,
            state_clip: number("state_clip", self.state_clip)?,
            layer_norm: match &self.layer_norm {
                Some((form, epsilon)) => Some(LayerNorm::named(form, in_range::<T>("layer_norm", *epsilon)?)?),
                None => None,
            },
        };
        let dims = Dims {
            num_layers: self.num_layers as usize,
            bidirectional: self.bidirectional,
            reset_after: self.reset_after,
            bias: self.bias,
            cell,
            reverse: self.reverse,
            recurrent_dropout: self.recurrent_dropout,
            merge: self.merge.as_deref().map_or(Ok(Merge::Concat), Merge::named)?,
            learned_h0: self.learned_h0,
            ..Dims::new(input_size, self.hidden_size as usize)
        };
        if self.input_size == 0 {
            return Err(Error::value("input_size", "at least 1", "0"));
        }
        dims.check()
    }
}

/// Checks that a precision is `T`.
///
/// # Errors
/// [`Error::Value`] if it is another one.
pub fn expect_dtype<T: Float>(dtype: &str) -> Result<(), Error> {
    if dtype == T::NAME { Ok(()) } else { Err(Error::value("dtype", T::NAME, dtype)) }
}

/// Returns a number that `T` can hold: neither too large, nor so small that it becomes 0.
fn in_range<T: Float>(option: &str, number: f64) -> Result<f64, Error> {
    let rounded = T::from_f64(number);
    if rounded.is_finite() && (rounded != T::ZERO || number == 0.0) {
        return Ok(number);
    }
    Err(Error::value(option, format!("numbers in the range of {}", T::NAME), number.to_string()))
}

/// Parses a configuration.
///
/// # Errors
/// [`Error::Value`] if it is not JSON, or has other contents than `C`.
pub fn parse<C: DeserializeOwned>(config: &str) -> Result<C, Error> {
    serde_json::from_str(&without_infinities(config))
        .map_err(|error| Error::value("config", "the configuration as JSON", error.to_string()))
}

/// Replaces the numbers that Python writes and JSON lacks by null: the history of a training may have an R^2 of
/// -Infinity.
fn without_infinities(config: &str) -> Cow<'_, str> {
    if !config.contains("NaN") && !config.contains("Infinity") {
        return config.into();
    }
    let mut in_string = false;
    let parts = config.split('"').map(|part| {
        if in_string {
            let backslashes = part.len() - part.trim_end_matches('\\').len();
            in_string = backslashes % 2 == 1; // an escaped quote
            return Cow::from(part);
        }
        in_string = true;
        part.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null").into()
    });
    parts.collect::<Vec<_>>().join("\"").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_replaced_outside_of_strings() {
        let python = r#"{"NaN \" NaN\\": [NaN, -Infinity, 1.5], "Infinity": Infinity}"#;
        assert_eq!(without_infinities(python), r#"{"NaN \" NaN\\": [null, null, 1.5], "Infinity": null}"#);
    }

    #[test]
    fn numbers_beyond_the_precision_are_refused() {
        for number in [1e39, -1e39, f64::NAN, 1e-60] {
            assert!(in_range::<f32>("clip", number).is_err());
        }
        assert_eq!(in_range::<f64>("clip", 1e39), Ok(1e39));
        assert_eq!(in_range::<f32>("clip", 0.0), Ok(0.0));
    }
}
