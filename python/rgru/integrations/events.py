"""Rows of events to sequences, by vector operations on Arrow tables: what Ray's and Spark's workers run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from rgru._data.column_names import as_names, check_present
from rgru._data.string_views import without_views

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from rgru._data.column_names import Names


class Events:
    """What is what in a table with one row an event.

    Parameters
    ----------
    key : str or list of str
        The columns whose values tell whose event it is: numbers, strings, bytes, dates or times. Without nulls and NaN.
    time : str or list of str
        The columns that give the order of one key's events, the first one first; of such values, too, where the engine
        cannot sort others. Without nulls and NaN. Where they are equal the order is any: name another column to decide
        it.
    features : str or list of str
        The columns of numbers. What cannot be part of a sequence there is for the model to refuse.

    Raises
    ------
    TypeError, ValueError
        If one is not as above, or a column comes twice.
    """

    def __init__(self, key: Names, time: Names, features: Names) -> None:
        self.key = as_names("key", key)
        self.time = as_names("time", time)
        self.features = as_names("features", features)
        self.columns = as_names("key, time, features", [*self.key, *self.time, *self.features])

    def check(self, columns: Iterable[str]) -> None:
        """Refuse a table that lacks a column.

        Raises
        ------
        ValueError
        """
        there = list(columns)
        for argument in ("key", "time", "features"):
            check_present(argument, getattr(self, argument), there)

    def check_types(self, argument: Literal["key", "time"], schema: pa.Schema) -> None:
        """Refuse columns of the key or of the time whose values Arrow cannot compare.

        Raises
        ------
        TypeError
        """
        for name in getattr(self, argument):
            kind = schema.field(name).type
            if not _is_ordered(kind):
                raise TypeError(
                    f"{argument}: expected numbers, strings, bytes, dates or times in column {name!r}, got {kind}"
                )

    def sorted(self, table: pa.Table) -> pa.Table:
        """Give the columns of the events, key by key and in the order of time.

        Raises
        ------
        TypeError, ValueError
            As `check_types` and `check`.
        """
        import pyarrow as pa

        self.check(table.column_names)
        self.check_types("key", table.schema)
        self.check_types("time", table.schema)
        columns = [_plain(table.column(name)) for name in self.columns]
        return pa.table(columns, names=list(self.columns)).sort_by(
            [(name, "ascending") for name in (*self.key, *self.time)]
        )

    def cut(self, table: pa.Table) -> pa.Table:
        """Make one row a key of events in order.

        Parameters
        ----------
        table : pyarrow.Table
            Of S events; those of a key lie together, in the order of time.

        Returns
        -------
        pyarrow.Table
            Of N rows: the columns of the key, and lists over the memory of those of the time and the features.

        Raises
        ------
        TypeError, ValueError
            If a key or a time is null or NaN, or keys are of a type that Arrow cannot compare.
        """
        import pyarrow as pa

        self.check(table.column_names)
        self._check_rows(table)
        starts = self._starts(table)
        offsets = pa.array(np.append(starts, table.num_rows), pa.int32())
        keys = [without_views(table.column(name)).take(starts) for name in self.key]
        lists = [pa.ListArray.from_arrays(offsets, _whole(table.column(name))) for name in self.columns[len(keys) :]]
        return pa.table([*keys, *lists], names=list(self.columns))

    def cut_each(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        """Make one row a key of events in order that come in batches; a key may go on in the next ones.

        Parameters
        ----------
        batches : iterable of pyarrow.RecordBatch
            Together as the table in `cut`.

        Yields
        ------
        pyarrow.Table
            As `cut` gives it.

        Raises
        ------
        TypeError, ValueError
            As `cut`.
        """
        import pyarrow as pa

        begun: list[pa.Table] = []  # of the key whose end has not come yet
        for batch in batches:
            if not batch.num_rows:
                continue
            table = pa.Table.from_batches([batch])
            self._check_rows(table)
            last = begun[-1].slice(begun[-1].num_rows - 1) if begun else table.slice(0, 0)
            start = int(self._starts(pa.concat_tables([last, table]))[-1]) - last.num_rows
            if start >= 0:
                if begun or start:
                    yield self.cut(pa.concat_tables([*begun, table.slice(0, start)]))
                begun = []
            begun.append(table.slice(max(start, 0)))
        if begun:
            yield self.cut(pa.concat_tables(begun))

    def _starts(self, table: pa.Table) -> NDArray[np.int64]:
        """Where a key begins that is not that of the row before, in ascending order."""
        import pyarrow.compute as pc

        begins = np.zeros(table.num_rows, np.bool_)
        begins[:1] = True
        for name in self.key:
            column = _whole(table.column(name))
            begins[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        return np.flatnonzero(begins)

    def _check_rows(self, table: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self.check_types("key", table.schema)
        for argument in ("key", "time"):
            for name in getattr(self, argument):
                column = table.column(name)
                nan = pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())
                refuse_gaps(argument, name, column.null_count, nan)


def refuse_gaps(argument: str, column: str, nulls: int, nan: bool) -> None:
    """Refuse a column of the key or the time with so many nulls, or with NaN.

    Raises
    ------
    ValueError
    """
    if nulls:
        raise ValueError(f"{argument}: expected no nulls in column {column!r}, got {nulls}")
    if nan:
        raise ValueError(f"{argument}: expected no NaN in column {column!r}, got some")


def _is_ordered(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    numbers = (types.is_integer, types.is_float32, types.is_float64, types.is_decimal, types.is_boolean)
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    data = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    times = (types.is_timestamp, types.is_date, types.is_time, types.is_duration)
    # Nulls are refused by their number.
    return any(test(kind) for test in (*numbers, *texts, *data, *times, types.is_null))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put values in the place of a dictionary's codes, which differ from chunk to chunk."""
    import pyarrow as pa

    column = without_views(column)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _whole(column: pa.ChunkedArray) -> pa.Array:
    column = _plain(column)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
