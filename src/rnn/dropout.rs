//! Dropout between layers. The mask of a row depends on the seed, the layer and the row, not on the thread.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::Error;
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
