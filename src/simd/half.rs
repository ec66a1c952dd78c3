//! Conversion of rows of numbers from and to half precision (IEEE 754 binary16), stored as bits.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::simd::float::Float;

/// The number of values converted at a time, through single precision.
const CHUNK: usize = 64;

/// Converts from half precision, exactly.
///
/// # Panics
/// If the lengths differ.
pub fn widen<T: Float>(from: &[u16], to: &mut [T]) {
    assert_eq!(from.len(), to.len());
    let mut single = [0.0_f32; CHUNK];
    for (from, to) in from.chunks(CHUNK).zip(to.chunks_mut(CHUNK)) {
        let single = &mut single[..from.len()];
        from.reinterpret_cast::<f16>().convert_to_f32_slice(single);
        to.iter_mut().zip(&*single).for_each(|(to, &from)| *to = T::from_f64(f64::from(from)));
    }
}

/// Rounds to half precision, to nearest, ties to even. f64 values are rounded to single precision first.
///
/// # Panics
/// If the lengths differ.
pub fn narrow<T: Float>(from: &[T], to: &mut [u16]) {
    assert_eq!(from.len(), to.len());
    let mut single = [0.0_f32; CHUNK];
    for (from, to) in from.chunks(CHUNK).zip(to.chunks_mut(CHUNK)) {
        let single = &mut single[..from.len()];
        single.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f64() as f32);
        to.reinterpret_cast_mut::<f16>().convert_from_f32_slice(single);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_f32(half: u16) -> f32 {
        let mut single = [0.0];
        widen(&[half], &mut single);
        single[0]
    }

    fn from_f32(single: f32) -> u16 {
        let mut half = [0];
        narrow(&[single], &mut half);
        half[0]
    }

    /// Conversion of whole vectors agrees with that of single numbers.
    #[test]
    fn a_row_is_converted_like_its_numbers() {
        let halves: Vec<u16> = (0..500).map(|n| n * 131).collect();
        let mut singles = vec![0.0; halves.len()];
        widen(&halves, &mut singles);
        let mut doubles = vec![0.0; halves.len()];
        widen(&halves, &mut doubles);
        for ((&half, single), double) in halves.iter().zip(&singles).zip(&doubles) {
            assert_eq!(to_f32(half).to_bits(), f32::to_bits(*single));
            assert!(f64::from(*single) == *double || f64::is_nan(*double));
        }
        let mut back = vec![0; halves.len()];
        narrow(&singles, &mut back);
        assert!(back.iter().zip(&singles).all(|(&half, &single)| half == from_f32(single)));
    }

    /// The value of half-precision bits, by definition.
    fn value(half: u16) -> f64 {
        let (exponent, mantissa) = (i32::from(half >> 10 & 31), f64::from(half & 0x3ff));
        let magnitude = match exponent {
            0 => libm::ldexp(mantissa, -24),
            31 if mantissa == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => libm::ldexp(1024.0 + mantissa, exponent - 25),
        };
        if half >> 15 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_half_survives_a_round_trip() {
        for half in 0..=u16::MAX {
            let single = to_f32(half);
            if value(half).is_nan() {
                assert!(single.is_nan() && to_f32(from_f32(single)).is_nan());
            } else {
                assert_eq!(f64::from(single).to_bits(), value(half).to_bits(), "{half:#x}");
                assert_eq!(from_f32(single), half);
            }
        }
    }

    #[test]
    fn ties_round_to_even_and_others_to_the_nearest() {
        for half in 0..0x7bff_u16 {
            let (low, high) = (to_f32(half), to_f32(half + 1));
            let middle = low.midpoint(high);
            assert_eq!(from_f32(middle), half + half % 2);
            assert_eq!(from_f32(middle.next_down()), half);
            assert_eq!(from_f32(middle.next_up()), half + 1);
            assert_eq!(from_f32(-middle), 0x8000 | (half + half % 2));
        }
        assert_eq!(from_f32(65519.99), 0x7bff);
        assert_eq!(from_f32(65520.0), 0x7c00);
        assert_eq!(from_f32(f32::NEG_INFINITY), 0xfc00);
        assert_eq!((from_f32(1e-30), from_f32(-1e-30)), (0, 0x8000));
    }
}
