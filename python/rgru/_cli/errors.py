"""Errors of the command line: each becomes one line on stderr and exit code 2."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BAD_INPUT = (
    ValueError,
    TypeError,
    LookupError,
    OSError,
    ImportError,
    NotImplementedError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class CommandError(Exception):
    """An error that the user can correct; the message says how."""


class Terminated(BaseException):
    """SIGTERM was received."""


class HungUp(Terminated):
    """SIGHUP was received: the terminal was closed."""


def is_bad_input(error: Exception) -> bool:
    """Return whether an error is of a type that bad input, a full disk or a missing extra cause in rgru and pyarrow."""
    # By name, since pyarrow may not be loaded; some of its errors derive only from Exception.
    return isinstance(error, _BAD_INPUT) or any(kind.__module__.startswith("pyarrow.") for kind in type(error).__mro__)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Convert errors of the block that bad input causes to a CommandError that begins with `what`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        if not is_bad_input(error):
            raise
        raise about(what, error) from error


def about(what: str, error: BaseException) -> CommandError:
    """Return a CommandError that begins with `what` once, even if the message begins with it or its parameter."""
    text = one_line(error).removeprefix(f"{what.lstrip('-')}: ")
    return CommandError(text if text.startswith(what) else f"{what}: {text}")


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return error.strerror if isinstance(error, OSError) and error.strerror else text
