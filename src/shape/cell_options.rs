//! The options of a cell: its activations and clips.

use crate::error::Error;

/// A function of the cell's sums.
///
/// ```
/// use rgru::{Activation, CellOptions, Dims};
///
/// // The cell of Keras before 2.3.
/// let hard = Activation::HardSigmoid { alpha: 0.2, beta: 0.5 };
/// let cell = CellOptions { gate_activation: hard, ..CellOptions::default() };
/// let dims = Dims { cell, ..Dims::new(3, 8) };
/// assert!(dims.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// The logistic function 1 / (1 + exp(-a)).
    Sigmoid,
    /// min(max(alpha a + beta, 0), 1).
    HardSigmoid {
        /// The slope: 0.2 in Keras 2 and by default in ONNX, 1/6 in Keras 3 and `PyTorch`.
        alpha: f64,
        /// The value at 0, 0.5 in all of them.
        beta: f64,
    },
    /// tanh(a).
    Tanh,
    /// max(a, 0).
    Relu,
    /// a.
    Linear,
    /// a / (1 + |a|).
    Softsign,
    /// a for a > 0, else alpha (exp(a) - 1).
    Elu {
        /// The limit at minus infinity, negated; 1 by default in all frameworks.
        alpha: f64,
    },
}

/// The activations and clips of a cell. By default it is the plain cell: sigmoid, tanh, and no clips.
///
/// See [`Activation`] for an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellOptions {
    /// The activation of the reset and the update gate, [`Activation::Sigmoid`] or [`Activation::HardSigmoid`].
    pub gate_activation: Activation,
    /// The activation of the candidate.
    pub activation: Activation,
    /// The inputs of all activations are clipped to [-clip, clip], as in ONNX.
    pub clip: Option<f64>,
    /// The rate of zoneout (Krueger et al. 2017), 0 for none. In training each unit keeps its state in a step with this
    /// probability; otherwise every new state is mixed from the old one, with this weight, and the computed one.
    pub zoneout: f64,
    /// Each new state is clipped to [-`state_clip`, `state_clip`], as in LFADS (Pandarinath et al. 2018).
    pub state_clip: Option<f64>,
}

impl Default for CellOptions {
    fn default() -> Self {
        Self {
            gate_activation: Activation::Sigmoid,
            activation: Activation::Tanh,
            clip: None,
            zoneout: 0.0,
            state_clip: None,
        }
    }
}

impl Activation {
    /// Checks the parameters, which belong to the option called `name`.
    fn check(self, name: &str) -> Result<(), Error> {
        let parameters = match self {
            Self::HardSigmoid { alpha, beta } => [("alpha above 0", alpha, alpha > 0.0), ("a finite beta", beta, true)],
            Self::Elu { alpha } => [("alpha above 0", alpha, alpha > 0.0), ("", 0.0, true)],
            _ => return Ok(()),
        };
        for (expected, value, positive) in parameters {
            if !(value.is_finite() && positive) {
                return Err(Error::value(name, expected, value.to_string()));
            }
        }
        Ok(())
    }
}

impl CellOptions {
    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Value`] if the gates' activation leaves [0, 1], a parameter of an activation is not finite, a slope is
    /// not above 0, a clip is not finite and above 0, or the rate of zoneout is not in [0, 1).
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !matches!(self.gate_activation, Activation::Sigmoid | Activation::HardSigmoid { .. }) {
            let got = format!("{:?}", self.gate_activation).to_lowercase();
            return Err(Error::value("gate_activation", "sigmoid or hard_sigmoid, whose values are in [0, 1]", got));
        }
        self.gate_activation.check("gate_activation")?;
        self.activation.check("activation")?;
        if !(0.0..1.0).contains(&self.zoneout) {
            return Err(Error::value("zoneout", "a rate in [0, 1)", self.zoneout.to_string()));
        }
        for (name, clip) in [("clip", self.clip), ("state_clip", self.state_clip)] {
            if let Some(clip) = clip
                && !(clip.is_finite() && clip > 0.0)
            {
                return Err(Error::value(name, "a finite number above 0", clip.to_string()));
            }
        }
        Ok(())
    }
}
