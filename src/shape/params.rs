//! The canonical parameters: one flat array, of which every cell has its part.
//!
//! Order: layers, in each the directions (forward, reverse), in each W `[3H, I]`, U `[3H, H]`, b `[3H]` and, in
//! reset-after cells, `b_hh` `[H]`; rows in the order r, z, candidate.

use crate::shape::dims::Dims;

/// Parameters of one cell.
pub struct CellParams<'a, T> {
    /// Features of its input, I.
    pub input: usize,
    /// Units, H.
    pub hidden: usize,
    /// Which cell.
    pub reset_after: bool,
    /// `[3H, I]`.
    pub w: &'a [T],
    /// `[3H, H]`.
    pub u: &'a [T],
    /// `[3H]`, or empty.
    pub b: &'a [T],
    /// `[H]`, or empty.
    pub b_hh: &'a [T],
}

/// Parameters of one cell, or as many gradients, to be written.
pub struct CellParamsMut<'a, T> {
    /// `[3H, I]`.
    pub w: &'a mut [T],
    /// `[3H, H]`.
    pub u: &'a mut [T],
    /// `[3H]`, or empty.
    pub b: &'a mut [T],
    /// `[H]`, or empty.
    pub b_hh: &'a mut [T],
}

/// Splits a flat array into cells, layer-major, forward before reverse.
///
/// # Panics
/// `params` has another length than `dims` says.
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
            let [w, u, b, b_hh] = lengths(dims, layer);
            CellParams {
                input: dims.layer_input(layer),
                hidden: dims.hidden_size,
                reset_after: dims.reset_after,
                w: take(w),
                u: take(u),
                b: take(b),
                b_hh: take(b_hh),
            }
        })
        .collect()
}

/// Splits a flat array into cells, to be written.
///
/// # Panics
/// `params` has another length than `dims` says.
pub fn split_params_mut<'a, T>(dims: &Dims, mut params: &'a mut [T]) -> Vec<CellParamsMut<'a, T>> {
    assert_eq!(params.len(), dims.num_params());
    let mut take = |len: usize| {
        let (part, rest) = std::mem::take(&mut params).split_at_mut(len);
        params = rest;
        part
    };
    (0..dims.num_cells())
        .map(|index| {
            let [w, u, b, b_hh] = lengths(dims, index / dims.directions());
            CellParamsMut { w: take(w), u: take(u), b: take(b), b_hh: take(b_hh) }
        })
        .collect()
}

/// Numbers in W, U, b and `b_hh`.
fn lengths(dims: &Dims, layer: usize) -> [usize; 4] {
    let mut lengths = [0; 4];
    for (len, (_, shape)) in lengths.iter_mut().zip(dims.cell_tensors(layer)) {
        *len = shape.iter().product();
    }
    lengths
}
