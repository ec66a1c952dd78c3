"""Dictionaries of columns on their way into an IPC file, which holds one for each column, and what is added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.string_views import without_views

if TYPE_CHECKING:
    import pyarrow as pa


class Dictionaries:
    """Gives batches dictionaries that only grow, by the values that come first in a batch.

    Codes of less than 32 bits become int32, since there may be more values than in any one batch.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the batches.

    Attributes
    ----------
    schema : pyarrow.Schema
        Of what is made of them.
    """

    def __init__(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        self.schema = pa.schema([_with_wide_codes(field) for field in schema], schema.metadata)
        self._columns = {i: _Values() for i, field in enumerate(schema) if pa.types.is_dictionary(field.type)}

    def unified(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch of the same values."""
        import pyarrow as pa

        columns = batch.columns
        for i, values in self._columns.items():
            kind = self.schema.field(i).type
            codes = values.codes(columns[i]).cast(kind.index_type)
            columns[i] = pa.DictionaryArray.from_arrays(codes, values.known, ordered=kind.ordered, safe=False)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class _Values:
    """The values of a column so far."""

    def __init__(self) -> None:
        self.known: Any = None
        self._last: Any = None  # the dictionary that came last
        self._places: Any = None  # where its values are among those known; None if it is these

    def codes(self, column: pa.DictionaryArray) -> pa.Array:
        """Return a batch's codes for the known values, after its own have joined them."""
        if self.known is None:
            self.known = self._last = column.dictionary
        elif not _same_memory(column.dictionary, self._last):
            self._last, self._places = column.dictionary, self._joined(column.dictionary)
        return column.indices if self._places is None else self._places.take(column.indices)

    def _joined(self, values: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        plain = without_views(values)
        places = pc.index_in(plain, without_views(self.known))
        if places.null_count:
            added = plain.filter(places.is_null()).unique().cast(values.type)
            self.known = pa.concat_arrays([self.known, added])
            places = pc.index_in(plain, without_views(self.known))
        return places


def _same_memory(one: pa.Array, other: pa.Array) -> bool:
    """Tell whether two arrays are the same, as the dictionaries of a batch's parts are: much faster than to compare."""

    def places(array: pa.Array) -> list[Any]:
        addresses = [None if buffer is None else buffer.address for buffer in array.buffers()]
        return [array.offset, len(array), *addresses]

    return places(one) == places(other)


def _with_wide_codes(field: pa.Field) -> pa.Field:
    import pyarrow as pa

    kind = field.type
    if not pa.types.is_dictionary(kind) or kind.index_type.bit_width >= 32:
        return field
    return field.with_type(pa.dictionary(pa.int32(), kind.value_type, kind.ordered))
