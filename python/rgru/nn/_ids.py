"""Ids, the first feature of inputs to a GRU with a vocabulary: their conversion to features, and their validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.arrays import as_ndarray, on_gpu, with_feature_axis
from rgru.nn._booleans import as_booleans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru._data.feature_names import Names
    from rgru.nn._settings import Settings


def as_features(
    settings: Settings,
    x: Any,
    axes: str,
    *,
    lengths: NDArray[np.int64] | None = None,
    offsets: NDArray[np.int64] | None = None,
    mask: object = None,
    place: str = "sequence",
    check: bool = True,
) -> Any:
    """Convert the inputs of a GRU that reads nothing but ids to its dtype; return those of others as they are.

    Ids convert from any type of numbers, since those that are read are checked before: none is rounded.

    Parameters
    ----------
    settings : Settings
    x : object
        Integers, with or without the axis of the feature, or floats with it.
    axes : str
        The axes of inputs: ``"(N, T, I)"``.
    lengths, offsets, mask
        As in a call of the GRU: which steps are read.
    place : str, default "sequence"
        The word for a row of `x`, for errors.
    check : bool, default True
        Whether to refuse numbers that are no ids. Otherwise they become -1, which is none either.

    Raises
    ------
    ValueError
        If a number that is read is no id, or floats lack the axis of the feature.
    """
    if settings.vocabulary is None or settings.input_size != 1 or on_gpu(x):
        return x
    array, names = as_ndarray("x", x, "an array of ids"), axes.strip("()").split(", ")
    if array.size == 0 and array.ndim + 1 == len(names):
        array = array[..., None].astype(settings.dtype)  # of sequences without steps, whose type says nothing
    whole = array.ndim == len(names) and array.dtype.kind != "b"
    if not whole and (array.ndim + 1 != len(names) or array.dtype.kind not in "iu"):
        without = f"({', '.join(names[:-1])}{',' * (len(names) == 2)})"
        expected = f"integers {without} as ids, or {len(names)} dimensions {axes}"
        raise ValueError(f"x: expected {expected}, got {array.dtype} of shape {array.shape}")
    array = with_feature_axis(array, len(names))
    if array.size == 0:
        return array
    if array.dtype.kind not in "iuf" or array.dtype == settings.dtype or array.shape[-1:] != (1,):
        return x
    known = are_ids(array, settings.vocabulary)
    if known.all():
        return array.astype(settings.dtype)
    if check:
        inside = _steps_read(known.shape, lengths, mask)
        check_ids("x", array, settings.vocabulary, offsets=offsets, inside=inside, place=place)
    return np.where(known[..., None], array, -1).astype(settings.dtype)


def _steps_read(shape: tuple[int, ...], lengths: NDArray[np.int64] | None, mask: object) -> NDArray[np.bool_]:
    inside = np.ones(shape, np.bool_)
    if lengths is not None and lengths.shape == shape[:1]:  # others are refused later
        inside &= np.arange(shape[1]) < lengths[:, None]
    if mask is not None:
        inside &= as_booleans("mask", mask, shape)
    return inside


def are_ids(values: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Return for each row of `values` (..., I) whether its first feature is an id below `count`."""
    numbers = values[..., 0]
    known: NDArray[np.bool_] = (numbers >= 0) & (numbers < count)
    if numbers.dtype.kind == "f":
        known &= numbers == np.floor(numbers)
    return known


def check_ids(
    name: str,
    values: NDArray[Any],
    count: int,
    *,
    offsets: NDArray[np.int64] | None = None,
    inside: NDArray[np.bool_] | None = None,
    first: int = 0,
    place: str = "sequence",
    names: Names | None = None,
) -> None:
    """Refuse a first feature that is no id.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    values : numpy.ndarray, shape (N, T, I), (S, I) with `offsets`, or (N, I) for one step
    count : int
        V, the number of ids.
    offsets : numpy.ndarray of int64, shape (N + 1,), optional
    inside : numpy.ndarray of bool, optional
        Which steps are read; all by default.
    first : int, default 0
        The number of the first sequence.
    place : str, default "sequence"
        The word for a row of `values`, for the error.
    names : tuple of str, optional
        The features' names.

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
    at = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    number = str(values[at][0]).removesuffix(".0")
    if offsets is not None:
        sequence = int(np.searchsorted(offsets, at[0], side="right")) - 1
        at = sequence, at[0] - int(offsets[sequence])
    feature = "feature 0" if names is None else f"feature 0 ({names[0]!r})"
    step = f", step {at[1]}" if len(at) == 2 else ""
    raise ValueError(
        f"{name}: expected ids from 0 to {count - 1} in {feature}, got {number} in {place} {first + at[0]}{step} "
        "(counted from 0)"
    )
