"""Names of features: reading them from tables, and comparing them with those that a model was fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Names: TypeAlias = tuple[str, ...]

_SHOWN = 10
"""The number of names that an error message lists."""


def column_names(table: Any) -> Names | None:
    """Return the column names of a table of numbers (pandas, Polars, pyarrow) with one row per step or event.

    Returns
    -------
    tuple of str or None
        None for an array, which has no names, and if not all names are strings.
    """
    if type(table) is np.ndarray or isinstance(table, (list, tuple)):
        return None
    for attribute in ("columns", "column_names"):  # in pyarrow's tables, `columns` are the columns themselves
        names = getattr(table, attribute, None)
        if names is not None and not callable(names) and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def common_names(argument: str, tables: Iterable[Any]) -> Names | None:
    """Return the names that all tables have, one table per sequence; tables without names are ignored.

    Raises
    ------
    ValueError
        If the names of two tables differ.
    """
    common = None
    for i, table in enumerate(tables):
        names = column_names(table)
        if common is not None:
            check_names(f"{argument}[{i}]", common, names, "before")
        common = common or names
    return common


def check_names(
    argument: str, expected: Sequence[str] | None, got: Sequence[str] | None, where: str = "in fit"
) -> None:
    """Refuse names other than `expected`, or in another order; None, for data without names, fits any names.

    Raises
    ------
    ValueError
        With both lists of names, or the parts from the first difference.
    """
    if expected is None or got is None or tuple(expected) == tuple(got):
        return
    first = next((i for i, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other), len(got))
    start = 0 if max(len(expected), len(got)) <= _SHOWN else first

    def shown(names: Sequence[str]) -> str:
        words = [repr(name) for name in names[start : start + _SHOWN]]
        return ", ".join([*["..."] * (start > 0), *words, *["..."] * (start + _SHOWN < len(names))])

    raise ValueError(f"{argument}: expected features {shown(expected)} in this order, as {where}, got {shown(got)}")
