"""The folder that an example reads: a model's weights, and the outputs of its own program."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ARRAY = re.compile(r"static\s+const\s+\w+\s+(\w+)\[(\d+)\]\s*=\s*\{([^{}]*)\}")


def folder_argument(description: str) -> Path:
    """Return the only argument of the command line, a folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    return Path(parser.parse_args().folder)


def read_weights(folder: Path, source: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of weights_int8.npz by name, or those of a C file if the folder has no such file.

    Raises
    ------
    ValueError
        If the C file has no array of integers, or one of another size than it declares.
    """
    if (folder / "weights_int8.npz").exists():
        return _arrays(folder / "weights_int8.npz")
    arrays = {}
    for name, size, numbers in _ARRAY.findall((folder / source).read_text("utf-8")):
        arrays[name] = np.array([int(number) for number in numbers.split(",") if number.strip()])
        if len(arrays[name]) != int(size):
            raise ValueError(f"{source}: expected {size} numbers in {name}, got {len(arrays[name])}")
    if not arrays:
        raise ValueError(f"{source}: expected arrays such as `static const rnn_weight bias[2] = {{1, -2}};`, got none")
    return arrays


def read_vectors(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of vectors.npz, or none if the folder has no such file."""
    return _arrays(folder / "vectors.npz") if (folder / "vectors.npz").exists() else {}


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)
