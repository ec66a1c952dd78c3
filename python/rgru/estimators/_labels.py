"""Class labels: their codes from 0 for training, and their JSON for files."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.arrays import as_ndarray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def encode_labels(name: str, value: Any, count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Find the classes and number the labels by them.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    value : array_like, shape (N,)
        Labels of one sortable type: integers, booleans, strings, whole-numbered floats...
    count : int
        N.

    Returns
    -------
    classes : ndarray, shape (C,)
        Sorted, C at least 2.
    codes : ndarray of int64, shape (N,)
        The position of each label in `classes`.

    Raises
    ------
    TypeError
        If the labels cannot be sorted, or are of several types.
    ValueError
        If there are not N labels, fewer than two classes, missing labels, or numbers that are not whole.
    """
    labels = check_labels(name, value, count)
    classes, codes = _unique_objects(name, labels) if labels.dtype == object else np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{name}: expected at least two classes, got {len(classes)}: {classes.tolist()}")
    return classes, codes.reshape(-1).astype(np.int64)


def check_labels(name: str, value: Any, count: int) -> NDArray[Any]:
    """Return `value` as an array (N,) of labels, none of them missing.

    Strings that end in NUL, which NumPy's fixed-width type drops, are returned as objects. Numbers are returned in a
    type of at most 64 bits, also if `value` has them as objects.

    Raises
    ------
    TypeError
        If it is a masked array, or the labels are of several types.
    ValueError
        If the shape differs, or a label is missing (None, NaN, NaT and the like) or a number that is not whole, or no
        type holds all the numbers exactly.
    """
    labels = as_ndarray(name, value, "labels")
    if labels.dtype.kind in "US" and labels.ndim == 1 and labels is not value and labels.tolist() != list(value):
        labels = np.fromiter(value, object, len(value))  # NumPy turned numbers into strings, or dropped trailing NULs
    elif labels.dtype.kind == "T":
        labels = labels.astype(object)
    if labels.shape != (count,):
        raise ValueError(f"{name}: expected one label per sequence, shape ({count},), got shape {labels.shape}")
    if labels.dtype.kind in "cV":
        raise TypeError(f"{name}: expected labels of one sortable type, got {labels.dtype}")
    objects = labels.dtype == object
    missing = np.fromiter(map(_is_missing, labels), np.bool_, count) if objects else labels != labels  # noqa: PLR0124
    if missing.any():
        i = int(missing.argmax())
        raise ValueError(f"{name}: expected no missing labels, got {labels[i]} at position {i}")
    if objects and len(kinds := set(map(_kind_of, labels))) > 1:
        raise TypeError(f"{name}: expected labels of one sortable type, got {' and '.join(sorted(kinds))}")
    real = labels[[isinstance(one, (float, np.floating)) for one in labels]].astype(np.float64) if objects else labels
    if real.dtype.kind == "f" and not (whole := np.isfinite(real) & (real == np.round(real))).all():
        odd = real[~whole][0]
        raise ValueError(f"{name}: expected class labels, got the number {odd}; GRURegressor learns numbers")
    if objects and count and all(isinstance(one, (int, float, np.bool_, np.number)) for one in labels):
        return _exact_numbers(name, labels)
    if labels.dtype.kind == "f" and (labels.dtype.itemsize > 8 or isinstance(value, (list, tuple))):
        return _exact_numbers(name, value)  # NumPy converts lists of large integers to floats, which merges them
    return labels


def _exact_numbers(name: str, numbers: Any) -> NDArray[Any]:
    """Convert whole numbers of any types to an array of one type that holds each of them exactly."""
    whole = list(map(int, numbers))
    for dtype in (None, np.int64, np.uint64, np.float64):
        try:
            array = np.array(list(numbers) if dtype is None else whole, dtype)
        except OverflowError:
            continue
        if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8 and array.tolist() == whole:
            return array
    raise ValueError(f"{name}: expected integers of 64 bits of one sign, got {min(whole)} and {max(whole)}")


