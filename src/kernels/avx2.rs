//! AVX2 with FMA: 8 f32 or 4 f64 a register, 16 registers.

use std::arch::x86_64::*;

use super::lanes::{Lanes, operators};
use super::real::Real;

/// A register type by the suffix of its intrinsics and those of its integer twin.
macro_rules! avx2_lanes {
    ($name:ident, $elem:ident, $count:literal, $register:ident, $set1:ident, $loadu:ident, $storeu:ident, $add:ident,
     $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $max:ident, $min:ident, $and:ident, $andnot:ident,
     $or:ident, $xor:ident, $to_bits:ident, $from_bits:ident, $shift:ident, $exponent_bias:literal,
     $mantissa_bits:literal) => {
        /// One ymm register.
        #[derive(Clone, Copy)]
        pub struct $name($register);

        operators!($name, |a, b| $add(a, b), $sub(a, b), $mul(a, b), $div(a, b), $xor(a, $set1(-0.0)));

        impl Lanes for $name {
            type Elem = $elem;
            const COUNT: usize = $count;
            const WIDE: bool = false;

            #[inline(always)]
            unsafe fn splat(x: $elem) -> Self {
                // SAFETY: the caller's promise.
                Self(unsafe { $set1(x) })
            }
            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the caller's promise.
                Self(unsafe { $loadu(from) })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the caller's promise.
                unsafe { $storeu(to, self.0) }
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: values exist only where the instruction set is present; so below.
                Self(unsafe { $fmadd(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $andnot($set1(-0.0), self.0) })
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe {
                    let bit = $set1(-0.0);
                    $or($and(bit, sign.0), $andnot(bit, self.0))
                })
            }
            #[inline(always)]
            fn at_least(self, low: Self) -> Self {
                // SAFETY: as above. The instruction returns its second operand when one is NaN.
                Self(unsafe { $max(low.0, self.0) })
            }
            #[inline(always)]
            fn at_most(self, high: Self) -> Self {
                // SAFETY: as above, likewise.
                Self(unsafe { $min(high.0, self.0) })
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // The sum's low bits hold the biased exponent; the shift drops the rest.
                // SAFETY: as above.
                Self(unsafe {
                    let sum = $add(self.0, $set1($elem::ROUND + $exponent_bias));
                    $from_bits($shift::<$mantissa_bits>($to_bits(sum)))
                })
            }
        }
    };
}

avx2_lanes!(
    F32x8,
    f32,
    8,
    __m256,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_max_ps,
    _mm256_min_ps,
    _mm256_and_ps,
    _mm256_andnot_ps,
    _mm256_or_ps,
    _mm256_xor_ps,
    _mm256_castps_si256,
    _mm256_castsi256_ps,
    _mm256_slli_epi32,
    127.0,
    23
);
avx2_lanes!(
    F64x4,
    f64,
    4,
    __m256d,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_fmadd_pd,
    _mm256_max_pd,
    _mm256_min_pd,
    _mm256_and_pd,
    _mm256_andnot_pd,
    _mm256_or_pd,
    _mm256_xor_pd,
    _mm256_castpd_si256,
    _mm256_castsi256_pd,
    _mm256_slli_epi64,
    1023.0,
    52
);

super::table!(f32, F32x8, Avx2, "avx2,fma");
super::table!(f64, F64x4, Avx2, "avx2,fma");
