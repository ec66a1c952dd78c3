//! The activations: logistic sigmoid, tanh and elu, from one polynomial for exp(y) - 1, and those without exp.
//!
//! Only exactly rounded operations are used (fused multiply-add, division; no approximate reciprocals), so every
//! instruction set computes the same bits. In f32, the error of sigmoid and tanh is within 2 units in the last place for all finite
//! inputs (`tests/rust/activation.rs` checks every float). NaN stays NaN.

use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// Returns p and n with exp(y) = 2^n (1 + p), n integral and |p| < 0.42. The relative accuracy of p is full near 0.
#[inline(always)]
fn reduced_expm1<L: Lanes>(y: L) -> (L, L) {
    let round = y.splat(L::Elem::ROUND);
    let n = y.mul_add(y.splat(L::Elem::LOG2_E), round) - round;
    let r = n.mul_add(y.splat(-L::Elem::LN_2_HIGH), y);
    let r = n.mul_add(y.splat(-L::Elem::LN_2_LOW), r);
    let coefficients = L::Elem::EXPM1;
    let mut g = y.splat(coefficients[coefficients.len() - 1]);
    for &c in coefficients[..coefficients.len() - 1].iter().rev() {
        g = g.mul_add(r, y.splat(c));
    }
    ((r * r).mul_add(g, r), n)
}

/// Computes 1 / (1 + exp(-x)), with exp(-x) = 2^n (1 + p).
///
/// For n > 0 it is 2^-n / (2^-n + 1 + p), so that nothing overflows and subnormal results keep their relative accuracy.
/// Both cases are num / (a p + 1 + a num) with powers of two a and num. The part of 2^-n that would leave the range of
/// normal numbers is multiplied in last.
#[inline(always)]
pub fn sigmoid<L: Lanes>(x: L) -> L {
    let x = x.max(x.splat(L::Elem::SIGMOID_MIN)).min(x.splat(L::Elem::SIGMOID_MAX));
    let (p, n) = reduced_expm1(-x);
    let falling = n.min(x.splat(L::Elem::ZERO));
    let held = n.min(x.splat(L::Elem::SCALE_MAX));
    let (a, num) = (falling.pow2(), (falling - held).pow2());
    let (one, power) = (x.splat(L::Elem::ONE), a * num);
    let base = one + power;
    // The bits of a small power that `base` has lost by rounding are added to p, where they still count.
    let lost = power - (base - one);
    num / a.mul_add(p + lost, base) * (held - n).pow2()
}

/// Computes tanh(x) = (1 - e) / (1 + e) with e = exp(-2|x|), and the sign of x. 1 - e is rounded once from the parts of
/// e, which keeps the relative accuracy near 0.
#[inline(always)]
pub fn tanh<L: Lanes>(x: L) -> L {
    let magnitude = x.abs();
    let (p, n) = reduced_expm1((-(magnitude + magnitude)).max(x.splat(L::Elem::TANH_MIN)));
    let scale = n.pow2();
    let one = x.splat(L::Elem::ONE);
    let (less, more) = ((-scale).mul_add(p, one - scale), scale.mul_add(p, one + scale));
    (less / more).copysign(x)
}

/// Computes exp(x) - 1 for x <= 0.
#[inline(always)]
fn expm1<L: Lanes>(x: L) -> L {
    let (p, n) = reduced_expm1(x.max(x.splat(L::Elem::TANH_MIN)));
    let scale = n.pow2();
    scale.mul_add(p, scale - x.splat(L::Elem::ONE))
}

/// Computes min(max(alpha x + beta, 0), 1).
#[inline(always)]
pub fn hard_sigmoid<L: Lanes>(x: L, alpha: L::Elem, beta: L::Elem) -> L {
    let line = x.mul_add(x.splat(alpha), x.splat(beta));
    line.max(x.splat(L::Elem::ZERO)).min(x.splat(L::Elem::ONE))
}

/// Computes max(x, 0).
#[inline(always)]
pub fn relu<L: Lanes>(x: L) -> L {
    x.max(x.splat(L::Elem::ZERO))
}

/// Computes x / (1 + |x|).
#[inline(always)]
pub fn softsign<L: Lanes>(x: L) -> L {
    x / (x.splat(L::Elem::ONE) + x.abs())
}

/// Computes x for x > 0, else alpha (exp(x) - 1).
#[inline(always)]
pub fn elu<L: Lanes>(x: L, alpha: L::Elem) -> L {
    let zero = x.splat(L::Elem::ZERO);
    expm1(x.min(zero)).mul_add(x.splat(alpha), x.max(zero))
}
