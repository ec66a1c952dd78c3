//! A model that runs step by step and keeps its states between calls.

use std::sync::Arc;

use crate::cell::Real;
use crate::error::Error;
use crate::memory::aligned::zeros;
use crate::model::layer::Layer;
use crate::model::parts::Parts;
use crate::rnn::Stream;
use crate::shape::expect_shape;

/// N sequences in a model that advance one step at a time. After each step there is an output for each sequence, with
/// the bits of a prediction for its steps so far.
///
/// [`Model::stream`](crate::Model::stream) starts one.
///
/// ```
/// use rgru::Model;
///
/// let model = Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
/// let mut stream = model.stream(1)?;
/// let mut probabilities = [0.0; 2];
/// for x_t in [[0.5, -0.5], [0.1, 0.9]] {
///     stream.step(&x_t, &mut probabilities)?;
/// }
/// assert!((probabilities[0] + probabilities[1] - 1.0).abs() < 1e-6);
/// # Ok::<(), rgru::Error>(())
/// ```
pub struct ModelStream<T: Real> {
    parts: Arc<Parts<T>>,
    batch: usize,
    /// Those of the GRUs, in their order.
    streams: Vec<Stream<T>>,
}

impl<T: Real> ModelStream<T> {
    pub(super) fn new(parts: Arc<Parts<T>>, batch: usize) -> Result<Self, Error> {
        let mut streams = Vec::new();
        for (layer, _) in &parts.chain.layers {
            match layer {
                Layer::Gru(gru) | Layer::Last(gru) => streams.push(gru.stream(batch)?),
                Layer::Mean | Layer::Max => {
                    return Err(Error::value("model", "no pooling or that of the last state", "one over all steps"));
                }
                _ => {}
            }
        }
        Ok(Self { parts, batch, streams })
    }

    /// Returns the number of sequences, N.
    ///
    /// ```
    /// # let model = rgru::Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
    /// assert_eq!(model.stream(4)?.batch(), 4);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Advances all sequences by one step: reads their inputs `x` `[N, I]`, as
    /// [`Model::predict`](crate::Model::predict) does, and writes their outputs `y` `[N, O]`. See [`ModelStream`] for an
    /// example.
    ///
    /// # Errors
    /// [`Error::Value`] if the size of an array or a number does not fit; no sequence has then advanced.
    /// [`Error::Memory`].
    pub fn step<X: Real>(&mut self, x: &[X], y: &mut [f64]) -> Result<(), Error> {
        let parts = &self.parts;
        expect_shape("x", &[self.batch * parts.chain.input_size], &[x.len()])?;
        expect_shape("y", &[self.batch * parts.chain.output_size], &[y.len()])?;
        let mut rows = parts.inputs.convert(x, |n| format!("sequence {n}"))?;
        let mut streams = self.streams.iter_mut();
        for (layer, width) in &parts.chain.layers {
            rows = match layer {
                Layer::Gru(gru) | Layer::Last(gru) => {
                    let mut states = zeros(self.batch * gru.dims().hidden_size)?;
                    if let Some(stream) = streams.next() {
                        stream.step(&rows, &mut states)?;
                    }
                    states
                }
                _ => layer.rows(*width, rows)?,
            };
        }
        y.copy_from_slice(&parts.finished(rows));
        Ok(())
    }

    /// Starts sequence `n` anew. The others are not affected.
    ///
    /// ```
    /// # let model = rgru::Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
    /// let (mut stream, mut first, mut again) = (model.stream(1)?, [0.0; 2], [0.0; 2]);
    /// stream.step(&[0.5, 0.1], &mut first)?;
    /// stream.restart(0)?;
    /// stream.step(&[0.5, 0.1], &mut again)?;
    /// assert_eq!(first, again);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if there is no such sequence.
    pub fn restart(&mut self, n: usize) -> Result<(), Error> {
        self.streams.iter_mut().try_for_each(|stream| stream.restart(n))
    }
}
