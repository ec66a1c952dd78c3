"""Errors about keyword arguments that do not exist."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")


def unknown(owner: str, name: str, known: Iterable[str]) -> str:
    """Return the words of an error about a parameter that `owner` does not have, with the nearest one."""
    from difflib import get_close_matches

    names = list(known)
    nearest = get_close_matches(name, names, 1)
    there = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(names)}"
    return f"{owner} has no parameter {name!r}: {there}"


def suggests(init: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
    """Make an ``__init__`` name the class and the nearest parameter in errors about unknown keyword arguments."""
    code = init.__code__
    known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]

    @wraps(init)
    def checked(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs:
            if name not in known:
                raise TypeError(unknown(type(self).__name__, name, known))
        init(self, *args, **kwargs)

    return checked
