"""Print the polynomial coefficients of src/simd/float.rs (needs mpmath).

exp(r) - 1 = r + r^2 g(r) on |r| <= ln(2)/2. g is interpolated at Chebyshev nodes in 50 digits over an interval one
per cent wider; the printed bound is the largest relative error that it causes in exp(r) - 1.
"""

import mpmath as mp

mp.mp.dps = 50
HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.01")


def g(r: mp.mpf) -> mp.mpf:
    """(exp(r) - 1 - r) / r^2, by its series where the quotient cancels."""
    return mp.mpf(1) / 2 + r / 6 if abs(r) < mp.mpf("1e-12") else (mp.expm1(r) - r) / r**2


for name, count in (("f32", 6), ("f64", 11)):
    coefficients, error = mp.chebyfit(g, [-HALF_LN2, HALF_LN2], count, error=True)
    print(name, "relative error", mp.nstr(error * HALF_LN2, 3))
    for c in reversed(coefficients):
        print("   ", mp.nstr(c, 20))
