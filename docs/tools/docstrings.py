"""Rewrite the parts of numpydoc that Griffe misreads, before it parses the docstrings.

- Entries that several names share, ``x, h0, lengths``, become one entry for each name: Griffe would show the type and
  the default of the first name for all of them.
- The space in ``ndarray, shape (N, H)`` becomes a no-break space: Griffe would read a call of ``shape``.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SHARED = re.compile(r"^(\w+(?:, \w+)+)( : .*)?\n((?:(?: {4}.*)?(?:\n|\Z))+)", re.MULTILINE)


class Numpydoc(griffe.Extension):
    """Rewrite all docstrings."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute; Griffe calls this for each one."""
        if obj.docstring:
            split = _SHARED.sub(_split, obj.docstring.value)
            obj.docstring.value = split.replace(", shape (", ", shape\N{NO-BREAK SPACE}(")


def _split(entry: re.Match[str]) -> str:
    names, kind, text = entry.groups()
    if not text.strip():
        return entry[0]
    body = text.rstrip("\n")
    return "\n".join(f"{name}{kind or ''}\n{body}" for name in names.split(", ")) + text[len(body) :]
