//! Sizes and options of a stack of layers, and its tensors.

use crate::error::Error;
use crate::shape::expect::expect_shape;

/// More layers than any stack has: sizes in a damaged file are refused before they take memory.
const MAX_LAYERS: usize = 1024;

/// Sizes and options of a stack of GRU layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Features of the input, I.
    pub input_size: usize,
    /// Units of every layer and direction, H.
    pub hidden_size: usize,
    /// Layers, L.
    pub num_layers: usize,
    /// Two directions, their outputs concatenated.
    pub bidirectional: bool,
    /// Reset-after cell instead of reset-before.
    pub reset_after: bool,
    /// Whether there are biases.
    pub bias: bool,
}

/// A named tensor in the flat array of parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// `layers.{k}.{fwd|rev}.{W|U|b|b_hh}`.
    pub name: String,
    /// Rows and, for matrices, columns.
    pub shape: Vec<usize>,
    /// Where it starts.
    pub offset: usize,
}

impl Dims {
    /// Checks the sizes.
    ///
    /// # Errors
    /// A size is 0, there are too many layers, or the parameters would not fit into memory addresses.
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
        Ok(self)
    }

    /// Directions, D.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Layers times directions, L * D.
    pub fn num_cells(&self) -> usize {
        self.num_layers * self.directions()
    }

    /// Features of the output, D * H.
    pub fn output_size(&self) -> usize {
        self.directions() * self.hidden_size
    }

    /// Features of a layer's input.
    pub fn layer_input(&self, layer: usize) -> usize {
        if layer == 0 { self.input_size } else { self.output_size() }
    }

    /// The tensors of one cell: name within the cell and shape.
    pub(crate) fn cell_tensors(&self, layer: usize) -> Vec<(&'static str, Vec<usize>)> {
        let rows = 3 * self.hidden_size;
        let mut tensors = vec![("W", vec![rows, self.layer_input(layer)]), ("U", vec![rows, self.hidden_size])];
        if self.bias {
            tensors.push(("b", vec![rows]));
            if self.reset_after {
                tensors.push(("b_hh", vec![self.hidden_size]));
            }
        }
        tensors
    }

    /// All tensors in the order of the flat array.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut offset = 0;
        let mut tensors = Vec::new();
        for layer in 0..self.num_layers {
            for direction in &["fwd", "rev"][..self.directions()] {
                for (name, shape) in self.cell_tensors(layer) {
                    let len: usize = shape.iter().product();
                    tensors.push(Tensor { name: format!("layers.{layer}.{direction}.{name}"), shape, offset });
                    offset += len;
                }
            }
        }
        tensors
    }

    /// Numbers in the flat array of parameters.
    pub fn num_params(&self) -> usize {
        (0..self.num_layers).map(|layer| self.directions() * self.cell_len(layer)).sum()
    }

    pub(crate) fn cell_len(&self, layer: usize) -> usize {
        self.cell_tensors(layer).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Checks that `params` has [`Dims::num_params`] numbers.
    ///
    /// # Errors
    /// It has another length.
    pub fn check_params(&self, len: usize) -> Result<(), Error> {
        expect_shape("params", &[self.num_params()], &[len])
    }

    /// Checks an array of states, (L * D, N, H).
    ///
    /// # Errors
    /// It has another shape.
    pub fn check_states(&self, name: &str, shape: &[usize], batch: usize) -> Result<(), Error> {
        expect_shape(name, &[self.num_cells(), batch, self.hidden_size], shape)
    }
}
