//! The sizes and options of a stack of layers, and its tensors.

use crate::error::Error;
use crate::shape::cell_options::{CellOptions, NormForm};
use crate::shape::expect::expect_shape;

/// More layers than any real stack has, so that sizes from a damaged file are rejected before memory is allocated.
const MAX_LAYERS: usize = 1024;

/// The sizes and options of a stack of GRU layers.
///
/// ```
/// use rgru::{Dims, Merge};
///
/// let dims = Dims { num_layers: 2, bidirectional: true, ..Dims::new(3, 8) };
/// assert_eq!((dims.directions(), dims.num_cells(), dims.output_size()), (2, 4, 16));
/// assert_eq!(Dims { merge: Merge::Sum, ..dims }.output_size(), 8);
/// assert_eq!(dims.num_params(), 2 * 24 * (3 + 8 + 1) + 2 * 24 * (16 + 8 + 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dims {
    /// Number of input features, I.
    pub input_size: usize,
    /// Number of units of each layer and direction, H.
    pub hidden_size: usize,
    /// Number of layers, L.
    pub num_layers: usize,
    /// Whether each layer also runs from the last step to the first; the outputs of both directions are concatenated.
    pub bidirectional: bool,
    /// Whether the cell is reset-after instead of reset-before.
    pub reset_after: bool,
    /// Whether the cell has biases.
    pub bias: bool,
    /// The activations and clips of the cell.
    pub cell: CellOptions,
    /// Whether a unidirectional stack runs from the last step to the first, all layers of it.
    pub reverse: bool,
    /// The rate at which training drops units of the states in the recurrent products, 0 for none. A sequence has one
    /// mask for all its steps (Gal and Ghahramani 2016).
    pub recurrent_dropout: f64,
    /// How the outputs of both directions become one; for unidirectional stacks always [`Merge::Concat`].
    pub merge: Merge,
    /// Whether the initial states are parameters, for runs that are given none. Otherwise they are zeros.
    pub learned_h0: bool,
}

/// How the outputs of the two directions of a layer become its output. See [`Dims`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Merge {
    /// Side by side, forward first: 2H features.
    #[default]
    Concat,
    /// Their sum, H features.
    Sum,
    /// Their mean, H features.
    Mean,
    /// Their product, H features.
    Product,
}

/// The name, shape and position of a tensor in the flat array of parameters.
///
/// ```
/// # use rgru::Dims;
/// # let dims = Dims::new(3, 8);
/// let u = &dims.tensors()[1];
/// assert_eq!((u.name.as_str(), u.shape.as_slice(), u.offset), ("layers.0.fwd.U", &[24, 8][..], 24 * 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name, `layers.{k}.{fwd|rev}.{W|U|b|b_hh|g|g_hh|h0}`.
    pub name: String,
    /// Rows and, for matrices, columns.
    pub shape: Vec<usize>,
    /// Position of its first number in the flat array.
    pub offset: usize,
}

