//! The parts of a model.

use crate::cell::Real;
use crate::model::chain::Chain;
use crate::model::inputs::{Inputs, Scaler};

/// What a file holds.
pub struct Parts<T: Real> {
    /// From data to the first layer.
    pub inputs: Inputs,
    /// The layers.
    pub chain: Chain<T>,
    /// The units of a regressor's targets.
    pub targets: Option<Scaler>,
    /// The labels of a classifier.
    pub classes: Option<Vec<String>>,
    /// Those of an estimator.
    pub feature_names: Option<Vec<String>>,
}

impl<T: Real> Parts<T> {
    /// Converts the outputs of the layers to predictions.
    pub fn finished(&self, outputs: Vec<T>) -> Vec<f64> {
        let mut numbers: Vec<f64> = outputs.into_iter().map(T::to_f64).collect();
        if let Some(targets) = &self.targets {
            targets.undo(&mut numbers);
        }
        numbers
    }
}
