"""Class labels: to codes from 0 for training, and to JSON for files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def encode_labels(name: str, value: Any, count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Find the classes and number them.

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
        If the labels cannot be sorted, as with missing ones among strings.
    ValueError
        If there are not N of them, fewer than two classes, or numbers that are no labels.
    """
    labels = check_labels(name, value, count)
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        odd = labels[labels != np.round(labels)][0]
        raise ValueError(f"{name}: expected class labels, got the number {odd}; GRURegressor learns numbers")
    try:
        classes, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"{name}: expected labels of one sortable type, none missing ({error})") from error
    if len(classes) < 2:
        raise ValueError(f"{name}: expected at least two classes, got {len(classes)}: {classes.tolist()}")
    return classes, codes.reshape(-1).astype(np.int64)


def check_labels(name: str, value: Any, count: int) -> NDArray[Any]:
    """Give `value` as an array (N,) after checking its shape.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    labels = np.asarray(value)
    if labels.shape != (count,):
        raise ValueError(f"{name}: expected one label per sequence, shape ({count},), got shape {labels.shape}")
    return labels


def classes_to_json(classes: NDArray[Any]) -> dict[str, Any]:
    """Give `classes` (C,) as JSON can hold them.

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
    """Give back what `classes_to_json` was given.

    Raises
    ------
    KeyError, TypeError, ValueError
        If `saved` was not made by it.
    """
    return np.array(saved["values"], dtype=np.dtype(saved["dtype"]))
