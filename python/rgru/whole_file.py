"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def sync_names(folder: Path) -> None:
    """See to it that new names in a folder outlive a power cut, where the system has a way to.

    Raises
    ------
    OSError
    """
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def whole_file(path: str | os.PathLike[str], named: Callable[[Path], object] = sync_names) -> Iterator[Path]:
    """Give a draft beside `path` to write to; it becomes `path` when the block ends without an error, else it vanishes.

    Parameters
    ----------
    path : path_like
    named : callable
        Is given the folder when the file has its name, to sync it: now, or once for many files.

    Raises
    ------
    OSError
        If the draft cannot be written or put in its place; the error names `path`.
    """
    try:
        target = Path(path).resolve()  # through a symbolic link, not over it
    except RuntimeError as error:  # how Python before 3.13 tells a loop of links
        raise OSError(None, "Symbolic links lead back to themselves", os.fspath(path)) from error
    # Not tempfile: its files are for the owner alone, and the new file would keep that mode.
    draft = target.with_name(f".{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(draft):
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        draft.unlink(missing_ok=True)
    named(target.parent)
