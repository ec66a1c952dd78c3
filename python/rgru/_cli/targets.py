"""Conversion of a column of targets to the y of the estimators' `fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rgru._cli.errors import CommandError, explained
from rgru._data.arrow_columns import is_sequence_type, ragged_from_arrow
from rgru._data.string_views import without_views

if TYPE_CHECKING:
    import pyarrow as pa


def default_task(kind: pa.DataType) -> Literal["classify", "regress"]:
    """Return the task for targets of this type: regress floats, decimals and lists, classify all else."""
    from pyarrow import types

    numbers = types.is_floating(kind) or types.is_decimal(kind) or is_sequence_type(kind)
    return "regress" if numbers else "classify"


def targets(column: pa.ChunkedArray, name: str, classify: bool, every: bool) -> Any:
    """Convert a column to targets.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        N rows.
    name : str
        The column's name, for errors.
    classify : bool
        Whether the targets are labels (integers, whole decimals, floats, booleans, strings, or a dictionary of these),
        not numbers.
    every : bool
        Whether lists have a target for each step, not the same number of targets for each sequence.

    Returns
    -------
    array_like, shape (N,) or (N, K), or, with `every`, the column itself

    Raises
    ------
    CommandError
        If there are nulls, lists of different lengths, or targets of another type.
    """
    import pyarrow as pa
    from pyarrow import types

    if column.null_count:
        raise CommandError(f"column {name!r}: expected no nulls, got {column.null_count}")
    column = without_views(column)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    number = types.is_integer(kind) or types.is_floating(kind)
    if classify:
        if types.is_decimal(kind) and kind.scale == 0:  # DuckDB exports HUGEINT as such
            with explained(f"column {name!r}: expected labels within 64 bits"):
                column = column.cast("int64")
        elif not (number or types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind)):
            raise CommandError(f"column {name!r}: expected labels (integers, booleans, strings), got type {kind}")
        return column.to_numpy()
    if number or types.is_boolean(kind):
        return column.to_numpy().astype("float64")  # to the nearest, as the estimators convert y
    if types.is_decimal(kind):  # pyarrow's cast does not always round to the nearest; the core, for lists, does
        lists = [pa.FixedSizeListArray.from_arrays(chunk, 1) for chunk in column.chunks]
        return ragged_from_arrow(pa.chunked_array(lists, pa.list_(kind, 1))).values[:, 0]
    if not is_sequence_type(kind, typed=False):
        raise CommandError(f"column {name!r}: expected numbers or lists of numbers to regress, got type {kind}")
    if every:
        return column
    rows = ragged_from_arrow(column, name=f"column {name!r}")
    lengths = rows.lengths
    if rows.values.shape[1] != 1 or len(lengths) == 0 or (lengths != lengths[0]).any():
        raise CommandError(
            f"column {name!r}: expected lists of one length (or --pooling every for a target per step), got "
            f"{lengths.min(initial=0)} to {lengths.max(initial=0)} numbers"
        )
    return rows.values.reshape(len(rows), -1)
