"""Validation of regression targets, one row per sequence or per step, and their score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._data.ragged import Ragged
from rgru._validation.arrays import as_ndarray, is_arrow_column
from rgru.estimators._sequences import as_float, as_ragged, check_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_rows(name: str, value: Any, count: int) -> tuple[NDArray[Any], bool]:
    """Validate the targets of `count` sequences.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    value : array_like, shape (N,) or (N, K)
    count : int
        N.

    Returns
    -------
    rows : ndarray of float, shape (N, K)
    single : bool
        Whether `value` is (N,); K is then 1.

    Raises
    ------
    TypeError, ValueError
        If `value` has another shape, or values other than finite numbers.
    """
    array = _in_range(as_float(name, value))
    if array.ndim not in (1, 2) or len(array) != count or 0 in array.shape[1:]:
        raise ValueError(f"{name}: expected targets of shape ({count},) or ({count}, K), got shape {array.shape}")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        raise ValueError(f"{name}: expected finite numbers, got {array[tuple(wrong[0])]} at sequence {wrong[0][0]}")
    return (array[:, None] if array.ndim == 1 else array), array.ndim == 1


def check_steps(name: str, value: Any, x: Ragged) -> tuple[NDArray[Any], bool]:
    """Validate the targets of all steps of `x`.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    value : array_like (N, T) or (N, T, K), list of arrays (T_i,) or (T_i, K), Ragged, or Arrow list column
    x : Ragged
        N sequences, S steps.

    Returns
    -------
    rows : ndarray of float, shape (S, K)
    single : bool
        Whether `value` has a number for each step, not a row; K is then 1.

    Raises
    ------
    TypeError, ValueError
        If `value` has another shape, or values other than finite numbers.
    """
    single = False
    column = is_arrow_column(value) and not isinstance(value, Ragged)
    if not isinstance(value, Ragged) and not column and np.iterable(value):
        arrays = [as_ndarray(f"{name}[{i}]", one, "an array of real numbers") for i, one in enumerate(value)]
        _check_shapes(name, value, arrays)
        single = all(array.ndim == 1 for array in arrays)
        value = [array[:, None] for array in arrays] if single else value
    elif not isinstance(value, Ragged) and not column:
        raise TypeError(f"{name}: expected {_STEPS}, a Ragged or an Arrow list column, got {type(value).__name__}")
    targets = as_ragged(name, value)
    targets = Ragged._over(_in_range(targets.values), targets.offsets)
    if len(targets) != len(x):
        raise ValueError(f"{name}: expected targets for {len(x)} sequences as in X, got {len(targets)}")
    if not np.array_equal(targets.offsets, x.offsets):
        i = int(np.flatnonzero(targets.lengths != x.lengths)[0])
        raise ValueError(f"{name}: expected {x.lengths[i]} steps as in X at sequence {i}, got {targets.lengths[i]}")
    check_finite(name, targets, what="target")
    return targets.values, single or (column and targets.values.shape[1] == 1)


_STEPS = "an array (N, T) or (N, T, K), a list of arrays (T_i,) or (T_i, K)"


def _check_shapes(name: str, value: Any, arrays: list[NDArray[Any]]) -> None:
    """Refuse targets of steps whose shape is not one of `_STEPS`; `arrays` are those of the sequences in `value`.

    An empty list is a sequence without steps, whatever the shape of the others.
    """
    nonempty = [i for i, array in enumerate(arrays) if array.shape != (0,)]
    for i, array in enumerate(arrays):
        place, shape = (name, np.shape(value)) if isinstance(value, np.ndarray) else (f"{name}[{i}]", array.shape)
        if array.ndim not in (1, 2):
            raise ValueError(f"{place}: expected {_STEPS} as targets of every step, got shape {shape}")
        if i in nonempty and array.shape[1:] != arrays[nonempty[0]].shape[1:]:
            raise ValueError(f"{place}: expected targets for each step as in {name}[{nonempty[0]}], got shape {shape}")


def shape_steps(rows: NDArray[Any], x: Ragged, like: Any) -> NDArray[Any] | list[NDArray[Any]]:
    """Reshape predictions for every step to the layout of X.

    Parameters
    ----------
    rows : ndarray, shape (S,) or (S, K)
    x : Ragged
        N sequences, S steps.
    like : object
        X as the user passed it.

    Returns
    -------
    ndarray of shape (N, T) or (N, T, K), or list of N arrays (T_i,) or (T_i, K)
    """
    listed = isinstance(like, (list, tuple, Ragged)) or is_arrow_column(like) or np.ndim(like) == 1
    if listed:
        return [rows[start:end] for start, end in zip(x.offsets[:-1], x.offsets[1:], strict=True)]
    padded: NDArray[Any] = rows.reshape(*np.shape(like)[:2], *rows.shape[1:])
    return padded


def r_squared(predicted: NDArray[Any], targets: NDArray[Any]) -> float:
    """Return the coefficient of determination, as its mean over the columns of the two arrays (M, K).

    A constant column of targets counts 1 if all its predictions are exact, else 0, as in scikit-learn.
    """
    # In units of the largest number, so that no difference overflows float64. Powers of two change no digit.
    _, unit = np.frexp(np.maximum(np.abs(targets), np.abs(predicted)).max(axis=0, initial=0.0))
    truth, guess = (np.ldexp(array.astype(np.float64), -unit) for array in (targets, predicted))
    residual, residual_unit = _sum_of_squares(truth - guess)
    total, total_unit = _sum_of_squares(truth - truth.mean(axis=0))
    varies = (truth != truth[:1]).any(axis=0)  # not by the deviation: the mean of a constant column may be rounded
    share = np.divide(residual, total, out=(residual > 0).astype(np.float64), where=varies)
    with np.errstate(over="ignore"):  # an R^2 beyond float64's range is -infinity
        share = np.ldexp(share, np.where(varies, residual_unit - total_unit, 0))
    return float(np.mean(1.0 - share))


def _sum_of_squares(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the sums of squares over the rows of (M, K), and the exponents of two to multiply them by."""
    _, unit = np.frexp(np.abs(numbers).max(axis=0, initial=0.0))
    return np.sum(np.square(np.ldexp(numbers, -unit)), axis=0), 2 * unit


def _in_range(array: NDArray[Any]) -> NDArray[Any]:
    """Convert numbers of a wider type to float64; those beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float64, copy=False) if array.dtype.itemsize > 8 else array
