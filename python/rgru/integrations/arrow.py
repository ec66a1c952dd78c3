"""Arrow columns of sequences as Ragged, without a copy where Arrow's memory already has rgru's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.ragged import Ragged

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_EXPECTED = "a list column of numbers: list<fixed_size_list<float>>, list<list<float>> or list<float>"


def is_arrow_column(value: object) -> bool:
    """Tell whether `value` is an Arrow column: pyarrow's, or one of the Arrow PyCapsule protocol (a Polars Series)."""
    return hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__")


def is_sequence_type(kind: pa.DataType) -> bool:
    """Tell whether a column of this Arrow type holds sequences that `ragged_from_arrow` can read."""
    if not _is_list(kind):
        return False
    step = kind.value_type
    return _is_number(step.value_type if _is_list(step) else step)


def ragged_from_arrow(column: Any, *, width: int | None = None, name: str = "X") -> Ragged:
    """View an Arrow column of sequences as `Ragged`.

    Parameters
    ----------
    column : pyarrow.Array, pyarrow.ChunkedArray, or a column with the Arrow PyCapsule protocol (Polars Series)
        N sequences. The outer type is list, large_list or fixed_size_list; one step is a list of any of these
        three kinds with I numbers, the same I everywhere, or a bare number (I = 1). Slices are fine.
    width : int, optional
        I, for a column without a single step whose type does not tell it.
    name : str, default "X"
        What error messages call the column.

    Returns
    -------
    Ragged
        ``values`` (S, I) float32 or float64, ``offsets`` (N + 1,) int64 from 0. The values are a read-only view of
        Arrow's memory if the column has one chunk of float or double; several chunks are joined, and numbers
        of other types are cast to float64.

    Raises
    ------
    TypeError
        If the column is not of such a type.
    ValueError
        If there are nulls, at any level, or steps of different widths.
    ImportError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError(f"{name}: reading Arrow columns needs pyarrow: pip install 'rgru[cli]'") from error

    stream = hasattr(column, "__arrow_c_stream__")
    chunked = pa.chunked_array(column) if stream else pa.chunked_array([pa.array(column)])
    if not is_sequence_type(chunked.type):
        raise TypeError(f"{name}: expected {_EXPECTED}, got {chunked.type}")
    parts = [_view(chunk, name) for chunk in chunked.chunks if len(chunk)]
    values = [part for _, part in parts if len(part)]
    widths = {part.shape[1] for part in values}
    if len(widths) > 1:
        raise ValueError(f"{name}: expected steps of one width, got {min(widths)} and {max(widths)} numbers")
    lengths = np.concatenate([np.zeros(1, np.int64), *(lengths for lengths, _ in parts)])
    if not values:
        values = [np.zeros((0, _declared_width(chunked.type) or width or 1), np.float32)]
    return Ragged(values[0] if len(values) == 1 else np.concatenate(values), np.cumsum(lengths))


def _view(array: pa.Array, name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """One chunk as lengths (N,) and values (S, I)."""
    lengths, steps = _unnest(array, name, "sequence")
    if _is_list(steps.type):
        width = _declared_width(array.type)
        widths, numbers = _unnest(steps, name, "step")
        if width is None:
            width = int(widths[0]) if len(widths) else 1
            other = np.flatnonzero(widths != width)
            if other.size:
                raise ValueError(f"{name}: expected steps of one width, got {width} and {widths[other[0]]} numbers")
        if width == 0:
            raise ValueError(f"{name}: expected at least one number per step, got steps of width 0")
    else:
        width, numbers = 1, steps
    _refuse_nulls(numbers, name, "value")
    flat = numbers.to_numpy(zero_copy_only=True)
    if flat.dtype not in (np.float32, np.float64):
        flat = flat.astype(np.float64)
    return lengths, flat.reshape(-1, width)


def _unnest(array: pa.Array, name: str, what: str) -> tuple[NDArray[np.int64], pa.Array]:
    """Take off one level of lists: the length of each, and what they hold, end to end.

    Looks only at the slice that `array` is: its offsets may start above 0, and its child may be longer.
    """
    from pyarrow import types

    _refuse_nulls(array, name, what)
    if types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return np.full(len(array), size, np.int64), array.values.slice(array.offset * size, len(array) * size)
    offsets = array.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    return np.diff(offsets).astype(np.int64), array.values.slice(first, last - first)


def _refuse_nulls(array: pa.Array, name: str, what: str) -> None:
    if array.null_count:
        plural = "" if array.null_count == 1 else "s"
        raise ValueError(f"{name}: expected no nulls, got {array.null_count} null {what}{plural}")


def _declared_width(kind: pa.DataType) -> int | None:
    """Numbers per step, where the type of the column says it."""
    from pyarrow import types

    if types.is_fixed_size_list(kind.value_type):
        return int(kind.value_type.list_size)
    return None if _is_list(kind.value_type) else 1


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_floating(kind) or types.is_integer(kind))
