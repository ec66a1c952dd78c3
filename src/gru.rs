//! The layer for Rust users.

use std::sync::Arc;

use crate::cell::Real;
use crate::error::Error;
use crate::options::Options;
use crate::rnn::{self, Inputs, Outputs, PackedWeights, Stream};
use crate::sessions::{Limits, Sessions};
use crate::shape::Dims;
use crate::train::init::initial;

/// A stack of GRU layers with packed weights. It is immutable, cheap to clone, and can be shared by threads.
///
/// ```
/// use rgru::{Dims, Gru};
///
/// let dims = Dims::new(3, 8);
/// let gru = Gru::<f32>::seeded(dims, 0)?;
/// let mut stream = gru.stream(1)?;
/// let mut y_t = [0.0; 8];
/// stream.step(&[0.1, 0.2, 0.3], &mut y_t)?;
/// # Ok::<(), rgru::Error>(())
/// ```
#[derive(Clone)]
pub struct Gru<T: 'static> {
    pub(crate) packed: Arc<PackedWeights<T>>,
}

impl<T: Real> Gru<T> {
    /// Packs the flat parameters `params`, which are in the order of [`Dims::tensors`].
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let dims = Dims::new(3, 8);
    /// let gru = Gru::<f32>::new(dims, &vec![0.1; dims.num_params()])?;
    /// assert_eq!(gru.dims(), &dims);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if `dims` is not valid, `params` has another length than [`Dims::num_params`], or the
    /// environment variable `RGRU_ISA` names an instruction set that this machine does not have; [`Error::Memory`] if
    /// there is not enough memory.
    pub fn new(dims: Dims, params: &[T]) -> Result<Self, Error> {
        Ok(Self { packed: Arc::new(PackedWeights::new(dims, params, false)?) })
    }

    /// Draws initial parameters: W Glorot uniform, U orthogonal, biases 0. A seed gives the same parameters on every
    /// platform.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// let gru = Gru::<f64>::seeded(Dims::new(3, 8), 42)?;
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Gru::new`].
    pub fn seeded(dims: Dims, seed: u64) -> Result<Self, Error> {
        Self::new(dims, &initial(dims, seed, &|| false)?)
    }

    /// Returns the sizes and options of the stack.
    ///
    /// ```
    /// # use rgru::{Dims, Gru};
    /// # let gru = Gru::<f32>::seeded(Dims::new(3, 8), 0)?;
    /// assert_eq!(gru.dims().hidden_size, 8);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn dims(&self) -> &Dims {
        self.packed.dims()
    }

    /// Runs a batch and writes its outputs and final states. Padded and ragged batches differ only in
    /// `inputs.sequences`.
    ///
    /// ```
    /// # use rgru::{Dims, Gru, Inputs, Options, Outputs, Sequences};
    /// # let dims = Dims::new(3, 8);
    /// let gru = Gru::<f32>::seeded(dims, 0)?;
    /// let sequences = Sequences::ragged(&[0, 5, 7], 7)?; // of 5 and 2 steps
    /// let (x, mut y, mut h_n) = ([0.5; 7 * 3], [0.0; 7 * 8], [0.0; 2 * 8]);
    /// let inputs = Inputs { x: &x, sequences: &sequences, h0: None };
    /// gru.run(inputs, Outputs { y: &mut y, h_n: &mut h_n }, Options::default())?;
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if the size of an array does not fit, [`Error::Memory`], or [`Error::Interrupted`] if
    /// `options.stop` returned true.
    pub fn run(&self, inputs: Inputs<T>, outputs: Outputs<T>, options: Options) -> Result<(), Error> {
        rnn::forward(&self.packed, inputs, outputs, options)
    }

    /// Returns an empty set of sessions, bounded by `limits`. With `half`, states are rounded to half precision (IEEE
    /// 754 binary16) between events and stored in it.
    ///
    /// ```
    /// # use rgru::{Dims, Events, Gru, Keys, Limits, Times};
    /// # let dims = Dims::new(3, 8);
    /// let mut sessions = Gru::<f32>::seeded(dims, 0)?.sessions(Limits::default(), false)?;
    /// let events = Events { keys: Keys::Integers(&[7, 8, 7]), x: &[0.5; 9], times: Times::Once(0.0) };
    /// let mut y = [0.0; 3 * 8];
    /// sessions.step(events, &mut y)?;
    /// assert_eq!(sessions.len(), 2);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if the stack is bidirectional or runs in reverse: its outputs need the whole sequence.
    pub fn sessions(&self, limits: Limits, half: bool) -> Result<Sessions<T>, Error> {
        Sessions::new(Arc::clone(&self.packed), limits, half)
    }

    /// Starts `batch` sequences that advance one step at a time, from the initial states of the stack. See [`Stream`] for an example.
    ///
    /// # Errors
    /// [`Error::Value`] if the stack is bidirectional or runs in reverse; [`Error::Memory`] if there is not enough memory.
    pub fn stream(&self, batch: usize) -> Result<Stream<T>, Error> {
        Stream::new(Arc::clone(&self.packed), batch)
    }
}
