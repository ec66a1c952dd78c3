"""The options for the device and threads of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rgru
from rgru._backends import find_backend
from rgru._cli.errors import CommandError, about, explained, one_line

if TYPE_CHECKING:
    import argparse


def add_options(parser: Any) -> None:
    """Declare ``--device`` and ``--threads``."""
    text = "cpu, cuda (the first GPU) or cuda:1 ... (default: %(default)s)"
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help=text)
    parser.add_argument("--threads", type=int, metavar="N", help="threads to use (default: all physical cores)")


def apply_options(args: argparse.Namespace) -> None:
    """Set the threads, and check that the device exists before any work is done; skip options a command lacks.

    Raises
    ------
    CommandError
        If one of them is invalid.
    """
    if getattr(args, "threads", None) is not None:
        try:
            rgru.set_num_threads(args.threads)
        except ValueError as error:
            raise CommandError(f"--threads: {one_line(error).partition(': ')[2]}") from error
    if hasattr(args, "device"):
        try:
            with explained("--device"):
                find_backend(args.device)
        except RuntimeError as error:  # no driver or GPU: bad input here; elsewhere a RuntimeError is a bug
            raise about("--device", error) from error
