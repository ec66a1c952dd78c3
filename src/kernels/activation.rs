//! Logistic sigmoid and tanh, from one polynomial for exp(y) - 1.
//!
//! Only exactly rounded operations are used (fused multiply-add, division; no approximate reciprocals), so every
//! instruction set gives the same bits. In f32 both stay within 2 units in the last place over all finite inputs
//! (`tests/activation.rs` checks every float); NaN stays NaN.

use super::lanes::Lanes;
use super::real::Real;

/// For y <= 0: p and n with exp(y) = 2^n (1 + p), n integral, |p| < 0.42 with full relative accuracy near 0.
#[inline(always)]
fn reduced_expm1<L: Lanes>(y: L) -> (L, L) {
    let round = y.same(L::Elem::ROUND);
    let n = y.mul_add(y.same(L::Elem::LOG2_E), round) - round;
    let r = n.mul_add(y.same(-L::Elem::LN_2_HIGH), y);
    let r = n.mul_add(y.same(-L::Elem::LN_2_LOW), r);
    let coefficients = L::Elem::EXPM1;
    let mut g = y.same(coefficients[coefficients.len() - 1]);
    for &c in coefficients[..coefficients.len() - 1].iter().rev() {
        g = g.mul_add(r, y.same(c));
    }
    ((r * r).mul_add(g, r), n)
}

/// 1 / (1 + exp(-x)), as e / (1 + e) for negative x with e = exp(-|x|), which keeps relative accuracy down to
/// subnormal results.
#[inline(always)]
pub fn sigmoid<L: Lanes>(x: L) -> L {
    let (p, n) = reduced_expm1((-x.abs()).at_least(x.same(L::Elem::EXP_MIN)));
    // Scaled in two steps: the first is exact, so that a subnormal result is rounded once.
    let first = n.at_least(x.same(L::Elem::SCALE_MIN));
    let scale = first.pow2();
    let e = scale.mul_add(p, scale) * (n - first).pow2();
    let one = x.same(L::Elem::ONE);
    x.where_negative(e, one) / (one + e)
}

/// tanh(x) = -expm1(-2|x|) / (2 + expm1(-2|x|)) with the sign of x, which keeps relative accuracy near 0.
#[inline(always)]
pub fn tanh<L: Lanes>(x: L) -> L {
    let magnitude = x.abs();
    let (p, n) = reduced_expm1((-(magnitude + magnitude)).at_least(x.same(L::Elem::EXPM1_MIN)));
    let scale = n.pow2();
    let one = x.same(L::Elem::ONE);
    let expm1 = scale.mul_add(p, scale - one);
    (-expm1 / (one + one + expm1)).copysign(x)
}

/// Applies `sigmoid` to every element.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
pub unsafe fn sigmoid_slice<L: Lanes>(x: &mut [L::Elem]) {
    for chunk in x.chunks_mut(L::COUNT) {
        // SAFETY: the caller's promise; loads and stores stay within the chunk.
        unsafe { sigmoid(L::load_first(chunk.as_ptr(), chunk.len())).store_first(chunk.as_mut_ptr(), chunk.len()) }
    }
}

/// Applies `tanh` to every element.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
pub unsafe fn tanh_slice<L: Lanes>(x: &mut [L::Elem]) {
    for chunk in x.chunks_mut(L::COUNT) {
        // SAFETY: the caller's promise; loads and stores stay within the chunk.
        unsafe { tanh(L::load_first(chunk.as_ptr(), chunk.len())).store_first(chunk.as_mut_ptr(), chunk.len()) }
    }
}
