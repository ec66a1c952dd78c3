"""Nested mappings, as frameworks keep parameters in them."""

from __future__ import annotations

from typing import Any


def flat(tree: Any) -> dict[str, Any]:
    """Return the entries of nested mappings, with their names joined by dots; a mapping is entered only once."""
    found, seen, left = {}, set(), [("", tree)]
    while left:
        prefix, mapping = left.pop()
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        for key in mapping:
            value = mapping[key]
            if hasattr(value, "keys"):
                left.append((f"{prefix}{key}.", value))
            else:
                found[f"{prefix}{key}"] = value
    return found
