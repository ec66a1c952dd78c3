"""Dictionaries of columns for an IPC file, which holds one per column, and deltas that add to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.string_views import without_views

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa


class Dictionaries:
    """Unification of the dictionaries of several batches: each extends the one before.

    Codes of less than 32 bits become int32, since all batches together may have more values than one. Dictionaries
    within lists and structs, and those of lists and structs, are replaced by their values.

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

        self._columns = {i: _Values() for i, field in enumerate(schema) if _is_unified(field.type)}
        kinds = [
            wide_codes(field.type) if i in self._columns else _decoded(field.type) for i, field in enumerate(schema)
        ]
        self.schema = pa.schema(
            [field.with_type(kind) for field, kind in zip(schema, kinds, strict=True)], schema.metadata
        )

    def unified(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with its values encoded by the unified dictionaries."""
        import pyarrow as pa

        columns = batch.columns
        for i, field in enumerate(self.schema):
            kind = field.type
            if i in self._columns:
                values = self._columns[i]
                codes = values.codes(columns[i]).cast(kind.index_type)
                columns[i] = pa.DictionaryArray.from_arrays(codes, values.known, ordered=kind.ordered, safe=False)
            elif columns[i].type != kind:
                plain = columns[i].dictionary_decode() if pa.types.is_dictionary(columns[i].type) else columns[i]
                columns[i] = plain.cast(kind)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class _Values:
    """The values of a column in all batches so far."""

    def __init__(self) -> None:
        self.known: Any = None
        self._last: Any = None  # the dictionary of the last batch
        self._places: Any = None  # the positions of its values in `known`; None if the two are the same

    def codes(self, column: pa.DictionaryArray) -> pa.Array:
        """Add a batch's values to the known ones, and return its codes for these."""
        import pyarrow as pa

        if self.known is None and len(column.dictionary):
            self.known = self._last = column.dictionary
        elif self.known is None:  # Arrow cannot extend an empty dictionary
            self.known, self._last = pa.nulls(1, column.dictionary.type), column.dictionary
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


def wide_codes(kind: pa.DataType) -> pa.DataType:
    """Return a type whose dictionaries, at any level, have codes of at least 32 bits.

    The dictionaries of all batches together may have more values than narrow codes can hold, though no single one has.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        index = pa.int32() if kind.index_type.bit_width < 32 else kind.index_type
        return pa.dictionary(index, kind.value_type, kind.ordered)
    return _within(kind, wide_codes)


def _is_unified(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_dictionary(kind) and not pa.types.is_nested(kind.value_type)


def _decoded(kind: pa.DataType) -> pa.DataType:
    """Return a type with the values of dictionaries, at any level, in place of the codes."""
    import pyarrow as pa

    return _decoded(kind.value_type) if pa.types.is_dictionary(kind) else _within(kind, _decoded)


def _within(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Return a list, map or struct with the types of its parts changed; any other type as it is."""
    import pyarrow as pa

    def changed(field: pa.Field) -> pa.Field:
        return field.with_type(change(field.type))

    if pa.types.is_struct(kind):
        return pa.struct([changed(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(changed(kind.key_field), changed(kind.item_field), kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(changed(kind.value_field), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(changed(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(changed(kind.value_field))
    return kind  # also views of lists, which Arrow cannot convert
