"""The checksum of a file that contains it: CRC-32 of all bytes, with the digits of the checksum itself as zeros."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

NAME = "crc32"
"""Name of the checksum in the metadata of a safetensors file."""

UNKNOWN = "0" * 8

_PIECE = 2**20
"""Bytes read at a time."""


def write_summed(file: BinaryIO, pieces: Iterable[memoryview | bytes]) -> str:
    """Write pieces of bytes and return their checksum."""
    total = 0
    for piece in pieces:
        total = crc32(piece, total)
        file.write(piece)
        del piece  # freed before the next one is made
    return f"{total:08x}"


def check_sum(path: str | os.PathLike[str], expected: str) -> None:
    """Compare the checksum of a safetensors file with that in its header.

    Raises
    ------
    ValueError
        If they differ; the message names the file.
    """
    with Path(path).open("rb") as file:
        size = file.read(8)
        header = file.read(int.from_bytes(size, "little"))
        own = f'"{NAME}": "{{}}"'.format
        total = crc32(header.replace(own(expected).encode(), own(UNKNOWN).encode(), 1), crc32(size))
        piece = memoryview(bytearray(_PIECE))
        while count := file.readinto(piece):
            total = crc32(piece[:count], total)
    if f"{total:08x}" != expected:
        got = f"{total:08x}: the file is damaged"
        raise ValueError(f"{os.fspath(path)}: expected content of the checksum {expected}, got {got}")
