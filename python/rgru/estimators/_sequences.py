"""Conversion of the estimators' X to Ragged, and the check for NaN and infinity."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._data.arrow_columns import ragged_from_arrow
from rgru._data.feature_names import common_names
from rgru._data.ragged import Ragged
from rgru._validation.arrays import (
    all_finite,
    as_ndarray,
    as_real,
    has_no_steps,
    is_arrow_column,
    on_gpu,
    with_feature_axis,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPECTED = "an array (N, T, I), a list of arrays (T_i, I), a Ragged or an Arrow column or table"


def as_ragged(name: str, value: Any, width: int | None = None, first: int = 0, *, ids: bool = False) -> Ragged:
    """Convert sequences of any accepted type to Ragged.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    value : array_like of shape (N, T, I), list or tuple of (T_i, I) arrays, Ragged, or Arrow column or table
        Sequences of any type of real numbers. An object array of arrays counts as a list; ``[]`` in a list has no
        steps.
    width : int, optional
        I, for data that do not have it: an empty list.
    first : int, default 0
        The number of the first row, for errors, if an Arrow column is a part of a larger one.
    ids : bool, default False
        Whether arrays of integers may lack the axis of the features: (N, T), or (T_i,) in a list.

    Returns
    -------
    Ragged
        N sequences. Floats keep their type, integers and booleans become float64. A contiguous array is not copied.

    Raises
    ------
    TypeError, ValueError
        If `value` is of no accepted type or shape.
    """
    if isinstance(value, Ragged):
        return value
    if is_arrow_column(value) and not _holds_arrays(value):
        return ragged_from_arrow(value, width=width, name=name, first=first)
    if not isinstance(value, (list, tuple)):
        if on_gpu(value):
            raise TypeError(f"{name}: expected {_EXPECTED} on the host, got one on a GPU; device='cuda' copies to it")
        if not hasattr(value, "__array__"):
            raise TypeError(f"{name}: expected {_EXPECTED}, got {type(value).__name__}")
        array = as_ndarray(name, value, _EXPECTED)
        if array.dtype != object or array.ndim != 1:
            return _from_padded(as_float(name, array, 3, "(N, T, I)", ids=ids))
        value = list(array)
    return _from_list(name, value, width, ids)


def _holds_arrays(value: Any) -> bool:
    """Return whether `value` is a pandas Series of arrays (T, I), which Arrow cannot represent."""
    if not isinstance(getattr(value, "dtype", None), np.dtype) or value.dtype != object:
        return False
    return any(isinstance(one, np.ndarray) and one.ndim == 2 for one in value)


def check_finite(name: str, x: Ragged, first: int = 0, what: str = "feature") -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    x : Ragged
    first : int, default 0
        The number of the first sequence, for errors, if `x` is a part of a larger batch.
    what : str, default "feature"
        The errors' word for a column.

    Raises
    ------
    ValueError
        With the position of the first such value, counted from 0.
    """
    if all_finite(x.values):
        return
    wrong = ~np.isfinite(x.values)
    row, feature = (int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))
    sequence = int(np.searchsorted(x.offsets, row, side="right")) - 1
    raise ValueError(
        f"{name}: expected finite numbers, got {x.values[row, feature]} in sequence {first + sequence}, "
        f"step {row - int(x.offsets[sequence])}, {what} {feature} (counted from 0)"
    )


def _from_padded(array: NDArray[Any]) -> Ragged:
    count, steps, features = array.shape
    return Ragged(array.reshape(count * steps, features), np.arange(count + 1) * steps)


def _from_list(name: str, sequences: list[Any] | tuple[Any, ...], width: int | None, ids: bool) -> Ragged:
    arrays = {
        i: as_float(f"{name}[{i}]", one, 2, "(T, I)", ids=ids)
        for i, one in enumerate(sequences)
        if not has_no_steps(one)
    }
    lengths = [len(arrays.get(i, ())) for i in range(len(sequences))]
    if not arrays:
        return Ragged(np.zeros((0, width or 1), np.float32), np.cumsum([0, *lengths]))
    first = min(arrays)
    features = arrays[first].shape[1]
    for i, array in arrays.items():
        if array.shape[1] != features:
            raise ValueError(f"{name}[{i}]: expected {features} features as {name}[{first}], got shape {array.shape}")
    values, offsets = np.concatenate(list(arrays.values())), np.cumsum([0, *lengths])
    return Ragged._over(values, offsets, common_names(name, sequences))


def as_float(name: str, value: Any, ndim: int | None = None, axes: str = "", *, ids: bool = False) -> NDArray[Any]:
    """Do as `as_real`, but convert integers, booleans and decimals too: data, unlike states, come in every type.

    Tables of mixed or nullable columns are object arrays, which are converted if no value is missing. With `ids`,
    integers may lack the last axis.
    """
    array = as_ndarray(name, value, "an array of real numbers")
    if array.dtype == object:
        array = _from_objects(name, array)
    elif array.dtype.kind in "biu":
        array = (with_feature_axis(array, ndim) if ids else array).astype(np.float64)
    return as_real(name, array, None, ndim, axes)


def _from_objects(name: str, objects: NDArray[np.object_]) -> NDArray[Any]:
    """Convert an array of Python or NumPy numbers to float64; return it as it is if it holds anything else."""
    kinds = set(map(type, objects.flat))
    if any(_is_missing(kind) for kind in kinds):
        place = next(place for place, one in np.ndenumerate(objects) if _is_missing(type(one)))
        where = place[0] if len(place) == 1 else f"({', '.join(map(str, place))})"
        raise ValueError(f"{name}: expected no missing values, got {objects[place]} at position {where}")
    numbers = (int, float, Decimal, np.bool_, np.integer, np.floating)
    if not all(issubclass(kind, numbers) and not issubclass(kind, np.timedelta64) for kind in kinds):
        return objects
    try:
        return objects.astype(np.float64)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers within the range of float64 ({error})") from error


def _is_missing(kind: type) -> bool:
    return kind is type(None) or kind.__name__ in ("NAType", "NaTType")  # pandas's, without importing it
