"""Validation of ids, the first feature of inputs to a GRU with a vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.arrays import as_ndarray, on_gpu

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.nn._settings import Settings


def as_features(settings: Settings, x: Any, ndim: int) -> Any:
    """Return integers as the feature of a GRU that reads nothing but ids; anything else as it is.

    Parameters
    ----------
    settings : Settings
    x : object
        The ids, of `ndim` - 1 dimensions, or of one more, of size 1, for the feature.
    ndim : int
        The dimensions of inputs.
    """
    if settings.vocabulary is None or settings.input_size != 1 or on_gpu(x):
        return x
    array = as_ndarray("x", x, "an array of ids")
    if array.dtype.kind not in "iu" or array.ndim not in (ndim - 1, ndim):
        return x
    numbers = array.astype(settings.dtype)  # exact for all ids; what is read is checked later
    return numbers[..., None] if array.ndim < ndim else numbers


def are_ids(values: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Return for each row of `values` (..., I) whether its first feature is an id below `count`."""
    numbers = values[..., 0]
    known: NDArray[np.bool_] = (numbers >= 0) & (numbers < count) & (numbers == np.floor(numbers))
    return known


def check_ids(
    name: str,
    values: NDArray[Any],
    count: int,
    *,
    offsets: NDArray[np.int64] | None = None,
    inside: NDArray[np.bool_] | None = None,
    first: int = 0,
) -> None:
    """Refuse a first feature that is no id.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    values : numpy.ndarray, shape (N, T, I), or (S, I) with `offsets`
    count : int
        V, the number of ids.
    offsets : numpy.ndarray of int64, shape (N + 1,), optional
    inside : numpy.ndarray of bool, optional
        Which steps are read; all by default.
    first : int, default 0
        The number of the first sequence.

    Raises
    ------
    ValueError
        With the position of the first such feature, counted from 0.
    """
    wrong = ~are_ids(values, count)
    if inside is not None:
        wrong &= inside.reshape(wrong.shape)
    if not wrong.any():
        return
    place = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    number = values[place][0]
    if offsets is not None:
        sequence = int(np.searchsorted(offsets, place[0], side="right")) - 1
        place = sequence, place[0] - int(offsets[sequence])
    raise ValueError(
        f"{name}: expected ids from 0 to {count - 1} in feature 0, got {number:.10g} in sequence {first + place[0]}, "
        f"step {place[1]} (counted from 0)"
    )
