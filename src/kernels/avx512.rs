//! AVX-512 (foundation): 16 f32 or 8 f64 a register, 32 registers.

use std::arch::x86_64::*;

use super::lanes::{Lanes, operators};
use super::real::Real;

/// A register type by the suffix of its intrinsics and those of its integer twin.
macro_rules! avx512_lanes {
    ($name:ident, $elem:ident, $count:literal, $register:ident, $set1:ident, $loadu:ident, $storeu:ident, $add:ident,
     $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $max:ident, $min:ident, $to_bits:ident, $from_bits:ident, $shift:ident, $exponent_bias:literal, $mantissa_bits:literal) => {
        /// One zmm register.
        #[derive(Clone, Copy)]
        pub struct $name($register);

        operators!(
            $name,
            |a, b| $add(a, b),
            $sub(a, b),
            $mul(a, b),
            $div(a, b),
            $from_bits(_mm512_xor_si512($to_bits(a), $to_bits($set1(-0.0))))
        );

        impl Lanes for $name {
            type Elem = $elem;
            const COUNT: usize = $count;
            const WIDE: bool = true;

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
                Self(unsafe { $from_bits(_mm512_andnot_si512($to_bits($set1(-0.0)), $to_bits(self.0))) })
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe {
                    // Bitwise choice: where the first has ones take the second, else the third.
                    $from_bits(_mm512_ternarylogic_epi64::<0xca>(
                        $to_bits($set1(-0.0)),
                        $to_bits(sign.0),
                        $to_bits(self.0),
                    ))
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

avx512_lanes!(
    F32x16,
    f32,
    16,
    __m512,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_fmadd_ps,
    _mm512_max_ps,
    _mm512_min_ps,
    _mm512_castps_si512,
    _mm512_castsi512_ps,
    _mm512_slli_epi32,
    127.0,
    23
);
avx512_lanes!(
    F64x8,
    f64,
    8,
    __m512d,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd,
    _mm512_div_pd,
    _mm512_fmadd_pd,
    _mm512_max_pd,
    _mm512_min_pd,
    _mm512_castpd_si512,
    _mm512_castsi512_pd,
    _mm512_slli_epi64,
    1023.0,
    52
);

super::table!(f32, F32x16, Avx512, "avx512f");
super::table!(f64, F64x8, Avx512, "avx512f");
