"""Columns of pyarrow whose texts are views, which Arrow neither sorts, takes nor looks up in dictionaries."""

from __future__ import annotations

from typing import Any


def without_views(column: Any) -> Any:
    """Return a pyarrow array or chunked array with plain strings or bytes in the place of views.

    Those of a dictionary's values, too; any other column as it is.
    """
    import pyarrow as pa

    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    kind = column.type
    if pa.types.is_dictionary(kind):
        wanted = pa.dictionary(kind.index_type, plain.get(kind.value_type, kind.value_type), kind.ordered)
    else:
        wanted = plain.get(kind, kind)
    return column if wanted == kind else column.cast(wanted)
