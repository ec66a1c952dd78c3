//! One SIMD register of numbers, for any instruction set.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::simd::float::Float;

/// A register of [`Lanes::COUNT`] numbers.
///
/// Every operation is exactly rounded (IEEE 754) in every lane, so all instruction sets compute the same bits. Values
/// are constructed only by unsafe functions, whose callers know that the instruction set is present; arithmetic on
/// values is therefore safe. Everything is `#[inline(always)]`, so that it takes on the target features of the calling
/// kernel.
pub trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// The type of a lane.
    type Elem: Float;
    /// The number of lanes in a register.
    const COUNT: usize;
    /// Whether there are 32 registers, so that tiles may hold 24 accumulators instead of 12.
    const WIDE: bool;

    /// Returns a register with `x` in all lanes.
    ///
    /// # Safety
    /// The instruction set is present.
    unsafe fn broadcast(x: Self::Elem) -> Self;

    /// Reads `COUNT` numbers, at any alignment.
    ///
    /// # Safety
    /// The instruction set is present; `from` is valid for reads of `COUNT` numbers.
    unsafe fn load(from: *const Self::Elem) -> Self;

    /// Writes `COUNT` numbers, at any alignment.
    ///
    /// # Safety
    /// `to` is valid for writes of `COUNT` numbers.
    unsafe fn store(self, to: *mut Self::Elem);

    /// Returns a register with `x` in all lanes; safe, since `self` shows that the instruction set is present.
    #[inline(always)]
    fn splat(self, x: Self::Elem) -> Self {
        // SAFETY: a value exists, so its unsafe constructor's caller vouched for the instruction set.
        unsafe { Self::broadcast(x) }
    }

    /// Computes `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// Returns |self|.
    fn abs(self) -> Self;

    /// Returns |self| with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;

    /// Returns the larger of `self` and `low`; NaN stays NaN.
    fn max(self, low: Self) -> Self;

    /// Returns the smaller of `self` and `high`; NaN stays NaN.
    fn min(self, high: Self) -> Self;

    /// Returns `yes` in the lanes where `self` is below `bound`, and `no` in the others.
    fn if_below(self, bound: Self, yes: Self, no: Self) -> Self;

    /// Computes 2^self for integers in the range of normal exponents. The result for NaN is unspecified.
    fn pow2(self) -> Self;

    /// Prefetches the cache line of an address, valid or not, into the second-level cache.
    #[inline(always)]
    fn prefetch(_address: *const Self::Elem) {}

    /// Reads the first `n <= COUNT` numbers; the other lanes are 0.
    ///
    /// # Safety
    /// The instruction set is present; `from` is valid for reads of `n` numbers.
    #[inline(always)]
    unsafe fn load_first(from: *const Self::Elem, n: usize) -> Self {
        if n >= Self::COUNT {
            // SAFETY: the caller's promise.
            return unsafe { Self::load(from) };
        }
        let mut lanes = [Self::Elem::ZERO; 16];
        // SAFETY: n < COUNT <= 16 numbers are readable at `from`, and the buffer holds COUNT.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes the first `n <= COUNT` lanes.
    ///
    /// # Safety
    /// `to` is valid for writes of `n` numbers.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut Self::Elem, n: usize) {
        if n >= Self::COUNT {
            // SAFETY: the caller's promise.
            return unsafe { self.store(to) };
        }
        let mut lanes = [Self::Elem::ZERO; 16];
        // SAFETY: the buffer holds COUNT <= 16 numbers, and n < COUNT are writable at `to`.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
        }
    }
}

/// Implements the operators of a register type by expressions over its inner value.
macro_rules! operators {
    ($name:ident, |$a:ident, $b:ident| $add:expr, $sub:expr, $mul:expr, $div:expr, $neg:expr) => {
        crate::simd::lanes::operators!(@binary $name, Add, add, $a, $b, $add);
        crate::simd::lanes::operators!(@binary $name, Sub, sub, $a, $b, $sub);
        crate::simd::lanes::operators!(@binary $name, Mul, mul, $a, $b, $mul);
        crate::simd::lanes::operators!(@binary $name, Div, div, $a, $b, $div);
        impl std::ops::Neg for $name {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                let $a = self.0;
                // SAFETY: a value exists, so its unsafe constructor's caller vouched for the instruction set.
                #[allow(unused_unsafe)]
                unsafe {
                    Self($neg)
                }
            }
        }
    };
    (@binary $name:ident, $trait:ident, $method:ident, $a:ident, $b:ident, $value:expr) => {
        impl std::ops::$trait for $name {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let ($a, $b) = (self.0, other.0);
                // SAFETY: a value exists, so its unsafe constructor's caller vouched for the instruction set.
                #[allow(unused_unsafe)]
                unsafe {
                    Self($value)
                }
            }
        }
    };
}
pub(super) use operators;
