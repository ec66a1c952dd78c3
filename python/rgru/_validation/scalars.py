"""Sizes, switches and other single values that users pass, checked by the argument's name."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from rgru._validation.arrays import is_masked

LARGEST_SIZE = 2**31 - 1
"""The largest size that any one dimension may have."""


def as_int(name: str, value: object, low: int, high: int = LARGEST_SIZE) -> int:
    """Give `value` as an int within [low, high].

    Raises
    ------
    TypeError
        If `value` is no integer; booleans and floats are none.
    ValueError
        If it lies outside the range.
    """
    try:
        if isinstance(value, (bool, np.bool_)) or is_masked(value):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not low <= number <= high:
        raise ValueError(f"{name}: expected an integer from {low} to {high}, got {number}")
    return number


def as_bool(name: str, value: object) -> bool:
    """Give `value` as a bool; only True and False (NumPy's too) are taken.

    Raises
    ------
    TypeError
        If `value` is anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def as_probability(name: str, value: object) -> float:
    """Give `value` as a float within [0, 1).

    Raises
    ------
    TypeError
        If `value` is no real number.
    ValueError
        If it lies outside [0, 1) or is NaN.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    number = float(value)
    if math.isnan(number) or not 0.0 <= number < 1.0:
        raise ValueError(f"{name}: expected a number from 0 to below 1, got {number}")
    return number


def as_precision(name: str, value: Any) -> np.dtype[Any]:
    """Give `value`, in any spelling that NumPy understands, as the native float32 or float64.

    Raises
    ------
    TypeError
        If NumPy does not know it as a type.
    ValueError
        If it is another type than float32 and float64.
    """
    try:
        if value is None:
            raise TypeError  # NumPy would read None as float64
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"{name}: expected 'float32' or 'float64', got {value!r}") from None
    if dtype.kind != "f" or dtype.itemsize not in (4, 8):
        raise ValueError(f"{name}: expected 'float32' or 'float64', got {dtype.name!r}")
    native: np.dtype[Any] = np.dtype(dtype.name)
    return native


def check_on_error(value: object) -> None:
    """Refuse what is not an ``on_error``: what becomes of the rows that a model cannot take.

    Raises
    ------
    ValueError
        If it is neither "raise" nor "null".
    """
    if value not in ("raise", "null"):
        raise ValueError(f"on_error: expected 'raise' or 'null', got {value!r}")
