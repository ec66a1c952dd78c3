//! The layers of a model in a row, with their order and sizes checked.

use crate::cell::Real;
use crate::error::Error;
use crate::model::layer::Layer;
use crate::options::Options;
use crate::shape::Sequences;

/// Layers, from the input on.
pub struct Chain<T: Real> {
    /// Each with the number of features that it takes.
    pub layers: Vec<(Layer<T>, usize)>,
    /// The features of a step.
    pub input_size: usize,
    /// The numbers of a row of the output.
    pub output_size: usize,
}

impl<T: Real> Chain<T> {
    /// Puts layers in a row.
    ///
    /// # Errors
    /// [`Error::Value`] if there is no GRU, a layer does not take the features of the one before, or one for sequences
    /// follows a pooling.
    pub fn new(layers: Vec<Layer<T>>) -> Result<Self, Error> {
        let fail = |i: usize, expected: String, got: String| Err(Error::value(format!("layers[{i}]"), expected, got));
        let Some(input_size) = layers.iter().find_map(Layer::sizes).map(|(takes, _)| takes) else {
            return Err(Error::value("layers", "at least one GRU", "none"));
        };
        let (mut features, mut pooled, mut grus, mut chain) = (input_size, false, 0, Vec::new());
        for (i, layer) in layers.into_iter().enumerate() {
            let (takes, gives) = layer.sizes().unwrap_or((features, features));
            if takes != features {
                return fail(i, format!("a layer of {features} features"), takes.to_string());
            }
            if let Layer::Gru(gru) | Layer::Last(gru) = &layer {
                grus += 1;
                if i > 0 && gru.packed.vocabulary().is_some() {
                    return fail(i, "a GRU that reads ids as the first layer".into(), "it after another".into());
                }
            }
            if pooled && (layer.pools() || matches!(layer, Layer::Gru(_))) {
                return fail(i, "a layer for single rows after a pooling".into(), "one for sequences".into());
            }
            pooled |= layer.pools();
            chain.push((layer, features));
            features = gives;
        }
        if grus == 0 {
            return Err(Error::value("layers", "at least one GRU", "none"));
        }
        Ok(Self { layers: chain, input_size, output_size: features })
    }

    /// Returns whether no layer pools.
    pub fn every(&self) -> bool {
        !self.layers.iter().any(|(layer, _)| layer.pools())
    }

    /// Returns whether the first feature of a step is an id.
    pub fn reads_ids(&self) -> bool {
        let first = self.layers.first().map(|(layer, _)| layer);
        matches!(first, Some(Layer::Gru(gru) | Layer::Last(gru)) if gru.packed.vocabulary().is_some())
    }

    /// Computes the output for the steps of some sequences.
    ///
    /// # Errors
    /// As [`Layer::run`].
    pub fn run(&self, x: Vec<T>, sequences: &Sequences, options: Options) -> Result<Vec<T>, Error> {
        self.layers.iter().try_fold(x, |x, (layer, width)| layer.run(*width, x, sequences, options))
    }
}
