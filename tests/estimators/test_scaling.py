"""Standardisation: the formula in float64, rounded once."""

from __future__ import annotations

import numpy as np
import pytest

from rgru import _core
from rgru.estimators._scaling import Scaler


@pytest.mark.parametrize("before", ["float32", "float64"])
@pytest.mark.parametrize("after", ["float32", "float64"])
def test_scaled_numbers_are_those_of_the_formula_bit_for_bit(before, after):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(1001, 7)) * 10.0 ** rng.integers(-30, 30, (1, 7))).astype(before)
    values[3, 2], values[5, 1] = np.nan, np.inf
    mean, scale = rng.normal(size=7) * 10.0 ** rng.integers(-30, 30, 7), 10.0 ** rng.integers(-30, 30, 7)
    with np.errstate(over="ignore"):
        expected = ((values.astype(np.float64) - mean) / scale).astype(after)
    scaled = Scaler(mean, scale).apply(values, np.dtype(after))
    assert scaled.dtype == after
    assert scaled.tobytes() == expected.tobytes()


def test_strided_values_are_scaled():
    values = np.arange(60.0).reshape(10, 6)[::2, ::-2]
    scaled = Scaler(np.zeros(3), np.full(3, 2.0)).apply(values, np.dtype("float64"))
    np.testing.assert_array_equal(scaled, values / 2)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"x: expected shape \(4, 2\), got \(4, 3\)"):
        _core.standardise(np.zeros((4, 3)), np.zeros(2), np.ones(2), "float64")
    with pytest.raises(ValueError, match=r"scale: expected shape \(3,\), got \(2,\)"):
        _core.standardise(np.zeros((4, 3)), np.zeros(3), np.ones(2), "float64")
