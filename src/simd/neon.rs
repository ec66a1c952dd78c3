//! NEON, which every AArch64 CPU has. Two registers are used as one: 8 f32 or 4 f64 a pair, 16 pairs.
//!
//! There are 32 narrow registers. A tile of 4 rows x 3 pairs sums in 24 of them and loads 6 registers of weights and 4
//! numbers of the left operand for its 24 multiply-adds; a tile of 8 rows x 3 single registers would load 3 and 8.
//! Pairs matter more if there are few rows: one row fills 24 registers instead of 12, which is fewer than the 16 chains
//! that keep four pipes with a latency of 4 cycles busy.

use std::arch::aarch64::*;

use crate::simd::float::Float;
use crate::simd::lanes::{Lanes, operators};

/// Defines a pair of registers by its numbers, and the intrinsics for one of the two registers.
macro_rules! neon_lanes {
    ($name:ident: 2 x $half:literal x $elem:ident in $register:ident, $dup:ident, $ld1:ident, $st1:ident,
     $add:ident, $sub:ident, $mul:ident, $div:ident, $neg:ident, $fma:ident, $abs:ident, $max:ident, $min:ident,
     bits $to_bits:ident, $from_bits:ident, $select:ident, $less:ident, $shift:ident,
     exponent $bias:literal << $mantissa_bits:literal) => {
        #[doc = concat!("Two registers of ", stringify!($half), " numbers each.")]
        #[derive(Clone, Copy)]
        pub struct $name([$register; 2]);

        operators!(
            $name,
            |a, b| [$add(a[0], b[0]), $add(a[1], b[1])],
            [$sub(a[0], b[0]), $sub(a[1], b[1])],
            [$mul(a[0], b[0]), $mul(a[1], b[1])],
            [$div(a[0], b[0]), $div(a[1], b[1])],
            [$neg(a[0]), $neg(a[1])]
        );

        impl Lanes for $name {
            type Elem = $elem;
            const COUNT: usize = 2 * $half;
            const WIDE: bool = false;

            #[inline(always)]
            unsafe fn broadcast(x: $elem) -> Self {
                // SAFETY: the caller's promise.
                Self(unsafe { [$dup(x); 2] })
            }
            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the caller's promise.
                Self(unsafe { [$ld1(from), $ld1(from.add($half))] })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the caller's promise.
                unsafe {
                    $st1(to, self.0[0]);
                    $st1(to.add($half), self.0[1]);
                }
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                let (a, b, c) = (self.0, b.0, c.0);
                // SAFETY: values exist only if the instruction set is present; likewise below.
                Self(unsafe { [$fma(c[0], a[0], b[0]), $fma(c[1], a[1], b[1])] })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                let a = self.0;
                // SAFETY: as above.
                Self(unsafe { [$abs(a[0]), $abs(a[1])] })
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                let (a, sign) = (self.0, sign.0);
                // SAFETY: as above.
                Self(unsafe {
                    let bit = $to_bits($dup(-0.0));
                    [$select(bit, sign[0], a[0]), $select(bit, sign[1], a[1])]
                })
            }
            #[inline(always)]
            fn max(self, low: Self) -> Self {
                let (a, low) = (self.0, low.0);
                // SAFETY: as above. The instruction gives NaN when one operand is. For zeros of both signs it returns
                // the larger and other instruction sets `self`, which makes no difference for any bound in the kernels.
                Self(unsafe { [$max(a[0], low[0]), $max(a[1], low[1])] })
            }
            #[inline(always)]
            fn min(self, high: Self) -> Self {
                let (a, high) = (self.0, high.0);
                // SAFETY: as above.
                Self(unsafe { [$min(a[0], high[0]), $min(a[1], high[1])] })
            }
            #[inline(always)]
            fn if_below(self, bound: Self, yes: Self, no: Self) -> Self {
                let (a, bound, yes, no) = (self.0, bound.0, yes.0, no.0);
                // SAFETY: as above.
                Self(unsafe {
                    [$select($less(a[0], bound[0]), yes[0], no[0]), $select($less(a[1], bound[1]), yes[1], no[1])]
                })
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // The sum's low bits hold the biased exponent; the shift drops the rest.
                let sum = (self + self.splat($elem::ROUND + $bias)).0;
                // SAFETY: as above.
                Self(unsafe { sum.map(|sum| $from_bits($shift::<$mantissa_bits>($to_bits(sum)))) })
            }
        }
    };
}

neon_lanes!(F32x8: 2 x 4 x f32 in float32x4_t, vdupq_n_f32, vld1q_f32, vst1q_f32,
    vaddq_f32, vsubq_f32, vmulq_f32, vdivq_f32, vnegq_f32, vfmaq_f32, vabsq_f32, vmaxq_f32, vminq_f32,
    bits vreinterpretq_u32_f32, vreinterpretq_f32_u32, vbslq_f32, vcltq_f32, vshlq_n_u32, exponent 127.0 << 23);
neon_lanes!(F64x4: 2 x 2 x f64 in float64x2_t, vdupq_n_f64, vld1q_f64, vst1q_f64,
    vaddq_f64, vsubq_f64, vmulq_f64, vdivq_f64, vnegq_f64, vfmaq_f64, vabsq_f64, vmaxq_f64, vminq_f64,
    bits vreinterpretq_u64_f64, vreinterpretq_f64_u64, vbslq_f64, vcltq_f64, vshlq_n_u64, exponent 1023.0 << 52);
