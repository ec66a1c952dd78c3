//! The masks of training: dropout between layers, dropout of the recurrent products, and zoneout of states. A mask
//! depends on the seed, the layer or cell, and the row or sequence, not on the thread.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::Error;
use crate::shape::Dims;
use crate::simd::float::Float;

/// The first streams of random numbers of zoneout and of recurrent dropout. Those of dropout between layers begin at 0.
const ZONEOUT_STREAMS: u64 = 1 << 32;
const RECURRENT_STREAMS: u64 = 2 << 32;

/// The masks of a run in training; by default none, as in inference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Masks {
    /// Dropout between layers.
    pub dropout: Option<Dropout>,
    /// Dropout of the states in all recurrent products.
    pub recurrent: Option<RecurrentDropout>,
    /// Zoneout of the states of all cells.
    pub zoneout: Option<Zoneout>,
}

impl Masks {
    /// Returns the masks of a seed: those of dropout between layers with a rate, and those of the stack's options.
    ///
    /// # Errors
    /// [`Error::Value`] if a rate is not in [0, 1).
    pub fn new(dims: &Dims, dropout: f64, seed: u64) -> Result<Self, Error> {
        let draws = |name, rate| Draws::new(name, rate, seed);
        Ok(Self {
            dropout: draws("dropout", dropout)?.map(Dropout),
            recurrent: draws("recurrent_dropout", dims.recurrent_dropout)?.map(RecurrentDropout),
            zoneout: draws("zoneout", dims.cell.zoneout)?.map(Zoneout),
        })
    }

    /// Returns the key of the masks of a seed, for `ChaCha8`. The kernels for GPUs use the same key.
    pub fn key(seed: u64) -> [u8; 32] {
        ChaCha8Rng::seed_from_u64(seed).get_seed()
    }
}

/// Random choices with the probability `rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Draws {
    rate: f64,
    key: [u8; 32],
}

impl Draws {
    /// Returns the choices of a seed, or `None` if the rate is 0.
    fn new(name: &str, rate: f64, seed: u64) -> Result<Option<Self>, Error> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::value(name, "a rate in [0, 1)", rate.to_string()));
        }
        Ok((rate > 0.0).then(|| Self { rate, key: Masks::key(seed) }))
    }

    /// Returns the choices of a stream from a position on: a function that returns the next one.
    fn from(&self, stream: u64, position: usize) -> impl FnMut() -> bool {
        let mut random = ChaCha8Rng::from_seed(self.key);
        random.set_stream(stream);
        random.set_word_pos(position as u128);
        let threshold = self.rate * (f64::from(u32::MAX) + 1.0);
        move || f64::from(random.next_u32()) < threshold
    }

    /// Returns the factor that keeps the mean of numbers of which the others are zeroed.
    fn scale<T: Float>(&self) -> T {
        T::from_f64(1.0 / (1.0 - self.rate))
    }
}

/// Zeroes each output of a layer with a probability, the rate, and scales the others by 1 / (1 - rate) (Srivastava et
/// al. 2014), before the next layer reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout(Draws);

impl Dropout {
    /// Multiplies `values` by the mask of the input of `layer`. They are compact rows of `width` numbers, from `row`
    /// on.
    pub fn apply<T: Float>(&self, layer: usize, row: usize, width: usize, values: &mut [T]) {
        let (mut dropped, scale) = (self.0.from(layer as u64, row * width), self.0.scale());
        for value in values {
            *value = if dropped() { T::ZERO } else { *value * scale };
        }
    }
}

/// Zeroes each unit of the state, and scales the others, where the state enters the recurrent products. A sequence has
/// one mask for all its steps and gates (Gal and Ghahramani 2016).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentDropout(Draws);

impl RecurrentDropout {
    /// Writes the factors of the states of a sequence in a cell, H numbers.
    pub fn mask<T: Float>(&self, cell: usize, sequence: usize, mask: &mut [T]) {
        let mut dropped = self.0.from(RECURRENT_STREAMS + cell as u64, sequence * mask.len());
        let scale = self.0.scale();
        mask.fill_with(|| if dropped() { T::ZERO } else { scale });
    }
}

/// Keeps each state in a step with a probability, the rate (Krueger et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zoneout(Draws);

impl Zoneout {
    /// Writes the factors of z of one row of a cell: 0 for a state that is kept, else 1. Rows are compact.
    pub fn factors<T: Float>(&self, cell: usize, row: usize, factors: &mut [T]) {
        let mut kept = self.0.from(ZONEOUT_STREAMS + cell as u64, row * factors.len());
        factors.fill_with(|| if kept() { T::ZERO } else { T::ONE });
    }
}
