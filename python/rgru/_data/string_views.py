"""Columns of pyarrow whose texts are views, which Arrow neither sorts, takes nor looks up in dictionaries."""

from __future__ import annotations

from typing import Any


def without_views(column: Any) -> Any:
    """Return a pyarrow array or chunked array with plain strings or bytes in the place of views.

    Those of a dictionary's values, too; any other column as it is.
    """
    wanted = plain_type(column.type)
    return column if wanted == column.type else column.cast(wanted)


def plain_type(kind: Any) -> Any:
    """Return the type of what `without_views` makes of a column of a type."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, plain_type(kind.value_type), kind.ordered)
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)
