//! Plain Rust, which runs everywhere and computes the same bits as the other instruction sets.

use crate::simd::float::Float;
use crate::simd::lanes::{Lanes, operators};

/// Defines a register type as an array of numbers.
macro_rules! array_lanes {
    ($name:ident, $elem:ident, $count:literal, $exponent_bias:literal, $mantissa_bits:literal) => {
        /// Numbers that the compiler may keep in registers.
        #[derive(Clone, Copy)]
        pub struct $name([$elem; $count]);

        operators!(
            $name,
            |a, b| std::array::from_fn(|i| a[i] + b[i]),
            std::array::from_fn(|i| a[i] - b[i]),
            std::array::from_fn(|i| a[i] * b[i]),
            std::array::from_fn(|i| a[i] / b[i]),
            a.map(|x| -x)
        );

        impl Lanes for $name {
            type Elem = $elem;
            const COUNT: usize = $count;
            const WIDE: bool = false;

            #[inline(always)]
            unsafe fn broadcast(x: $elem) -> Self {
                Self([x; $count])
            }
            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the caller's promise; an unaligned read needs no alignment.
                Self(unsafe { from.cast::<[$elem; $count]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<[$elem; $count]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0.map($elem::abs))
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i].copysign(sign.0[i])))
            }
            #[inline(always)]
            fn max(self, low: Self) -> Self {
                Self(std::array::from_fn(|i| if self.0[i] < low.0[i] { low.0[i] } else { self.0[i] }))
            }
            #[inline(always)]
            fn min(self, high: Self) -> Self {
                Self(std::array::from_fn(|i| if self.0[i] > high.0[i] { high.0[i] } else { self.0[i] }))
            }
            #[inline(always)]
            fn if_below(self, bound: Self, yes: Self, no: Self) -> Self {
                Self(std::array::from_fn(|i| if self.0[i] < bound.0[i] { yes.0[i] } else { no.0[i] }))
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // The sum's low bits hold the biased exponent; the shift drops the rest.
                let magic = $elem::ROUND + $exponent_bias;
                Self(self.0.map(|n| $elem::from_bits((n + magic).to_bits() << $mantissa_bits)))
            }
        }
    };
}

array_lanes!(F32x8, f32, 8, 127.0, 23);
array_lanes!(F64x4, f64, 4, 1023.0, 52);
