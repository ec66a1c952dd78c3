"""``rgru info``: describe this installation, or a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rgru
from rgru._cli.errors import explained
from rgru._files.model_card import described

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "info",
        help="describe this installation, or a model file",
        description="Without FILE: version, instruction set, threads and GPUs. With FILE: the model that it holds.",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="file that save() or `rgru fit` has written")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    for name, value in (installation() if args.file is None else model_card(args.file)).items():
        print(f"{name:<16} {value}")


def installation() -> dict[str, str]:
    """Return the version, instruction set, threads and GPUs of this installation."""
    info: Any = rgru.info()
    return {
        "version": info["version"],
        "instruction set": f"{info['isa']} (of {', '.join(info['available_isas'])})",
        "threads": str(info["num_threads"]),
        "GPUs": ", ".join(info["gpus"]) or f"none: {_why_no_gpu()}",
    }


def _why_no_gpu() -> str:
    from rgru._cuda.availability import find_cupy

    try:
        find_cupy(0)
    except (ImportError, RuntimeError) as error:
        return str(error)
    return "none is in use"  # one has appeared since


def model_card(path: str) -> dict[str, str]:
    """Describe the model in a file.

    Raises
    ------
    CommandError
        If the file cannot be read, or is not a file of rgru.
    """
    with explained(path):
        rgru.load(path)  # refuses a damaged file
        return described(path)
