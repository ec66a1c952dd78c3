"""Times of events: conversion of numbers and dates to seconds."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.arrays import as_ndarray
from rgru._validation.scalars import is_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPECTED = "numbers (seconds), datetime64 or datetimes"

_LONG = {"Y", "M", "W", "D", "h", "m"}
"""Units of dates that are longer than a second."""


def as_times(name: str, value: Any, count: int | None) -> float | NDArray[np.float64]:
    """Convert the times of `count` events to seconds: one for all, or float64 (M,); one time without a count.

    Parameters
    ----------
    name : str
        The argument's name, for errors.
    value : number, numpy.datetime64, datetime.datetime, or array_like of these with shape (M,)
        Datetimes are aware, like those of a pandas column with a time zone, or naive, which count as UTC, like NumPy's.
    count : int or None
        M.

    Raises
    ------
    TypeError, ValueError
        If `value` is not of these types, or not finite.
    """
    # A single datetime, which `as_ndarray` would refuse, becomes an array of objects without dimensions.
    array = np.asarray(value, object) if isinstance(value, datetime) else as_ndarray(name, value, _EXPECTED)
    if array.dtype == object and array.size:
        array = _dates(name, array)
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise ValueError(f"{name}: expected dates, got NaT at position {int(np.isnat(array).argmax())}")
        array = _seconds(name, array)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected {_EXPECTED}, got {array.dtype.name}")
    if array.shape not in {(), (count,)}:
        words = "one time" if count is None else f"one time or shape ({count},)"
        raise ValueError(f"{name}: expected {words}, got shape {array.shape}")
    seconds = np.require(array, np.float64, ["C_CONTIGUOUS", "ALIGNED"])
    wrong = ~np.isfinite(seconds)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{name}: expected finite numbers, got {seconds.flat[at]} at position {at}")
    return float(seconds) if seconds.ndim == 0 else seconds


def _dates(name: str, objects: NDArray[np.object_]) -> NDArray[np.datetime64]:
    """Convert datetime objects, including those of pandas and its NaT, to dates in UTC."""
    made = []
    for at, one in enumerate(objects.flat):
        if not isinstance(one, datetime):
            raise TypeError(f"{name}: expected {_EXPECTED}, got {type(one).__name__} at position {at}")
        if hasattr(one, "to_datetime64"):  # pandas's, which have nanoseconds
            made.append(one.to_datetime64())
        else:
            made.append(np.datetime64(one if one.tzinfo is None else one.astimezone(timezone.utc).replace(tzinfo=None)))
        if np.isnat(made[-1]):
            raise ValueError(f"{name}: expected dates, got NaT at position {at}")
        if (one.tzinfo is None) != (objects.flat[0].tzinfo is None):
            got = f"another at position {at}"
            raise TypeError(f"{name}: expected datetimes all with a time zone or all without, got {got}")
    return np.array(made).reshape(objects.shape)


def _seconds(name: str, dates: NDArray[np.datetime64]) -> NDArray[np.float64]:
    if np.datetime_data(dates.dtype)[0] in _LONG:
        wrong = dates.astype("datetime64[s]").astype(dates.dtype) != dates  # NumPy lets them overflow in silence
        if wrong.any():
            at = int(wrong.argmax())
            got = f"{dates.flat[at]} at position {at}"
            raise ValueError(f"{name}: expected dates that are seconds in 64 bits, got {got}")
    seconds: NDArray[np.float64] = (dates - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    return seconds


def as_timeout(name: str, value: object) -> float | None:
    """Validate a timeout: a finite number of seconds above 0, or None.

    Raises
    ------
    TypeError, ValueError
        If `value` is neither.
    """
    if value is None:
        return None
    if not is_number(value):
        raise TypeError(f"{name}: expected a number of seconds or None, got {value!r}")
    seconds = float(value)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{name}: expected a number of seconds above 0, got {seconds}")
    return seconds
