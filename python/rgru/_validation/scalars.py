"""Validation of sizes, switches and other single values that users pass; errors name the argument."""

from __future__ import annotations

import operator
from typing import Any, TypeGuard

import numpy as np

from rgru._validation.arrays import is_masked

LARGEST_SIZE = 2**31 - 1
"""The largest size that any one dimension may have."""


def as_int(name: str, value: object, low: int, high: int = LARGEST_SIZE) -> int:
    """Convert `value` to an int within [low, high].

    Raises
    ------
    TypeError
        If `value` is not an integer; booleans and floats are not.
    ValueError
        If it is outside the range.
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
    """Convert `value` to a bool; only True and False, of Python or NumPy, are accepted.

    Raises
    ------
    TypeError
        If `value` is anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether `value` is a real number; truth values are none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def as_probability(name: str, value: object) -> float:
    """Convert `value` to a float within [0, 1).

    Raises
    ------
    TypeError
        If `value` is not a real number.
    ValueError
        If it is outside [0, 1) or NaN.
    """
    if not is_number(value):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected a number from 0 to below 1, got {value}")
    return float(value)


def as_clip(name: str, value: object, dtype: str = "float64") -> float | None:
    """Convert `value` to a float above 0 in the range of `dtype`, or None.

    Raises
    ------
    TypeError
        If `value` is neither a real number nor None.
    ValueError
        If it is outside the range, or not above 0.
    """
    if value is None:
        return None
    if not is_number(value):
        raise TypeError(f"{name}: expected a number or None, got {value!r}")
    limits = np.finfo(dtype)
    if not float(limits.tiny) <= value <= float(limits.max):
        raise ValueError(f"{name}: expected a {dtype} above 0 or None, got {value}")
    return float(value)


def as_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of the choices.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return str(value)


def as_precision(name: str, value: Any) -> np.dtype[Any]:
    """Convert `value`, anything that NumPy accepts as a dtype, to the native float32 or float64.

    Raises
    ------
    TypeError
        If NumPy does not accept it as a dtype.
    ValueError
        If it is a dtype other than float32 and float64.
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
    """Validate an ``on_error``, the treatment of rows that are not valid for a model.

    Raises
    ------
    ValueError
        If it is neither "raise" nor "null".
    """
    if value not in ("raise", "null"):
        raise ValueError(f"on_error: expected 'raise' or 'null', got {value!r}")
