//! The arrays that the passes over a stack read and write, for L layers of D directions and H units, and N sequences.

use crate::shape::Sequences;

/// The arrays that a forward pass reads. See [`Gru::run`](crate::Gru::run) for an example.
#[derive(Clone, Copy)]
pub struct Inputs<'a, T> {
    /// The inputs of all steps, `[rows, I]`.
    pub x: &'a [T],
    /// The positions of the sequences in the rows.
    pub sequences: &'a Sequences,
    /// Initial states, `[L * D, N, H]`; `None` for zeros.
    pub h0: Option<&'a [T]>,
}

/// The arrays that a forward pass writes. See [`Gru::run`](crate::Gru::run) for an example.
pub struct Outputs<'a, T> {
    /// The outputs, `[rows, D * H]`. Rows that belong to no sequence are left unchanged.
    pub y: &'a mut [T],
    /// The states after each sequence's last step, `[L * D, N, H]`; the initial state for a sequence without steps.
    pub h_n: &'a mut [T],
}

/// The arrays of a forward pass that its backward pass also reads.
#[derive(Clone, Copy)]
pub struct ForwardArrays<'a, T> {
    /// As [`Inputs::x`].
    pub x: &'a [T],
    /// As [`Inputs::h0`].
    pub h0: Option<&'a [T]>,
    /// As [`Outputs::y`].
    pub y: &'a [T],
}

/// The gradients of the outputs, which a backward pass reads; `None` for zeros.
#[derive(Clone, Copy)]
pub struct OutputGrads<'a, T> {
    /// Gradient of `y`.
    pub dy: Option<&'a [T]>,
    /// Gradient of `h_n`.
    pub dh_n: Option<&'a [T]>,
}

/// The gradients of the inputs and the parameters, which a backward pass writes.
pub struct InputGrads<'a, T> {
    /// Gradient of `x`. It must be zeros before the call; rows that belong to no sequence are left unchanged.
    pub dx: &'a mut [T],
    /// Gradient of `h0`.
    pub dh0: &'a mut [T],
    /// Gradients of the flat parameters. They must be zeros before the call.
    pub dparams: &'a mut [T],
}
