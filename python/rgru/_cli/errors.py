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
    """Something that the user can put right; the message says what."""


class Terminated(BaseException):
    """SIGTERM came."""


def is_bad_input(error: Exception) -> bool:
    """Tell whether an error is what bad input, a full disk or a missing extra raise in rgru and in pyarrow."""
    # Of pyarrow's own classes, which need not be loaded, some derive from none of Python's.
    return isinstance(error, _BAD_INPUT) or any(kind.__module__.startswith("pyarrow.") for kind in type(error).__mro__)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Make errors of the block that bad input causes into a CommandError that begins with `what`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        if not is_bad_input(error):
            raise
        raise about(what, error) from error


def about(what: str, error: BaseException) -> CommandError:
    """Make an error that begins with `what`, once: messages may have it, or what an option calls its argument."""
    text = one_line(error).removeprefix(f"{what.lstrip('-')}: ")
    return CommandError(text if text.startswith(what) else f"{what}: {text}")


def one_line(error: BaseException) -> str:
    """Give the first line of an error's message."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return error.strerror if isinstance(error, OSError) and error.strerror else text
