"""Validation of column names."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Names: TypeAlias = str | Sequence[str]


def as_names(argument: str, value: Names) -> tuple[str, ...]:
    """Convert one name or several to a tuple.

    Raises
    ------
    TypeError
        If `value` is neither a string nor a list or tuple of strings.
    ValueError
        If there are no names, or one occurs twice.
    """
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument}: expected the name of a column or a list of names, got {value!r}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{argument}: expected different names, at least one, got {list(names)}")
    return tuple(names)


def check_present(argument: str, names: Iterable[str], columns: Iterable[str]) -> None:
    """Refuse names that are not among a table's columns.

    Raises
    ------
    ValueError
        With the first such name, and all columns.
    """
    there = list(columns)
    for name in names:
        if name not in there:
            raise ValueError(f"{argument}: expected one of the columns {', '.join(there)}, got {name!r}")


def quoted(names: Sequence[str]) -> str:
    """Return columns as written in messages: ``column 'a'``, or ``columns 'a', 'b'``."""
    return f"column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
