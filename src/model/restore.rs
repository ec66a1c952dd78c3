//! Models from the contents of their files.

use serde::Deserialize;
use serde_json::Value;

use crate::cell::Real;
use crate::error::Error;
use crate::files::gru::gru;
use crate::files::{GruSettings, Named, Tensors, expect_dtype, parse};
use crate::model::chain::Chain;
use crate::model::inputs::{Inputs, Scaler};
use crate::model::layer::Layer;
use crate::model::parts::Parts;
use crate::train::head::Linear;

/// The configuration of a `Model`.
#[derive(Deserialize)]
struct ModelConfig {
    dtype: String,
    layers: Vec<LayerConfig>,
}

/// A layer, by the name of its class.
#[derive(Deserialize)]
#[serde(tag = "layer", deny_unknown_fields)]
enum LayerConfig {
    #[serde(rename = "GRU")]
    Gru(Box<GruSettings>),
    Linear {
        input_size: u32,
        output_size: u32,
        bias: bool,
    },
    LayerNorm {
        size: u32,
        epsilon: f64,
    },
    Activation {
        activation: Named,
    },
    /// In training alone.
    Dropout {
        #[serde(rename = "rate")]
        _rate: f64,
    },
    Pool {
        kind: Pooling,
    },
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    Last,
    Mean,
    Max,
    Every,
}

/// The configuration of an estimator; what only training needs is left out.
#[derive(Deserialize)]
struct EstimatorConfig {
    gru: GruSettings,
    output_size: u32,
    pooling: Pooling,
    feature_names: Option<Vec<String>>,
    classes: Option<Classes>,
}

#[derive(Deserialize)]
struct Classes {
    values: Vec<Value>,
}

/// Makes the parts of a model of a kind.
///
/// # Errors
/// [`Error::Value`] if the configuration and the tensors do not fit, or are not valid; [`Error::Memory`].
pub fn parts<T: Real>(kind: &str, config: &str, tensors: &mut Tensors) -> Result<Parts<T>, Error> {
    match kind {
        "GRU" => Ok(plain(Chain::new(vec![Layer::Gru(gru(&parse(config)?, "", tensors)?)])?)),
        "Model" => {
            let config: ModelConfig = parse(config)?;
            expect_dtype::<T>(&config.dtype)?;
            Ok(plain(Chain::new(layers(config.layers, tensors)?)?))
        }
        "GRUClassifier" | "GRURegressor" => estimator(kind, parse(config)?, tensors),
        _ => Err(Error::value("kind", "GRU, Model, GRUClassifier or GRURegressor", kind)),
    }
}

fn plain<T: Real>(chain: Chain<T>) -> Parts<T> {
    let inputs = Inputs { size: chain.input_size, ids: chain.reads_ids(), finite: false, scaler: None };
    Parts { inputs, chain, targets: None, classes: None, feature_names: None }
}

fn layers<T: Real>(configs: Vec<LayerConfig>, tensors: &mut Tensors) -> Result<Vec<Layer<T>>, Error> {
    let mut layers = Vec::new();
    for (i, config) in configs.into_iter().enumerate() {
        let layer = match config {
            LayerConfig::Gru(settings) => Layer::Gru(gru(&settings, &format!("{i}."), tensors)?),
            LayerConfig::Linear { input_size, output_size, bias } => {
                linear(&format!("{i}"), [output_size, input_size], bias, tensors)?
            }
            LayerConfig::LayerNorm { size, epsilon } => Layer::Norm {
                gain: tensors.vector(&format!("{i}.gain"), &[size as usize])?,
                bias: tensors.vector(&format!("{i}.bias"), &[size as usize])?,
                epsilon: at_least::<T>("epsilon", epsilon, f64::MIN_POSITIVE)?,
            },
            LayerConfig::Activation { activation } => self::activation(&activation)?,
            LayerConfig::Dropout { .. } => continue,
            LayerConfig::Pool { kind } => pool(kind, &mut layers)?,
        };
        layers.push(layer);
    }
    Ok(layers)
}

