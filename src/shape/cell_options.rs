//! The options of a cell: its activations, clips and normalisation.

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

/// Layer normalisation (Ba et al. 2016) of the sums of a reset-after cell, over those of all three gates together.
///
/// ```
/// use rgru::{CellOptions, Dims, LayerNorm, NormForm};
///
/// // The cell of DreamerV3.
/// let cell = CellOptions { layer_norm: Some(LayerNorm::new(NormForm::Sum)), ..CellOptions::default() };
/// let dims = Dims { reset_after: true, cell, ..Dims::new(3, 8) };
/// assert_eq!(dims.num_params(), 24 * (3 + 8 + 1 + 1)); // with one gain for each sum
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// What is normalised.
    pub form: NormForm,
    /// Added to the variance, above 0.
    pub epsilon: f64,
}

/// The sums that layer normalisation acts on. See [`LayerNorm`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormForm {
    /// W x and U h, each by itself, as in haste.
    Separate,
    /// W x + U h, as in `DreamerV3`. The reset gate multiplies all of the candidate's normalised sum.
    Sum,
}

impl LayerNorm {
    /// Returns a form with the epsilon of the program that it comes from: 1e-5 in haste, 1e-3 in `DreamerV3`.
    ///
    /// ```
    /// use rgru::{LayerNorm, NormForm};
    ///
    /// assert_eq!(LayerNorm::new(NormForm::Separate).epsilon, 1e-5);
    /// ```
    pub fn new(form: NormForm) -> Self {
        let epsilon = match form {
            NormForm::Separate => 1e-5,
            NormForm::Sum => 1e-3,
        };
        Self { form, epsilon }
    }
}

/// The activations, clips and normalisation of a cell. By default it is the plain cell: sigmoid, tanh, and no others.
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
    /// Layer normalisation of the sums, only for reset-after cells.
    pub layer_norm: Option<LayerNorm>,
}

impl Default for CellOptions {
    fn default() -> Self {
        Self {
            gate_activation: Activation::Sigmoid,
            activation: Activation::Tanh,
            clip: None,
            zoneout: 0.0,
            state_clip: None,
            layer_norm: None,
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
    /// Returns the length of what a step of a cell with H hidden units records for the backward pass: r, z, candidate,
    /// and r * h in reset-before or `U_hh h + b_hh` in reset-after; then the normalised sums, and the factors that they
    /// were multiplied with.
    pub(crate) fn record_len(&self, hidden: usize) -> usize {
        let normalised = self.layer_norm.map_or(0, |norm| if norm.form == NormForm::Separate { 2 } else { 1 });
        4 * hidden + normalised * (3 * hidden + 1)
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Value`] if the gates' activation leaves [0, 1], a parameter of an activation is not finite, a slope is
    /// not above 0, a clip or an epsilon is not finite and above 0, or the rate of zoneout is not in [0, 1).
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
        if let Some(LayerNorm { epsilon, .. }) = self.layer_norm
            && !(epsilon.is_finite() && epsilon > 0.0)
        {
            return Err(Error::value("layer_norm", "a finite epsilon above 0", epsilon.to_string()));
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