def accuracy(name: str, predicted: NDArray[Any], labels: NDArray[Any], classes: NDArray[Any]) -> float:
    """Return the share of predicted labels that are equal to `labels`, of `check_labels`; dates compare as dates.

    Raises
    ------
    ValueError
        If the labels are of another type than in `fit`, such as strings for numbers: all predictions would count as
        wrong.
    """
    predicted, labels, classes = map(_in_numpy_time, (predicted, labels, classes))
    if len(labels) == 0:
        raise ValueError(f"{name}: expected at least one label for a score, got none")
    if _kind_of(labels[0]) != _kind_of(classes[0]):
        expected, got = (repr(one[0] if one.dtype.kind in "mM" else one.tolist()[0]) for one in (classes, labels))
        raise ValueError(f"{name}: expected labels of the type of those in fit, such as {expected}, got {got}")
    return float(np.mean(predicted == labels))


def _in_numpy_time(labels: NDArray[Any]) -> NDArray[Any]:
    """Convert objects that are dates without a time zone, or durations, to NumPy's types; return others as they are."""
    if labels.dtype != object or len(labels) == 0:
        return labels
    if all(isinstance(one, date) and getattr(one, "tzinfo", None) is None for one in labels):
        return np.array(
            [one.to_datetime64() if hasattr(one, "to_datetime64") else np.datetime64(one) for one in labels]
        )
    if all(isinstance(one, timedelta) for one in labels):
        return np.array(
            [one.to_timedelta64() if hasattr(one, "to_timedelta64") else np.timedelta64(one) for one in labels]
        )
    return labels


def _unique_objects(name: str, labels: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Do as `np.unique`, but refuse labels that have no total order, such as sets."""
    try:
        distinct = sorted(dict.fromkeys(labels))
        unordered = next((pair for pair in pairwise(distinct) if not pair[0] < pair[1]), None)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected labels of one sortable type ({error})") from error
    if unordered is not None:
        raise TypeError(f"{name}: expected labels of one sortable type, got {unordered[0]!r} and {unordered[1]!r}")
    places = {label: i for i, label in enumerate(distinct)}
    codes = np.fromiter((places[label] for label in labels), np.int64, len(labels))
    return np.fromiter(distinct, object, len(distinct)), codes


def _is_missing(label: Any) -> bool:
    try:
        return label is None or not label == label  # noqa: PLR0124, SIM201
    except TypeError:
        return True  # pandas' NA is neither equal to itself nor not
    except ValueError:
        return False  # an array; sorting will refuse it


def _kind_of(label: Any) -> str:
    """Return the name of a label's type, one for all numbers and one for all datetimes with a time zone."""
    if isinstance(label, (Number, np.bool_)) and not isinstance(label, np.timedelta64):
        return "number"
    if isinstance(label, datetime) and label.tzinfo is not None:
        return "datetime with a time zone"
    return next((kind.__name__ for kind in (str, bytes) if isinstance(label, kind)), type(label).__name__)


def classes_to_json(classes: NDArray[Any]) -> dict[str, Any]:
    """Convert `classes` (C,) to JSON values.

    Raises
    ------
    TypeError
        If they are neither integers, floats, booleans nor strings.
    """
    values = classes.tolist()
    if classes.dtype.kind not in "biufU" and not all(isinstance(value, str) for value in values):
        raise TypeError(f"classes: expected numbers or strings to save, got {classes.dtype} such as {values[0]!r}")
    return {"dtype": classes.dtype.name if classes.dtype.kind in "biuf" else classes.dtype.str, "values": values}


def classes_from_json(saved: Mapping[str, Any]) -> NDArray[Any]:
    """Convert the result of `classes_to_json` back to classes (C,).

    Raises
    ------
    KeyError, TypeError, ValueError
        If `saved` is no such result.
    """
    return np.array(saved["values"], dtype=np.dtype(saved["dtype"]))