/// Returns the layer of a pooling. The last states belong to the GRU before, which is taken out of the layers.
fn pool<T: Real>(kind: Pooling, layers: &mut Vec<Layer<T>>) -> Result<Layer<T>, Error> {
    match kind {
        Pooling::Last => match layers.pop() {
            Some(Layer::Gru(gru)) => Ok(Layer::Last(gru)),
            _ => Err(Error::value("layers", "a GRU right before Pool('last')", "another layer")),
        },
        Pooling::Mean => Ok(Layer::Mean),
        Pooling::Max => Ok(Layer::Max),
        Pooling::Every => Err(Error::value("kind", "last, mean or max", "every")),
    }
}

fn activation<T: Real>(named: &Named) -> Result<Layer<T>, Error> {
    let (name, parameters) = named.parts();
    Ok(match (name, parameters.as_slice()) {
        ("softmax", []) => Layer::Softmax,
        ("silu", []) => Layer::Silu,
        ("leaky_relu", &[slope]) => Layer::LeakyRelu(at_least::<T>("activation", slope, 0.0)?),
        ("clip", &[low, high]) if low < high || low.is_nan() || high.is_nan() => {
            Layer::Clip(T::from_f64(low), T::from_f64(high))
        }
        _ => Layer::Activation(named.activation::<T>("activation")?),
    })
}

/// Converts a number that is finite and at least `least`.
fn at_least<T: Real>(name: &str, number: f64, least: f64) -> Result<T, Error> {
    if number >= least && T::from_f64(number).is_finite() {
        return Ok(T::from_f64(number));
    }
    Err(Error::value(name, format!("a number in the range of {}, at least {least:e}", T::NAME), number.to_string()))
}

fn linear<T: Real>(
    prefix: &str,
    [outputs, inputs]: [u32; 2],
    bias: bool,
    tensors: &mut Tensors,
) -> Result<Layer<T>, Error> {
    let (outputs, inputs) = (outputs as usize, inputs as usize);
    if outputs == 0 || inputs == 0 {
        return Err(Error::value(prefix, "at least 1 feature in and out", format!("{inputs} and {outputs}")));
    }
    let weight = tensors.vector::<T>(&format!("{prefix}.weight"), &[outputs, inputs])?;
    let bias = if bias { tensors.vector(&format!("{prefix}.bias"), &[outputs])? } else { vec![T::ZERO; outputs] };
    Ok(Layer::Linear(Linear::new(inputs, &weight, &bias)?))
}

fn estimator<T: Real>(kind: &str, config: EstimatorConfig, tensors: &mut Tensors) -> Result<Parts<T>, Error> {
    let gru = gru::<T>(&config.gru, "", tensors)?;
    let (size, features) = (gru.dims().input_size, gru.dims().output_size() as u32);
    let mut layers = vec![Layer::Gru(gru)];
    if config.pooling != Pooling::Every {
        let pool = pool(config.pooling, &mut layers)?;
        layers.push(pool);
    }
    layers.push(linear("head", [config.output_size, features], true, tensors)?);
    let (mut targets, mut classes) = (None, None);
    if kind == "GRUClassifier" {
        layers.push(Layer::Softmax);
        let known = config.classes.map_or_else(Vec::new, |classes| classes.values);
        if known.len() != config.output_size as usize {
            return Err(Error::value("classes", config.output_size.to_string(), known.len().to_string()));
        }
        classes = Some(known.into_iter().map(label).collect());
    } else {
        targets = Some(scaler("target", config.output_size as usize, tensors)?);
    }
    if let Some(names) = &config.feature_names
        && names.len() != size
    {
        return Err(Error::value("feature_names", format!("{size} names"), names.len().to_string()));
    }
    let chain = Chain::new(layers)?;
    let scaler = if tensors.has("input.mean") { Some(scaler("input", size, tensors)?) } else { None };
    let inputs = Inputs { size, ids: chain.reads_ids(), finite: true, scaler };
    Ok(Parts { inputs, chain, targets, classes, feature_names: config.feature_names })
}

fn scaler(prefix: &str, size: usize, tensors: &mut Tensors) -> Result<Scaler, Error> {
    let mut vector = |name: &str| tensors.vector(&format!("{prefix}.{name}"), &[size]);
    Ok(Scaler { mean: vector("mean")?, scale: vector("scale")? })
}

/// Returns a label as text: a string without quotes, or a number.
fn label(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