impl Dims {
    /// Returns the sizes of one layer of plain reset-before cells with biases: the base of all others.
    ///
    /// ```
    /// # use rgru::Dims;
    /// assert_eq!(Dims::new(3, 8).num_layers, 1);
    /// ```
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self {
            input_size,
            hidden_size,
            num_layers: 1,
            bidirectional: false,
            reset_after: false,
            bias: true,
            cell: CellOptions::default(),
            reverse: false,
            merge: Merge::Concat,
            recurrent_dropout: 0.0,
            learned_h0: false,
        }
    }

    /// Validates the sizes and returns them.
    ///
    /// ```
    /// # use rgru::Dims;
    /// assert!(Dims::new(3, 0).check().is_err());
    /// assert_eq!(Dims::new(3, 8).check()?, Dims::new(3, 8));
    /// # Ok::<(), rgru::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if a size is 0, there are more than 1024 layers, the parameters exceed the address space, or
    /// an option of the cell is not valid.
    pub fn check(self) -> Result<Self, Error> {
        for (name, value) in
            [("input_size", self.input_size), ("hidden_size", self.hidden_size), ("num_layers", self.num_layers)]
        {
            if value == 0 {
                return Err(Error::value(name, "at least 1", "0"));
            }
        }
        if self.num_layers > MAX_LAYERS {
            let got = self.num_layers.to_string();
            return Err(Error::value("num_layers", format!("at most {MAX_LAYERS}"), got));
        }
        let bytes = |rows: usize, columns: usize| rows.checked_mul(columns)?.checked_mul(size_of::<f64>());
        let widest = self.input_size.checked_add(self.hidden_size.saturating_mul(3));
        let total = self.hidden_size.checked_mul(3).and_then(|rows| bytes(rows, widest?));
        let total = total.and_then(|cell| cell.checked_mul(self.num_layers)?.checked_mul(4));
        if total.is_none_or(|total| total > isize::MAX as usize) {
            let got = format!("{} x {} x {}", self.input_size, self.hidden_size, self.num_layers);
            return Err(Error::value("input_size, hidden_size, num_layers", "parameters that fit into memory", got));
        }
        if !(0.0..1.0).contains(&self.recurrent_dropout) {
            return Err(Error::value("recurrent_dropout", "a rate in [0, 1)", self.recurrent_dropout.to_string()));
        }
        if self.bidirectional && self.reverse {
            return Err(Error::value("reverse", "False for a bidirectional stack, which has both directions", "True"));
        }
        if !self.bidirectional && self.merge != Merge::Concat {
            let got = format!("{:?}", self.merge).to_lowercase();
            return Err(Error::value("merge", "concat for a stack with one direction", got));
        }
        if self.cell.layer_norm.is_some() && !self.reset_after {
            return Err(Error::value("layer_norm", "None for a reset-before cell", "a form"));
        }
        self.cell.check()?;
        Ok(self)
    }

    /// Returns the number of directions, D.
    ///
    /// ```
    /// # use rgru::Dims;
    /// let dims = Dims { num_layers: 2, bidirectional: true, ..Dims::new(3, 8) };
    /// assert_eq!(dims.directions(), 2);
    /// ```
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Returns the number of cells: layers times directions, L * D.
    ///
    /// ```
    /// # use rgru::Dims;
    /// let dims = Dims { num_layers: 2, bidirectional: true, ..Dims::new(3, 8) };
    /// assert_eq!(dims.num_cells(), 4);
    /// ```
    pub fn num_cells(&self) -> usize {
        self.num_layers * self.directions()
    }

    /// Returns whether a direction runs from the last step to the first.
    pub(crate) fn runs_backward(&self, direction: usize) -> bool {
        self.reverse || direction == 1
    }

    /// Returns the number of features of the states of all directions, D * H.
    pub(crate) fn states_size(&self) -> usize {
        self.directions() * self.hidden_size
    }

    /// Returns the number of output features: D * H, or H if two directions are merged to their sum, mean or product.
    ///
    /// ```
    /// # use rgru::Dims;
    /// let dims = Dims { num_layers: 2, bidirectional: true, ..Dims::new(3, 8) };
    /// assert_eq!(dims.output_size(), 16);
    /// ```
    pub fn output_size(&self) -> usize {
        if self.merge == Merge::Concat { self.states_size() } else { self.hidden_size }
    }

    /// Returns the number of input features of a layer: I for layer 0, the number of output features for the others.
    ///
    /// ```
    /// # use rgru::Dims;
    /// let dims = Dims { num_layers: 2, bidirectional: true, ..Dims::new(3, 8) };
    /// assert_eq!((dims.layer_input(0), dims.layer_input(1)), (3, 16));
    /// ```
    pub fn layer_input(&self, layer: usize) -> usize {
        if layer == 0 { self.input_size } else { self.output_size() }
    }

    /// Returns the tensors of one cell: their names within the cell, and shapes.
    pub(crate) fn cell_tensors(&self, layer: usize) -> Vec<(&'static str, Vec<usize>)> {
        let rows = 3 * self.hidden_size;
        let mut tensors = vec![("W", vec![rows, self.layer_input(layer)]), ("U", vec![rows, self.hidden_size])];
        let norm = self.cell.layer_norm.map(|norm| norm.form);
        if self.bias {
            tensors.push(("b", vec![rows]));
            if self.reset_after && norm != Some(NormForm::Sum) {
                tensors.push(("b_hh", vec![self.hidden_size]));
            }
        }
        if norm.is_some() {
            tensors.push(("g", vec![rows]));
        }
        if norm == Some(NormForm::Separate) {
            tensors.push(("g_hh", vec![rows]));
        }
        if self.learned_h0 {
            tensors.push(("h0", vec![self.hidden_size]));
        }
        tensors
    }

    /// Returns all tensors in the order of the flat array: by layer, then direction, then W `[3H, input]`, U `[3H, H]`,
    /// b `[3H]`, in reset-after cells `b_hh` `[H]`, with layer normalisation the gains g `[3H]` and, if it is separate,
    /// `g_hh` `[3H]`, and with learned initial states h0 `[H]`. Rows are in the order reset gate, update gate, candidate.
    ///
    /// ```
    /// # use rgru::Dims;
    /// let names: Vec<_> = Dims::new(3, 8).tensors().into_iter().map(|tensor| tensor.name).collect();
    /// assert_eq!(names, ["layers.0.fwd.W", "layers.0.fwd.U", "layers.0.fwd.b"]);
    /// ```
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut offset = 0;
        let mut tensors = Vec::new();
        for layer in 0..self.num_layers {
            for direction in 0..self.directions() {
                let direction = if self.runs_backward(direction) { "rev" } else { "fwd" };
                for (name, shape) in self.cell_tensors(layer) {
                    let len: usize = shape.iter().product();
                    tensors.push(Tensor { name: format!("layers.{layer}.{direction}.{name}"), shape, offset });
                    offset += len;
                }
            }
        }
        tensors
    }

    /// Returns the length of the flat array of parameters.
    ///
    /// ```
    /// # use rgru::Dims;
    /// assert_eq!(Dims::new(3, 8).num_params(), 24 * 3 + 24 * 8 + 24);
    /// ```
    pub fn num_params(&self) -> usize {
        (0..self.num_layers).map(|layer| self.directions() * self.cell_len(layer)).sum()
    }

    /// As `CellOptions::record_len`.
    pub(crate) fn record_len(&self) -> usize {
        self.cell.record_len(self.hidden_size)
    }

    pub(crate) fn cell_len(&self, layer: usize) -> usize {
        self.cell_tensors(layer).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Checks that the stack can run step by step.
    ///
    /// # Errors
    /// [`Error::Value`] if it cannot.
    pub(crate) fn check_stepwise(&self) -> Result<(), Error> {
        for (name, backward) in [("bidirectional", self.bidirectional), ("reverse", self.reverse)] {
            if backward {
                return Err(Error::value(name, "False, since a step cannot look ahead", "True"));
            }
        }
        Ok(())
    }

    /// Checks that an array of parameters of length `len` has [`Dims::num_params`] numbers.
    ///
    /// ```
    /// # use rgru::Dims;
    /// assert!(Dims::new(3, 8).check_params(288).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if it has not.
    pub fn check_params(&self, len: usize) -> Result<(), Error> {
        expect_shape("params", &[self.num_params()], &[len])
    }

    /// Checks that `shape`, of an argument called `name`, is that of the states of `batch` sequences, `[L * D, N, H]`.
    ///
    /// ```
    /// # use rgru::Dims;
    /// assert!(Dims::new(3, 8).check_states("h0", &[1, 5, 8], 5).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] if it is not.
    pub fn check_states(&self, name: &str, shape: &[usize], batch: usize) -> Result<(), Error> {
        expect_shape(name, &[self.num_cells(), batch, self.hidden_size], shape)
    }
}
