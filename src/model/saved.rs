//! A model that Python has saved.

use std::path::Path;
use std::sync::Arc;

use crate::cell::Real;
use crate::error::Error;
use crate::files;
use crate::model::parts::Parts;
use crate::model::restore;
use crate::model::stream::ModelStream;
use crate::options::Options;
use crate::shape::Sequences;

/// A model that the Python package has saved: a `Model`, `GRUClassifier`, `GRURegressor` or `GRU`. It is immutable,
/// cheap to clone, and can be shared by threads.
///
/// ```
/// use rgru::{Model, Options};
///
/// let model = Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
/// assert_eq!(model.classes(), Some(&["high".into(), "low".into()][..]));
/// // Two sequences, of 3 and 1 steps of 2 features.
/// let x = [0.5, -0.5, 0.1, 0.9, -1.0, 0.3, 0.2, 0.4];
/// let probabilities = model.predict(&x, &[0, 3, 4], Options::default())?;
/// assert_eq!(probabilities.len(), 2 * model.output_size());
/// # Ok::<(), rgru::Error>(())
/// ```
#[derive(Clone)]
pub struct Model<T: Real> {
    parts: Arc<Parts<T>>,
}

impl<T: Real> Model<T> {
    /// Reads a model that its `save` has written in Python. Its outputs have the bits that they have in Python.
    ///
    /// ```
    /// use rgru::Model;
    ///
    /// let error = Model::<f32>::load("tests/goldens/README.md").err().unwrap();
    /// assert!(error.to_string().starts_with("tests/goldens/README.md: expected a file"));
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`], which names the file, if it cannot be read, is damaged, or is not in the precision `T`;
    /// [`Error::Memory`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let parts = files::restore(path.as_ref(), restore::parts)?;
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Returns the number of features of a step, I.
    ///
    /// ```
    /// # let model = rgru::Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
    /// assert_eq!(model.input_size(), 2);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn input_size(&self) -> usize {
        self.parts.chain.input_size
    }

    /// Returns the numbers of a row of the output, O: classes, targets, or the features of the last layer.
    ///
    /// ```
    /// # let model = rgru::Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
    /// assert_eq!(model.output_size(), 2);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn output_size(&self) -> usize {
        self.parts.chain.output_size
    }

    /// Returns whether there is a row of output for every step, since no layer pools.
    ///
    /// ```
    /// # let model = rgru::Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
    /// assert!(!model.every()); // a row for each sequence
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn every(&self) -> bool {
        self.parts.chain.every()
    }

    /// Returns the labels of a classifier as text, in the order of its probabilities; `None` for other models.
    ///
    /// ```
    /// # let model = rgru::Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
    /// assert_eq!(model.classes().unwrap()[0], "high");
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn classes(&self) -> Option<&[String]> {
        self.parts.classes.as_deref()
    }

    /// Returns the names of the features that an estimator was trained on, if they had names.
    ///
    /// ```
    /// # let model = rgru::Model::<f32>::load("tests/goldens/saved/classifier.safetensors")?;
    /// assert_eq!(model.feature_names(), None);
    /// # Ok::<(), rgru::Error>(())
    /// ```
    pub fn feature_names(&self) -> Option<&[String]> {
        self.parts.feature_names.as_deref()
    }

    /// Computes the outputs of N sequences without padding: sequence n is the rows `offsets[n]..offsets[n + 1]` of `x`,
    /// which has I numbers a row. Returns a row of O numbers for each sequence, or for each step if [`Model::every`].
    ///
    /// They are what Python predicts: the probabilities of a classifier, the targets of a regressor in their own units,
    /// the outputs of a model. The numbers of an f32 model convert to f64 exactly. Inputs in f64 are standardised
    /// in f64, if the model standardises, and then rounded to `T`.
    ///
    /// ```
    /// use rgru::{Model, Options};
    ///
    /// let model = Model::<f64>::load("tests/goldens/saved/regressor.safetensors")?;
    /// let x = [0.5f32; 5 * 2]; // f32 or f64
    /// let targets = model.predict(&x, &[0, 5], Options { threads: Some(1), stop: None })?;
    /// assert_eq!(targets.len(), 1 * model.output_size());
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if the size of `x` or the offsets do not fit, a number is no id where the model reads one, or
    /// an estimator gets a number that is not finite; [`Error::Memory`]; [`Error::Interrupted`] if `options.stop`
    /// returned true.
    pub fn predict<X: Real>(&self, x: &[X], offsets: &[i64], options: Options) -> Result<Vec<f64>, Error> {
        let Parts { inputs, chain, .. } = &*self.parts;
        let rows = inputs.rows(x)?;
        let sequences = Sequences::ragged(offsets, rows)?;
        let place = |row: usize| {
            let n = offsets.partition_point(|&offset| offset as usize <= row) - 1;
            format!("sequence {n}, step {}", row - offsets[n] as usize)
        };
        let outputs = chain.run(inputs.convert(x, place)?, &sequences, options)?;
        Ok(self.parts.finished(outputs))
    }

    /// Starts `batch` sequences that advance one step at a time. See [`ModelStream`] for an example.
    ///
    /// # Errors
    /// [`Error::Value`] if an output needs later steps, as those of a bidirectional GRU do, or is a mean or a maximum
    /// over all steps; [`Error::Memory`].
    pub fn stream(&self, batch: usize) -> Result<ModelStream<T>, Error> {
        ModelStream::new(Arc::clone(&self.parts), batch)
    }
}
