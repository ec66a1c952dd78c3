//! What the passes over a stack read and write. L layers of D directions and H units, N sequences.

use crate::shape::Sequences;

/// What a forward pass reads.
#[derive(Clone, Copy)]
pub struct Inputs<'a, T> {
    /// Steps, `[rows, I]`.
    pub x: &'a [T],
    /// Where the sequences lie in the rows.
    pub sequences: &'a Sequences,
    /// Initial states, `[L * D, N, H]`; `None` for zeros.
    pub h0: Option<&'a [T]>,
}

/// What a forward pass writes.
pub struct Outputs<'a, T> {
    /// Outputs, `[rows, D * H]`; rows that belong to no sequence are left as they are.
    pub y: &'a mut [T],
    /// States after each sequence's last step, `[L * D, N, H]`.
    pub h_n: &'a mut [T],
}

/// The arrays of a forward pass that its backward pass reads again.
#[derive(Clone, Copy)]
pub struct ForwardArrays<'a, T> {
    /// As [`Inputs::x`].
    pub x: &'a [T],
    /// As [`Inputs::h0`].
    pub h0: Option<&'a [T]>,
    /// As [`Outputs::y`].
    pub y: &'a [T],
}

/// Gradients of the outputs, which a backward pass starts from; `None` for zeros.
#[derive(Clone, Copy)]
pub struct OutputGrads<'a, T> {
    /// Gradient of `y`.
    pub dy: Option<&'a [T]>,
    /// Gradient of `h_n`.
    pub dh_n: Option<&'a [T]>,
}

/// Gradients of the inputs and the parameters, which a backward pass writes.
pub struct InputGrads<'a, T> {
    /// Gradient of `x`; must be zeros, and rows that belong to no sequence are left as they are.
    pub dx: &'a mut [T],
    /// Gradient of `h0`.
    pub dh0: &'a mut [T],
    /// Gradients of the flat parameters; must be zeros.
    pub dparams: &'a mut [T],
}
