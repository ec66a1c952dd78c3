"""Dictionaries of columns for an IPC file, which holds one per column, and deltas that add to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.string_views import without_views

if TYPE_CHECKING:
    import pyarrow as pa


class Dictionaries:
    """Unification of the dictionaries of several batches: each extends the one before.

    Codes of less than 32 bits become int32, since all batches together may have more values than one.

    Parameters
    ----------
    schema : pyarrow.Schema
        The schema of the batches.

    Attributes
    ----------
    schema : pyarrow.Schema
        The schema of the unified batches.
    """

    def __init__(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        self.schema = pa.schema([_with_wide_codes(field) for field in schema], schema.metadata)
        self._columns = {i: _Values() for i, field in enumerate(schema) if pa.types.is_dictionary(field.type)}

    def unified(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with its values encoded by the unified dictionaries."""
        import pyarrow as pa

        columns = batch.columns
        for i, values in self._columns.items():
            kind = self.schema.field(i).type
            codes = values.codes(columns[i]).cast(kind.index_type)
            columns[i] = pa.DictionaryArray.from_arrays(codes, values.known, ordered=kind.ordered, safe=False)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class _Values:
    """The values of a column in all batches so far."""

    def __init__(self) -> None:
        self.known: Any = None
        self._last: Any = None  # the dictionary of the last batch
        self._places: Any = None  # the positions of its values in `known`; None if the two are the same

    def codes(self, column: pa.DictionaryArray) -> pa.Array:
        """Add a batch's values to the known ones, and return its codes for these."""
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
    """Return whether two arrays share their memory, as slices of a batch do; much faster than comparing values."""

    def location(array: pa.Array) -> list[Any]:
        addresses = [None if buffer is None else buffer.address for buffer in array.buffers()]
        return [array.offset, len(array), *addresses]

    return location(one) == location(other)


def _with_wide_codes(field: pa.Field) -> pa.Field:
    import pyarrow as pa

    kind = field.type
    if not pa.types.is_dictionary(kind) or kind.index_type.bit_width >= 32:
        return field
    return field.with_type(pa.dictionary(pa.int32(), kind.value_type, kind.ordered))
