//! The register types of x86, defined by the names of their intrinsics.

/// Defines a register type by its numbers, and the intrinsics of the instruction set for them.
macro_rules! x86_lanes {
    ($name:ident: $count:literal x $elem:ident in $register:ident, wide $wide:literal,
     below |$a:ident, $b:ident, $yes:ident, $no:ident| $below:expr,
     first |$at:ident, $n:ident, $x:ident| $load_first:expr, $store_first:expr, $set1:ident, $loadu:ident,
     $storeu:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $max:ident, $min:ident,
     bits $to_bits:ident, $from_bits:ident, $and:ident, $andnot:ident, $or:ident, $xor:ident, $shift:ident,
     exponent $bias:literal << $mantissa_bits:literal) => {
        #[doc = concat!(stringify!($count), " numbers in one register.")]
        #[derive(Clone, Copy)]
        pub struct $name($register);

        crate::simd::lanes::operators!(
            $name,
            |a, b| $add(a, b),
            $sub(a, b),
            $mul(a, b),
            $div(a, b),
            $from_bits($xor($to_bits(a), $to_bits($set1(-0.0))))
        );

        impl crate::simd::lanes::Lanes for $name {
            type Elem = $elem;
            const COUNT: usize = $count;
            const WIDE: bool = $wide;

            #[inline(always)]
            unsafe fn broadcast(x: $elem) -> Self {
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
            fn prefetch(address: *const $elem) {
                // SAFETY: every x86-64 CPU has the instruction, and it cannot fail at any address.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
            }
            #[inline(always)]
            unsafe fn load_first($at: *const $elem, $n: usize) -> Self {
                // SAFETY: the caller's promise; masked lanes are not read.
                Self(unsafe { if $n >= $count { $loadu($at) } else { $load_first } })
            }
            #[inline(always)]
            unsafe fn store_first(self, $at: *mut $elem, $n: usize) {
                let $x = self.0;
                // SAFETY: the caller's promise; masked lanes are not written.
                unsafe { if $n >= $count { $storeu($at, $x) } else { $store_first } }
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: values exist only if the instruction set is present; likewise below.
                Self(unsafe { $fmadd(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $from_bits($andnot($to_bits($set1(-0.0)), $to_bits(self.0))) })
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe {
                    let bit = $to_bits($set1(-0.0));
                    $from_bits($or($and(bit, $to_bits(sign.0)), $andnot(bit, $to_bits(self.0))))
                })
            }
            #[inline(always)]
            fn max(self, low: Self) -> Self {
                // SAFETY: as above. The instruction returns its second operand when one is NaN.
                Self(unsafe { $max(low.0, self.0) })
            }
            #[inline(always)]
            fn min(self, high: Self) -> Self {
                // SAFETY: as above. The instruction returns its second operand when one is NaN.
                Self(unsafe { $min(high.0, self.0) })
            }
            #[inline(always)]
            fn if_below(self, bound: Self, yes: Self, no: Self) -> Self {
                let ($a, $b, $yes, $no) = (self.0, bound.0, yes.0, no.0);
                // SAFETY: as above.
                Self(unsafe { $below })
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // The sum's low bits hold the biased exponent; the shift drops the rest.
                // SAFETY: as above.
                Self(unsafe {
                    let magic = <$elem as crate::simd::float::Float>::ROUND + $bias;
                    $from_bits($shift::<$mantissa_bits>($to_bits($add(self.0, $set1(magic)))))
                })
            }
        }
    };
}
pub(super) use x86_lanes;
