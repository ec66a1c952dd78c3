"""Validation of paths that commands write to, before the work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rgru._cli.errors import CommandError

STANDARD = "-"
"""The path that means standard input or output."""


def check_output(path: str, option: str, *, inputs: tuple[str, ...] = ()) -> None:
    """Refuse a path that cannot be the output, before any work is done.

    Parameters
    ----------
    path : str
        A file, which need not exist, or "-" for stdout.
    option : str
        The option's name, for the error.
    inputs : tuple of str
        Files that are read, which must not be overwritten.

    Raises
    ------
    CommandError
        If its folder does not exist, it is a folder, a device, write-protected or one of the inputs; or stdout is a
        terminal.
    """
    if path == STANDARD:
        if sys.stdout is None:
            raise CommandError(f"{option}: '-' writes to stdout, but stdout is closed")
        if sys.stdout.isatty():
            raise CommandError(f"{option}: '-' writes binary data to stdout, but stdout is a terminal")
        return
    target = Path(path)
    if not target.parent.is_dir():
        raise CommandError(f"{option}: expected a file in an existing folder, got {path}")
    if target.exists() and not target.is_file():
        raise CommandError(f"{option}: expected a file, got {path}, which is a folder or a device")
    if target.exists() and not os.access(target, os.W_OK):
        raise CommandError(f"{option}: expected a file that may be written, got {path}")
    for source in inputs:
        if source != STANDARD and target.exists() and Path(source).exists() and target.samefile(source):
            raise CommandError(f"{option}: expected a file other than the input, got {path}")
