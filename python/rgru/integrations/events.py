"""From rows of events to sequences by vector operations on Arrow tables, in the workers of Ray and Spark."""

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
    """The roles of columns in a table with one event per row.

    Parameters
    ----------
    key : str or list of str
        Columns that identify the sequence of an event: numbers, strings, bytes, dates or times, without nulls and NaN.
    time : str or list of str
        Columns that order the events of a key, the first column first; of the same types, unless the engine can sort
        others, and without nulls and NaN. The order of equal times is undefined: name another column to define it.
    features : str or list of str
        Columns of numbers. They are not validated; the model refuses values that cannot be part of a sequence.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from rgru.integrations.events import Events
    >>> events = Events(key="user", time="time", features="a")
    >>> table = pa.table({"user": ["ada", "bob", "ada"], "time": [20, 10, 10], "a": [0.2, 0.3, 0.1]})
    >>> events.cut(events.sorted(table)).to_pylist()
    [{'user': 'ada', 'time': [10, 20], 'a': [0.1, 0.2]}, {'user': 'bob', 'time': [10], 'a': [0.3]}]
    """

    def __init__(self, key: Names, time: Names, features: Names) -> None:
        self.key = as_names("key", key)
        self.time = as_names("time", time)
        self.features = as_names("features", features)
        self.columns = as_names("key, time, features", [*self.key, *self.time, *self.features])

    def check(self, columns: Iterable[str]) -> None:
        """Refuse a table that lacks a column.

        Parameters
        ----------
        columns : iterable of str
            The table's columns.

        Raises
        ------
        ValueError
            If one is missing.

        Examples
        --------
        >>> from rgru.integrations.events import Events
        >>> Events("user", "time", "a").check(["user", "time", "b"])
        Traceback (most recent call last):
            ...
        ValueError: features: expected one of the columns user, time, b, got 'a'
        """
        there = list(columns)
        for argument in ("key", "time", "features"):
            check_present(argument, getattr(self, argument), there)

    def check_types(self, argument: Literal["key", "time"], schema: pa.Schema) -> None:
        """Refuse columns of the key or of the time whose values Arrow cannot compare.

        Parameters
        ----------
        argument : {"key", "time"}
            Which columns to check.
        schema : pyarrow.Schema
            The table's schema.

        Raises
        ------
        TypeError
            If a column is of such a type, as a struct is.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from rgru.integrations.events import Events
        >>> Events("user", "time", "a").check_types("key", pa.schema({"user": pa.string()}))
        """
        for name in getattr(self, argument):
            kind = schema.field(name).type
            if not _is_ordered(kind):
                raise TypeError(
                    f"{argument}: expected numbers, strings, bytes, dates or times in column {name!r}, got {kind}"
                )

    def sorted(self, table: pa.Table) -> pa.Table:
        """Sort the columns of the events by key and time.

        Parameters
        ----------
        table : pyarrow.Table
            Events in any order.

        Returns
        -------
        pyarrow.Table
            The key, time and feature columns in order.

        Raises
        ------
        TypeError, ValueError
            As in `check_types` and `check`.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from rgru.integrations.events import Events
        >>> table = pa.table({"user": ["bob", "ada"], "time": [20, 10], "a": [0.2, 0.1]})
        >>> Events("user", "time", "a").sorted(table).to_pylist()
        [{'user': 'ada', 'time': 10, 'a': 0.1}, {'user': 'bob', 'time': 20, 'a': 0.2}]
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
        """Cut ordered events into sequences, one row per key.

        Parameters
        ----------
        table : pyarrow.Table
            S events; those of a key are consecutive and in the order of time.

        Returns
        -------
        pyarrow.Table
            N rows: the key columns, and the time and feature columns as lists over the same memory.

        Raises
        ------
        TypeError, ValueError
            If a key or a time is null or NaN, or keys are of a type that Arrow cannot compare.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from rgru.integrations.events import Events
        >>> table = pa.table({"user": ["ada", "ada"], "time": [10, 20], "a": [0.1, 0.2]})
        >>> Events("user", "time", "a").cut(table).to_pylist()
        [{'user': 'ada', 'time': [10, 20], 'a': [0.1, 0.2]}]
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
        """Cut ordered events in batches into sequences; a key may continue in later batches.

        Parameters
        ----------
        batches : iterable of pyarrow.RecordBatch
            Parts of a table as in `cut`.

        Yields
        ------
        pyarrow.Table
            Complete sequences, as in `cut`.

        Raises
        ------
        TypeError, ValueError
            As in `cut`.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from rgru.integrations.events import Events
        >>> table = pa.table({"user": ["ada", "ada", "bob"], "time": [10, 20, 5], "a": [0.1, 0.2, 0.3]})
        >>> batches = table.to_batches(max_chunksize=1)
        >>> [part.to_pylist() for part in Events("user", "time", "a").cut_each(batches)]
        [[{'user': 'ada', 'time': [10, 20], 'a': [0.1, 0.2]}], [{'user': 'bob', 'time': [5], 'a': [0.3]}]]
        """
        import pyarrow as pa

        begun: list[pa.Table] = []  # parts of the last key, which may continue
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
        """Return the rows whose key differs from the row before, in ascending order."""
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
    """Refuse a column of the key or the time that contains nulls or NaN.

    Raises
    ------
    ValueError
        With the number of nulls.
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
    # Columns of nulls are refused later, with the number of nulls.
    return any(test(kind) for test in (*numbers, *texts, *data, *times, types.is_null))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode a dictionary column, whose codes differ from chunk to chunk."""
    import pyarrow as pa

    column = without_views(column)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _whole(column: pa.ChunkedArray) -> pa.Array:
    column = _plain(column)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
