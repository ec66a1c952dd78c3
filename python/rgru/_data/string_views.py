"""Columns of pyarrow of string or binary views, which Arrow neither sorts, takes nor looks up in dictionaries."""

from __future__ import annotations

from typing import Any


def without_views(column: Any) -> Any:
    """Return a pyarrow array or chunked array with views replaced by plain strings or bytes.

    Views among a dictionary's values are replaced, too; any other column is returned unchanged.
    """
    wanted = plain_type(column.type)
    return column if wanted == column.type else column.cast(wanted)


def plain_type(kind: Any) -> Any:
    """Return the type that `without_views` converts a column of type `kind` to."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, plain_type(kind.value_type), kind.ordered)
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)
