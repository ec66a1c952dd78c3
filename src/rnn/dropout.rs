//! The masks of training: dropout between layers, and zoneout of states. The mask of a row depends on the seed, the layer
//! or cell, and the row, not on the thread.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::Error;
use crate::shape::Dims;
use crate::simd::float::Float;

/// Zeroes each output of a layer with probability `rate` and scales the others by 1 / (1 - rate) (Srivastava et al.
/// 2014), before the next layer reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    rate: f64,
    seed: u64,
}

impl Dropout {
    /// Returns dropout with a rate, or `None` if the rate is 0.
    ///
    /// # Errors
    /// [`Error::Value`] if the rate is not in [0, 1).
    pub fn new(rate: f64, seed: u64) -> Result<Option<Self>, Error> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::value("dropout", "a rate in [0, 1)", rate.to_string()));
        }
        Ok((rate > 0.0).then_some(Self { rate, seed }))
    }

    /// Returns the key of the masks of a seed, for `ChaCha8`. The kernels for GPUs use the same key.
    pub fn key(seed: u64) -> [u8; 32] {
        ChaCha8Rng::seed_from_u64(seed).get_seed()
    }

    /// Multiplies `values` by the mask of the input of `layer`. They are compact rows of `width` numbers, from `row`
    /// on.
    pub fn apply<T: Float>(&self, layer: usize, row: usize, width: usize, values: &mut [T]) {
        let mut random = ChaCha8Rng::from_seed(Self::key(self.seed));
        random.set_stream(layer as u64);
        random.set_word_pos((row * width) as u128);
        let scale = T::from_f64(1.0 / (1.0 - self.rate));
        let threshold = self.rate * (f64::from(u32::MAX) + 1.0);
        for value in values {
            *value = if f64::from(random.next_u32()) < threshold { T::ZERO } else { *value * scale };
        }
    }
}

/// The masks of a run in training; by default none, as in inference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Masks {
    /// Dropout between layers.
    pub dropout: Option<Dropout>,
    /// Zoneout of the states of all cells.
    pub zoneout: Option<Zoneout>,
}

impl Masks {
    /// Returns the masks of a seed: those of dropout with a rate, and those of the stack's zoneout.
    ///
    /// # Errors
    /// [`Error::Value`] if the rate is not in [0, 1).
    pub fn new(dims: &Dims, dropout: f64, seed: u64) -> Result<Self, Error> {
        let rate = dims.cell.zoneout;
        Ok(Self {
            dropout: Dropout::new(dropout, seed)?,
            zoneout: (rate > 0.0).then(|| Zoneout { rate, key: Dropout::key(seed) }),
        })
    }
}

/// Keeps each state in a step with probability `rate` (Krueger et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zoneout {
    rate: f64,
    key: [u8; 32],
}

impl Zoneout {
    /// Writes the factors of z of one row of a cell: 0 for a state that is kept, else 1. Rows are compact.
    pub fn factors<T: Float>(&self, cell: usize, row: usize, factors: &mut [T]) {
        let mut random = ChaCha8Rng::from_seed(self.key);
        random.set_stream((1 << 32) + cell as u64); // dropout has the first ones
        random.set_word_pos((row * factors.len()) as u128);
        let threshold = self.rate * (f64::from(u32::MAX) + 1.0);
        factors.fill_with(|| if f64::from(random.next_u32()) < threshold { T::ZERO } else { T::ONE });
    }
}
