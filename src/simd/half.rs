//! Half precision (IEEE 754 binary16) as bits, by plain arithmetic: the same on every machine, and without branches, so
//! that a row of numbers is converted in vectors.

/// 2^112: the difference of the exponents' biases.
const SCALE: f32 = f32::from_bits((127 + 112) << 23);

/// Below, half precision is subnormal: 2^-14.
const NORMAL: u32 = (127 - 14) << 23;

/// What rounds away above: 65520, half a step beyond the largest number.
const INFINITE: u32 = 0x477f_f000;

/// The number whose last bit is that of a subnormal number of half precision: 0.5.
const LAST_BIT: f32 = 0.5;

/// Rounds to the nearest, ties to even. NaN stays NaN, and what is too large becomes infinite.
#[inline]
pub fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    let small = (f32::from_bits(magnitude) + LAST_BIT).to_bits().wrapping_sub(LAST_BIT.to_bits());
    let odd = magnitude >> 13 & 1;
    let usual = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let large = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let finite = if magnitude < NORMAL { small } else { usual };
    (sign | if magnitude >= INFINITE { large } else { finite }) as u16
}

/// Exact.
#[inline]
pub fn to_f32(half: u16) -> f32 {
    let (sign, magnitude) = (u32::from(half) << 16 & 0x8000_0000, u32::from(half) << 13 & 0x0fff_e000);
    let finite = (f32::from_bits(magnitude) * SCALE).to_bits();
    let special = magnitude | 0x7f80_0000;
    f32::from_bits(sign | if magnitude >= 31 << 23 { special } else { finite })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition.
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
    fn every_half_comes_back() {
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
    fn halfway_goes_to_the_even_one_and_the_rest_to_the_nearest() {
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
