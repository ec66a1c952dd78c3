//! Conversion of decimals to the nearest float64.

/// 256 bits in two's complement, the lowest 64 first.
pub type Wide = [u64; 4];

/// Returns the float64 nearest to an integer times `10^-scale`.
pub fn to_f64(integer: i128, scale: i32) -> f64 {
    // If integer and power are exact in float64, one operation rounds once.
    match POWERS.get(scale.unsigned_abs() as usize) {
        Some(power) if integer.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS => {
            if scale < 0 {
                integer as f64 * power
            } else {
                integer as f64 / power
            }
        }
        _ => nearest(&integer.to_string(), scale),
    }
}

/// The powers of ten that are exact in float64.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// As [`to_f64`], for integers of 256 bits.
pub fn wide_to_f64(integer: Wide, scale: i32) -> f64 {
    let negative = integer[3] >> 63 == 1;
    let sign = if negative { u64::MAX } else { 0 };
    if integer[2] == sign && integer[3] == sign && integer[1] >> 63 == sign & 1 {
        return to_f64((u128::from(integer[1]) << 64 | u128::from(integer[0])) as i128, scale);
    }
    let mut left = if negative { negated(integer) } else { integer };
    let mut digits = Vec::new();
    while left != [0; 4] {
        digits.push(b'0' + divided_by_ten(&mut left));
    }
    digits.reverse();
    let text: String = digits.into_iter().map(char::from).collect();
    nearest(&format!("{}{text}", if negative { "-" } else { "" }), scale)
}

/// Returns the float64 nearest to a decimal integer times `10^-scale`. Rust parses to the nearest, ties to even.
fn nearest(integer: &str, scale: i32) -> f64 {
    format!("{integer}e{}", -i64::from(scale)).parse().unwrap_or(f64::NAN)
}

fn negated(integer: Wide) -> Wide {
    let mut carry = true;
    integer.map(|limb| {
        let (sum, over) = (!limb).overflowing_add(u64::from(carry));
        carry = over;
        sum
    })
}

/// Divides in place and returns the remainder.
fn divided_by_ten(integer: &mut Wide) -> u8 {
    integer.iter_mut().rev().fold(0, |rest, limb| {
        let part = u128::from(rest) << 64 | u128::from(*limb);
        *limb = (part / 10) as u64;
        (part % 10) as u8
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // powers of two are exact on every platform
mod tests {
    use super::*;

    fn wide(integer: i128) -> Wide {
        let sign = if integer < 0 { u64::MAX } else { 0 };
        [integer as u64, (integer >> 64) as u64, sign, sign]
    }

    #[test]
    fn decimals_are_converted_to_the_nearest_floats() {
        assert_eq!(to_f64(15, 1), 1.5);
        assert_eq!(to_f64(-1, 1), -0.1);
        assert_eq!(to_f64(3, -2), 300.0);
        assert_eq!(to_f64((1 << 53) + 1, 0), 9_007_199_254_740_992.0); // a tie, to even
        assert_eq!(to_f64(90_071_992_547_409_931, 1), 9_007_199_254_740_994.0); // just above a tie
        assert_eq!(to_f64(i128::MAX, 38), 1.701_411_834_604_692_3);
        assert_eq!(to_f64(i128::MIN, 0), -(2_f64.powi(127)));
        assert_eq!(to_f64(1, i32::MAX), 0.0);
        assert_eq!(to_f64(1, i32::MIN), f64::INFINITY);
        for integer in [0, 1, -1, 10_i128.pow(30), i128::MIN, i128::MAX] {
            assert_eq!(wide_to_f64(wide(integer), 7), to_f64(integer, 7));
        }
        assert_eq!(wide_to_f64([0, 0, 1, 0], 0), 2_f64.powi(128));
        assert_eq!(wide_to_f64([0, 0, 0, 1 << 63], 0), -(2_f64.powi(255)));
        assert_eq!(wide_to_f64([u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 1], 0), 2_f64.powi(255));
        assert_eq!(wide_to_f64([0, 1 << 63, 0, 0], 0), 2_f64.powi(127));
        assert_eq!(
            wide_to_f64([0, u64::MAX >> 1, u64::MAX, u64::MAX], 0),
            -(2_f64.powi(128) + 2_f64.powi(64)) + 2_f64.powi(127)
        );
    }
}
