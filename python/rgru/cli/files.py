"""Paths that commands write to: checked before the work, and files that appear whole or not at all."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rgru.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD = "-"
"""In the place of a path: standard input or output."""


def check_output(path: str, option: str, *, inputs: tuple[str, ...] = ()) -> None:
    """Refuse a path that cannot become the output, before any work is done.

    Parameters
    ----------
    path : str
        A file to be, or "-" for stdout.
    option : str
        What to call it in the error.
    inputs : tuple of str
        Files that are read, and must not be overwritten.

    Raises
    ------
    CommandError
        If its folder does not exist, it is a folder or a device, or one of the inputs; or stdout is a terminal.
    """
    if path == STANDARD:
        if sys.stdout.isatty():
            raise CommandError(f"{option}: '-' writes binary data to stdout, but stdout is a terminal")
        return
    target = Path(path)
    if not target.parent.is_dir():
        raise CommandError(f"{option}: expected a file in an existing folder, got {path}")
    if target.exists() and not target.is_file():
        raise CommandError(f"{option}: expected a file, got {path}, which is a folder or a device")
    for source in inputs:
        if source != STANDARD and target.exists() and Path(source).exists() and target.samefile(source):
            raise CommandError(f"{option}: expected another file than the input, got {path}")


@contextmanager
def whole_file(path: str) -> Iterator[Path]:
    """Give a draft beside `path` to write to; it becomes `path` when the block ends without an error, else it vanishes.

    Raises
    ------
    OSError
        If the draft cannot be put in its place.
    """
    target = Path(path).resolve()  # through a symbolic link, not over it
    draft = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
