//! The two precisions, f32 and f64, and the constants that the kernels need for each.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use bytemuck::Zeroable;

/// A floating-point type that rgru computes in: `f32` or `f64`.
pub trait Float:
    Copy
    + Debug
    + Default
    + Display
    + PartialOrd
    + Send
    + Sync
    + Zeroable
    + Sum
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Infinity.
    const INFINITY: Self;
    /// Not a number.
    const NAN: Self;
    /// The name of the type in NumPy.
    const NAME: &'static str;

    /// log2(e).
    const LOG2_E: Self;
    /// ln(2) with trailing zero bits, so that products with exponents are exact.
    const LN_2_HIGH: Self;
    /// ln(2) - `LN_2_HIGH`.
    const LN_2_LOW: Self;
    /// 1.5 * 2^m, m the stored mantissa bits: adding and subtracting it rounds to the nearest integer.
    const ROUND: Self;
    /// The sigmoid rounds to 0 here and below.
    const SIGMOID_MIN: Self;
    /// The sigmoid rounds to 1 here and above.
    const SIGMOID_MAX: Self;
    /// |tanh(x)| rounds to 1 if -2|x| is this or smaller.
    const TANH_MIN: Self;
    /// An exponent n for which 2^-n is well within the range of normal numbers.
    const SCALE_MAX: Self;
    /// Coefficients of g in exp(r) - 1 = r + r^2 g(r), |r| <= ln(2)/2, ascending (`scripts/expm1_coefficients.py`).
    const EXPM1: &'static [Self];

    /// Rounds to this precision.
    fn from_f64(x: f64) -> Self;
    /// Converts exactly.
    fn to_f64(self) -> f64;
    /// Computes e^self with the same bits on every platform, unlike the standard library.
    fn exp(self) -> Self;
    /// Computes tanh(self) with the same bits on every platform.
    fn tanh(self) -> Self;
    /// Computes the square root.
    fn sqrt(self) -> Self;
    /// Computes `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// Returns whether the number is neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

/// Implements the methods that have the same name in the standard library for both precisions.
macro_rules! methods {
    ($t:ident) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const INFINITY: Self = $t::INFINITY;
        const NAN: Self = $t::NAN;
const NAME: &'static str = concat!("float", methods!(@bits $t));
        const LOG2_E: Self = std::$t::consts::LOG2_E;

        #[inline(always)]
        #[allow(clippy::cast_lossless)]
        fn from_f64(x: f64) -> Self {
            x as $t
        }
        #[inline(always)]
        fn to_f64(self) -> f64 {
            f64::from(self)
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            $t::sqrt(self)
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            $t::mul_add(self, b, c)
        }
        #[inline(always)]
        fn is_finite(self) -> bool {
            $t::is_finite(self)
        }
    };
    (@bits f32) => {
        32
    };
    (@bits f64) => {
        64
    };
}

impl Float for f32 {
    methods!(f32);
    fn exp(self) -> f32 {
        libm::expf(self)
    }
    fn tanh(self) -> f32 {
        libm::tanhf(self)
    }
    const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200); // 15 bits
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    const ROUND: f32 = 12_582_912.0;
    const SIGMOID_MIN: f32 = -104.0;
    const SIGMOID_MAX: f32 = 20.0;
    const TANH_MIN: f32 = -20.0;
    const SCALE_MAX: f32 = 100.0;
    const EXPM1: &'static [f32] = &[
        0.500_000_001_428_622_34,
        0.166_666_666_825_343_56,
        0.041_666_456_809_679_68,
        0.008_333_310_024_225_293,
        0.001_393_454_192_827_026_4,
        0.000_198_919_813_139_769_02,
    ];
}

impl Float for f64 {
    methods!(f64);
    fn exp(self) -> f64 {
        libm::exp(self)
    }
    fn tanh(self) -> f64 {
        libm::tanh(self)
    }
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000); // 32 bits
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const SIGMOID_MIN: f64 = -746.0;
    const SIGMOID_MAX: f64 = 40.0;
    const TANH_MIN: f64 = -40.0;
    const SCALE_MAX: f64 = 1000.0;
    const EXPM1: &'static [f64] = &[
        0.5,
        0.166_666_666_666_666_714_38,
        0.041_666_666_666_666_670_07,
        0.008_333_333_333_325_544_7,
        0.001_388_888_888_888_332_67,
        0.000_198_412_698_768_643_55,
        0.000_024_801_587_327_007_187,
        0.000_002_755_725_283_351_690_98,
        0.000_000_275_572_718_102_197_996,
        2.510_627_473_357_329_5e-8,
        2.091_544_229_778_011_5e-9,
    ];
}
