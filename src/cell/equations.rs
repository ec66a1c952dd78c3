//! The GRU equations of the fast path, forward and backward, over SIMD lanes: the only copy.
//!
//! `a_*` are pre-activations (sums before the non-linearity), `d*` are gradients of the loss. The matrix products
//! between these pieces are the kernels' work, and `functions.rs` has the activations; `reference.rs` has the same equations as plain loops. Cho et al.,
//! "Learning phrase representations using RNN encoder-decoder" (2014), eqs. 5-8, with z multiplying the candidate.

use crate::cell::functions::Functions;
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// Computes the reset and the update gate from their pre-activations: (r, z).
#[inline(always)]
pub fn gates<L: Lanes>(functions: impl Functions<L::Elem>, a_r: L, a_z: L) -> (L, L) {
    (functions.gate(a_r), functions.gate(a_z))
}

/// Reset-before: computes r * h, the operand of the candidate's recurrent product.
#[inline(always)]
pub fn reset<L: Lanes>(r: L, h: L) -> L {
    r * h
}

/// Reset-after: computes the candidate's pre-activation, `a_x + r * a_hh` with `a_x = W_xh x + b_h` and
/// `a_hh = U_hh h + b_hh`.
#[inline(always)]
pub fn reset_after<L: Lanes>(r: L, a_x: L, a_hh: L) -> L {
    r.mul_add(a_hh, a_x)
}

/// Computes the candidate and the new state from the candidate's pre-activation: (c, h + z (c - h)), the state clipped if the cell clips states.
#[inline(always)]
pub fn update<L: Lanes>(functions: impl Functions<L::Elem>, a_h: L, z: L, h: L) -> (L, L) {
    let c = functions.candidate(a_h);
    (c, functions.state(blend(z, c, h)))
}

/// Computes the new state, before it is clipped.
#[inline(always)]
fn blend<L: Lanes>(z: L, c: L, h: L) -> L {
    z.mul_add(c - h, h)
}

/// The backward pass of [`update`] and of the update gate, for the gradient `dh` of the new state. Returns (`da_z`,
/// `da_h`, the part of `dh_prev` that does not pass through the gates).
#[inline(always)]
pub fn update_backward<L: Lanes>(functions: impl Functions<L::Elem>, z: L, c: L, h: L, dh: L) -> (L, L, L) {
    let dh = functions.state_backward(|| blend(z, c, h), dh);
    let da_z = functions.gate_backward(z, dh * (c - h));
    let da_h = functions.candidate_backward(c, dh * z);
    (da_z, da_h, dh * (z.splat(L::Elem::ONE) - z))
}

/// Reset-after: the backward pass of [`reset_after`] and of the reset gate, for the gradient `da_h`. Returns (`da_r`,
/// `da_hh`).
#[inline(always)]
pub fn reset_after_backward<L: Lanes>(functions: impl Functions<L::Elem>, r: L, a_hh: L, da_h: L) -> (L, L) {
    (functions.gate_backward(r, da_h * a_hh), da_h * r)
}

/// Reset-before: the backward pass of [`reset`] and of the reset gate, for the gradient `drh` of r * h and the part of
/// `dh_prev` computed so far. Returns (`da_r`, `dh_prev` with this part added).
#[inline(always)]
pub fn reset_backward<L: Lanes>(functions: impl Functions<L::Elem>, r: L, h: L, drh: L, dh_prev: L) -> (L, L) {
    (functions.gate_backward(r, drh * h), drh.mul_add(r, dh_prev))
}
