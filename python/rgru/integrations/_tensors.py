"""Conversion of tensor columns, Ray's and Arrow's own, to lists over the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._data.column_names import quoted

if TYPE_CHECKING:
    import pyarrow as pa

_FIXED = ("ray.data.arrow_tensor", "ray.data.arrow_tensor_v2", "arrow.fixed_shape_tensor")
_VARIABLE = "ray.data.arrow_variable_shaped_tensor"


def with_lists(table: pa.Table | pa.RecordBatch) -> pa.Table:
    """Replace tensors by lists.

    Parameters
    ----------
    table : pyarrow.Table or RecordBatch
        A table whose tensor columns have a tensor of shape (steps, features) or (steps,) in each row; the number of
        steps may differ from row to row.

    Returns
    -------
    pyarrow.Table
        The table with lists of steps, each a list of the features, or a number. Null tensors become null lists.

    Raises
    ------
    TypeError
        If a column contains tensors of another rank, or is of another extension type.
    """
    import pyarrow as pa

    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    for i, field in enumerate(table.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            rank = _rank(field.type)
            if rank not in (1, 2):
                got = field.type if rank is None else f"tensors of rank {rank}"
                raise TypeError(
                    f"{quoted([field.name])}: expected lists, or tensors of (steps, features) or (steps,), got {got}"
                )
            none = field.type.wrap_array(pa.array([], field.type.storage_type))
            table = table.set_column(
                i, field.name, pa.chunked_array(list(map(_lists, table.column(i).chunks or [none])))
            )
    return table


def _rank(kind: Any) -> int | None:
    """Return the number of dimensions of a type of tensors in row-major order, or None for other types."""
    if kind.extension_name == _VARIABLE:
        rank: int = kind.ndim
        return rank
    order = getattr(kind, "permutation", None)
    if kind.extension_name not in _FIXED or (order is not None and list(order) != sorted(order)):
        return None
    return len(kind.shape)


def _lists(tensors: Any) -> pa.Array:
    import pyarrow as pa

    kind, storage = tensors.type, tensors.storage
    fixed = kind.extension_name != _VARIABLE
    shapes: Any = None
    if not fixed:
        storage, shapes = storage.flatten()
    # In both cases the storage now contains the flat numbers of each row.
    if _rank(kind) == 1:
        return storage
    valid = storage.is_valid().to_numpy(zero_copy_only=False)
    counts = np.zeros(len(storage), np.int64)
    if fixed:
        counts[valid], width = kind.shape
        steps = pa.FixedSizeListArray.from_arrays(storage.flatten(), width)
    else:
        sizes = shapes.filter(storage.is_valid()).flatten().to_numpy().reshape(-1, 2)
        counts[valid] = sizes[:, 0]
        steps = pa.LargeListArray.from_arrays(_offsets(np.repeat(sizes[:, 1], sizes[:, 0])), storage.flatten())
    return pa.LargeListArray.from_arrays(_offsets(counts), steps, mask=pa.array(~valid))


def _offsets(lengths: Any) -> pa.Array:
    import pyarrow as pa

    return pa.array(np.append(0, np.cumsum(lengths)), pa.int64())
