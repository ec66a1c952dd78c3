"""Validation of keys, and their conversion for the core: to integers, or to concatenated texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rgru import _core
from rgru._data.string_views import without_views
from rgru._validation.arrays import as_ndarray, is_arrow_column, on_gpu, refuse_masked

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind: TypeAlias = Literal["int", "str", "bytes"]

CoreKeys: TypeAlias = "tuple[NDArray[Any], NDArray[np.int64] | None]"
"""Either int64 (M,) and None, or uint8 and offsets (M + 1,) into it."""

_EXPECTED = "a vector of integers, strings or bytes"


def as_keys(name: str, value: Any) -> tuple[Kind | None, CoreKeys]:
    """Convert keys of any accepted form for the core.

    Parameters
    ----------
    name : str
        The argument's name, for errors.
    value : array_like of shape (M,), or Arrow, pandas or Polars column
        Integers, strings or bytes. Arrow columns, and NumPy arrays of other types than object, are read without a
        Python object per key.

    Returns
    -------
    kind : {"int", "str", "bytes"} or None
        None for zero keys, which have no kind.
    keys : tuple
        See `CoreKeys`. Strings are in UTF-8.

    Raises
    ------
    TypeError, ValueError
        If `value` is not of these types, or has nulls.
    """
    if on_gpu(value):
        raise TypeError(f"{name}: expected {_EXPECTED} on the CPU, got {type(value).__name__} on a GPU")
    column = _arrow_of(name, value)
    if column is not None:
        return _from_arrow(name, column)
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name}: expected {_EXPECTED}, got one {type(value).__name__}")
    refuse_masked(name, value, _EXPECTED)
    array = _array_of(name, value)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected 1 dimension (M,), got shape {array.shape}")
    if array.size == 0:
        return None, (np.empty(0, np.int64), None)
    return _from_array(name, array)


def no_keys(kind: Kind | None) -> CoreKeys:
    """Return an empty set of keys of a kind."""
    if kind in {None, "int"}:
        return np.empty(0, np.int64), None
    return np.empty(0, np.uint8), np.zeros(1, np.int64)


def as_array(kind: Kind | None, keys: CoreKeys) -> NDArray[Any]:
    """Convert keys to an array of int64, or of Python objects."""
    data, offsets = keys
    if offsets is None:
        return data
    count = len(offsets) - 1
    return np.fromiter((nth(kind, keys, n) for n in range(count)), object, count)


def take(keys: CoreKeys, chosen: NDArray[np.bool_]) -> CoreKeys:
    """Return those of M keys where `chosen` (M,) is True."""
    data, offsets = keys
    if offsets is None:
        return data[chosen], None
    lengths = np.diff(offsets)
    letters = np.repeat(chosen, lengths)
    return data[offsets[0] : offsets[-1]][letters], np.append(0, np.cumsum(lengths[chosen]))


def nth(kind: Kind | None, keys: CoreKeys, n: int) -> int | str | bytes:
    """Return key n as a Python object."""
    data, offsets = keys
    if offsets is None:
        return int(data[n])
    found = data[offsets[n] : offsets[n + 1]].tobytes()
    return found.decode() if kind == "str" else found


def _array_of(name: str, value: Any) -> NDArray[Any]:
    """Convert keys to an array: of objects for lists of anything but integers, and if NumPy would make strings.

    NumPy's strings lose trailing zeros, and are all as wide as the widest.
    """
    listed = isinstance(value, (list, tuple))
    if not listed or isinstance(next(iter(value), None), (int, np.integer)):
        array = as_ndarray(name, value, _EXPECTED)
        if isinstance(value, np.ndarray) or (array.dtype.kind in "iu" if listed else array.dtype.kind not in "US"):
            return array
    return np.fromiter(value, object, len(value))


def _from_array(name: str, array: NDArray[Any]) -> tuple[Kind, CoreKeys]:
    kind, count = array.dtype.kind, len(array)
    if kind in "iu":
        if kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
            hint = f"; {name}.view('int64') keeps all bits"
            raise ValueError(f"{name}: expected integers below 2**63, got {array.max()}{hint}")
        return "int", (np.require(array, np.int64, ["C_CONTIGUOUS", "ALIGNED"]), None)
    if kind in "US":
        unit = np.dtype(np.uint32 if kind == "U" else np.uint8)
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        units = np.ndarray((count, plain.dtype.itemsize // unit.itemsize), unit, plain)
        return _named(name, _core.fixed_width_keys, units)
    if kind in {"O", "T"}:
        return _named(name, _core.object_keys, np.ascontiguousarray(array, object))
    raise TypeError(f"{name}: expected {_EXPECTED}, got {array.dtype.name}")


def _named(name: str, read: Any, array: NDArray[Any]) -> tuple[Kind, CoreKeys]:
    """Read keys by the core, and replace "keys" in its errors by the argument's name."""
    try:
        kind, data, offsets = read(array)
    except (TypeError, ValueError) as error:
        if name != "keys" and str(error).startswith("keys: "):
            raise type(error)(f"{name}{str(error)[4:]}") from None
        raise
    return kind, (data, offsets)


def _arrow_of(name: str, value: Any) -> Any:
    """Return a column that Arrow reads without a Python object per key, also from a pandas Series, or None."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return None
    inside = getattr(value, "array", None)
    if hasattr(inside, "__arrow_array__"):
        value = inside
    elif not is_arrow_column(value) or isinstance(getattr(value, "dtype", None), np.dtype):
        return None  # NumPy reads a Series of its own types
    try:
        import pyarrow as pa
    except ImportError:
        return None  # read as Python objects then
    try:
        if value is inside:
            return pa.array(value, from_pandas=True)
        return pa.chunked_array(value) if hasattr(value, "__arrow_c_stream__") else pa.array(value)
    except pa.ArrowException as error:
        raise TypeError(f"{name}: expected {_EXPECTED}, got {type(value).__name__} ({error})") from error


def _from_arrow(name: str, column: Any) -> tuple[Kind | None, CoreKeys]:
    import pyarrow as pa
    from pyarrow import types

    column = without_views(column)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_null(column.type) and len(column) == 0:
        return None, no_keys(None)
    if column.null_count:
        raise ValueError(f"{name}: expected no nulls, got {column.null_count}")
    text = types.is_string(column.type) or types.is_large_string(column.type)
    binary = types.is_binary(column.type) or types.is_large_binary(column.type)
    if types.is_integer(column.type):
        if len(column) == 0:
            return None, no_keys(None)
        return _from_array(name, column.to_numpy())
    if not (text or binary or types.is_fixed_size_binary(column.type)):
        raise TypeError(f"{name}: expected {_EXPECTED}, got {column.type}")
    if len(column) == 0:
        return None, no_keys(None)
    column = column.cast(pa.large_string() if text else pa.large_binary())
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    _, ends, data = array.buffers()
    offsets = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    return "str" if text else "bytes", (np.frombuffer(b"" if data is None else data, np.uint8), offsets)
