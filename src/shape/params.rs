//! The canonical parameters: one flat array, split into the tensors of the cells.
//!
//! Order: by layer, then by direction (forward, reverse), then W `[3H, I]`, U `[3H, H]`, b `[3H]` and, in
//! reset-after cells, `b_hh` `[H]`, with layer normalisation the gains g and `g_hh` `[3H]`, and with learned initial
//! states h0 `[H]`. Rows are in the order r, z, candidate.

use crate::shape::cell_options::CellOptions;
use crate::shape::dims::Dims;

/// The parameters of one cell, borrowed.
pub struct CellParams<'a, T> {
    /// Number of input features, I.
    pub input: usize,
    /// Number of units, H.
    pub hidden: usize,
    /// Whether the cell is reset-after.
    pub reset_after: bool,
    /// Its activations and clips.
    pub options: CellOptions,
    /// `[3H, I]`.
    pub w: &'a [T],
    /// `[3H, H]`.
    pub u: &'a [T],
    /// `[3H]`, or empty.
    pub b: &'a [T],
    /// `[H]`, or empty.
    pub b_hh: &'a [T],
    /// The gains of layer normalisation, `[3H]`, or empty.
    pub g: &'a [T],
    /// Those of the recurrent sums, if they are normalised by themselves, `[3H]`, or empty.
    pub g_hh: &'a [T],
    /// The initial state, `[H]`, or empty for zeros.
    pub h0: &'a [T],
}

/// The parameters of one cell or their gradients, borrowed for writing.
pub struct CellParamsMut<'a, T> {
    /// `[3H, I]`.
    pub w: &'a mut [T],
    /// `[3H, H]`.
    pub u: &'a mut [T],
    /// `[3H]`, or empty.
    pub b: &'a mut [T],
    /// `[H]`, or empty.
    pub b_hh: &'a mut [T],
    /// `[3H]`, or empty.
    pub g: &'a mut [T],
    /// `[3H]`, or empty.
    pub g_hh: &'a mut [T],
    /// `[H]`, or empty.
    pub h0: &'a mut [T],
}

/// Splits a flat array into cells, by layer, forward before reverse.
///
/// # Panics
/// If the length of `params` is not [`Dims::num_params`].
pub fn split_params<'a, T>(dims: &Dims, mut params: &'a [T]) -> Vec<CellParams<'a, T>> {
    assert_eq!(params.len(), dims.num_params());
    let mut take = |len: usize| {
        let (part, rest) = params.split_at(len);
        params = rest;
        part
    };
    (0..dims.num_cells())
        .map(|index| {
            let layer = index / dims.directions();
            let [w, u, b, b_hh, g, g_hh, h0] = lengths(dims, layer);
            CellParams {
                input: dims.layer_input(layer),
                hidden: dims.hidden_size,
                reset_after: dims.reset_after,
                options: dims.cell,
                w: take(w),
                u: take(u),
                b: take(b),
                b_hh: take(b_hh),
                g: take(g),
                g_hh: take(g_hh),
                h0: take(h0),
            }
        })
        .collect()
}

/// Splits a flat array into cells, for writing.
///
/// # Panics
/// If the length of `params` is not [`Dims::num_params`].
pub fn split_params_mut<'a, T>(dims: &Dims, mut params: &'a mut [T]) -> Vec<CellParamsMut<'a, T>> {
    assert_eq!(params.len(), dims.num_params());
    let mut take = |len: usize| {
        let (part, rest) = std::mem::take(&mut params).split_at_mut(len);
        params = rest;
        part
    };
    (0..dims.num_cells())
        .map(|index| {
            let [w, u, b, b_hh, g, g_hh, h0] = lengths(dims, index / dims.directions());
            CellParamsMut {
                w: take(w),
                u: take(u),
                b: take(b),
                b_hh: take(b_hh),
                g: take(g),
                g_hh: take(g_hh),
                h0: take(h0),
            }
        })
        .collect()
}

/// Returns the lengths of W, U, b, `b_hh`, g, `g_hh` and h0.
fn lengths(dims: &Dims, layer: usize) -> [usize; 7] {
    let mut lengths = [0; 7];
    for (name, shape) in dims.cell_tensors(layer) {
        let place = ["W", "U", "b", "b_hh", "g", "g_hh", "h0"].iter().position(|&known| known == name);
        lengths[place.expect("a tensor of a cell")] = shape.iter().product();
    }
    lengths
}
