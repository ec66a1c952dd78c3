//! The layers of a model, in inference. Each has the bits of its namesake in `python/rgru/model/`.

use crate::cell::Real;
use crate::error::Error;
use crate::gru::Gru;
use crate::memory::aligned::zeros;
use crate::options::Options;
use crate::rnn::{self, Inputs, Outputs, merge};
use crate::shape::{Activation, Merge, Sequences};
use crate::train::head::{Linear, activate, mean_over_time, normalise};
use crate::train::loss::softmax;

/// A layer. Those from `Linear` on treat each row by itself.
pub enum Layer<T: Real> {
    /// The outputs of a GRU.
    Gru(Gru<T>),
    /// The final states of a GRU: a row for each sequence.
    Last(Gru<T>),
    /// The mean over the steps of a sequence.
    Mean,
    /// The maximum over the steps of a sequence.
    Max,
    /// x W^T + b.
    Linear(Linear<T>),
    /// Layer normalisation.
    Norm {
        /// `[K]`.
        gain: Vec<T>,
        /// `[K]`.
        bias: Vec<T>,
        /// Added to the variance.
        epsilon: T,
    },
    /// An activation that GRUs have, too.
    Activation(Activation),
    /// x sigmoid(x).
    Silu,
    /// x, multiplied by a slope where it is not above 0.
    LeakyRelu(T),
    /// x within two limits; NaN is none.
    Clip(T, T),
    /// The softmax of a row.
    Softmax,
}

impl<T: Real> Layer<T> {
    /// Returns the numbers of features that the layer takes and gives; `None` if it takes any and gives as many.
    pub fn sizes(&self) -> Option<(usize, usize)> {
        match self {
            Self::Gru(gru) | Self::Last(gru) => Some((gru.dims().input_size, gru.dims().output_size())),
            Self::Linear(linear) => Some((linear.inputs(), linear.outputs())),
            Self::Norm { gain, .. } => Some((gain.len(), gain.len())),
            _ => None,
        }
    }

    /// Returns whether the layer makes one row of a sequence.
    pub fn pools(&self) -> bool {
        matches!(self, Self::Last(_) | Self::Mean | Self::Max)
    }

    /// Computes the output for the rows of whole sequences, of `width` features.
    ///
    /// # Errors
    /// As [`Gru::run`].
    pub fn run(&self, width: usize, x: Vec<T>, sequences: &Sequences, options: Options) -> Result<Vec<T>, Error> {
        match self {
            Self::Gru(gru) => {
                let (mut y, mut h_n) = (zeros(x.len() / width * gru.dims().output_size())?, states(gru, sequences)?);
                let inputs = Inputs { x: &x, sequences, h0: None };
                gru.run(inputs, Outputs { y: &mut y, h_n: &mut h_n }, options)?;
                Ok(y)
            }
            Self::Last(gru) => {
                let mut h_n = states(gru, sequences)?;
                rnn::final_states(&gru.packed, Inputs { x: &x, sequences, h0: None }, &mut h_n, options)?;
                last_features(gru, sequences.count(), &h_n)
            }
            Self::Mean => {
                let mut means = zeros(sequences.count() * width)?;
                mean_over_time(width, &x, sequences, &mut means)?;
                Ok(means)
            }
            Self::Max => max_over_time(width, &x, sequences),
            _ => self.rows(width, x),
        }
    }

    /// Computes the output of a layer that treats each row by itself.
    ///
    /// # Errors
    /// [`Error::Value`] if it is another layer; [`Error::Memory`].
    pub fn rows(&self, width: usize, mut x: Vec<T>) -> Result<Vec<T>, Error> {
        match self {
            Self::Gru(_) | Self::Last(_) | Self::Mean | Self::Max => {
                return Err(Error::value("model", "layers that need no other step", "pooling over all steps"));
            }
            Self::Linear(linear) => {
                let mut y = zeros(x.len() / width * linear.outputs())?;
                linear.run(&x, &mut y)?;
                return Ok(y);
            }
            Self::Norm { gain, bias, epsilon } => {
                let mut scales = zeros(x.len() / width)?;
                normalise(width, *epsilon, &mut x, &mut scales);
                for row in x.chunks_exact_mut(width) {
                    row.iter_mut().zip(gain).zip(bias).for_each(|((x, &gain), &bias)| *x = *x * gain + bias);
                }
            }
            Self::Activation(activation) => activate(*activation, &mut x)?,
            Self::Silu => {
                let mut gates = x.clone();
                activate(Activation::Sigmoid, &mut gates)?;
                x.iter_mut().zip(gates).for_each(|(x, gate)| *x *= gate);
            }
            Self::LeakyRelu(slope) => x.iter_mut().filter(|x| **x <= T::ZERO).for_each(|x| *x *= *slope),
            Self::Clip(low, high) => {
                x.iter_mut().filter(|x| **x < *low).for_each(|x| *x = *low);
                x.iter_mut().filter(|x| **x > *high).for_each(|x| *x = *high);
            }
            Self::Softmax => softmax(width, &mut x),
        }
        Ok(x)
    }
}

/// Returns memory for the final states of a GRU.
fn states<T: Real>(gru: &Gru<T>, sequences: &Sequences) -> Result<Vec<T>, Error> {
    let dims = gru.dims();
    zeros(dims.num_cells() * sequences.count() * dims.hidden_size)
}

/// Returns the features `[N, K]` of the last layer's final states, of those of all layers `[L * D, N, H]`.
fn last_features<T: Real>(gru: &Gru<T>, count: usize, h_n: &[T]) -> Result<Vec<T>, Error> {
    let dims = gru.dims();
    let (hidden, width) = (dims.hidden_size, dims.directions() * dims.hidden_size);
    let mut both = zeros(count * width)?;
    for (direction, states) in h_n[h_n.len() - count * width..].chunks_exact((count * hidden).max(1)).enumerate() {
        for (row, state) in both.chunks_exact_mut(width).zip(states.chunks_exact(hidden)) {
            row[direction * hidden..][..hidden].copy_from_slice(state);
        }
    }
    if dims.merge == Merge::Concat {
        return Ok(both);
    }
    let mut merged = zeros(count * hidden)?;
    merge(dims.merge, hidden, &both, &mut merged);
    Ok(merged)
}

/// Returns the largest values over the steps of each sequence, as NumPy compares; 0 for an empty sequence.
fn max_over_time<T: Real>(width: usize, y: &[T], sequences: &Sequences) -> Result<Vec<T>, Error> {
    let mut largest: Vec<T> = zeros(sequences.count() * width)?;
    for (rows, largest) in sequences.split(y, width).into_iter().zip(largest.chunks_exact_mut(width)) {
        for (t, row) in rows.chunks_exact(width).enumerate() {
            for (largest, &value) in largest.iter_mut().zip(row) {
                let stays = *largest >= value || largest.to_f64().is_nan();
                if t == 0 || !stays {
                    *largest = value;
                }
            }
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_keeps_nan_and_is_0_without_steps() {
        let sequences = Sequences::ragged(&[0, 2, 2, 3], 3).unwrap();
        let largest = max_over_time(2, &[-3.0, f64::NAN, -1.0, 5.0, -7.0, 2.0], &sequences).unwrap();
        assert!(largest[1].is_nan());
        assert_eq!([largest[0], largest[2], largest[3], largest[4], largest[5]], [-1.0, 0.0, 0.0, -7.0, 2.0]);
    }
}
