"""Files of arrays by name: safetensors, NumPy's archives, and those of `torch.save`."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._files.model_file import opened
from rgru.convert._claims import check_claim
from rgru.convert._torch_file import read_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def read_arrays(path: str | os.PathLike[str], wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Read a file of arrays by name: ``.safetensors``, ``.npz``, and with any other suffix one of `torch.save`.

    Parameters
    ----------
    path : path_like
        The file.
    wanted : callable
        Says of a name whether its array is to be read.

    Returns
    -------
    dict of str to (numpy.ndarray or None)
        The arrays by name, those that are not wanted as None. Those of bfloat16 are float32.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the content is not of the form that the suffix says, or claims more than is there.
    """
    reader = {".safetensors": _read_safetensors, ".npz": _read_npz}.get(Path(path).suffix, read_torch_file)
    return reader(path, wanted)


def _read_safetensors(path: str | os.PathLike[str], wanted: Callable[[str], bool]) -> dict[str, Any]:
    with opened(path) as file:  # has checked that all arrays are within the file, without gaps
        found = {name: None if not wanted(name) else file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        halves = {name for name, part in found.items() if part is not None and part.get_dtype() == "BF16"}
        read: dict[str, Any] = {
            name: None if part is None else _bfloat16(path, name) if name in halves else _tensor(path, file, name, part)
            for name, part in found.items()
        }
    return read


def _tensor(path: str | os.PathLike[str], file: Any, name: str, part: Any) -> NDArray[Any]:
    kinds = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")
    if part.get_dtype() not in kinds:
        raise ValueError(f"{os.fspath(path)}: {name}: expected one of {', '.join(kinds)}, BF16, got {part.get_dtype()}")
    array: NDArray[Any] = file.get_tensor(name)
    return array


def _bfloat16(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """Return an array of bfloat16, which NumPy lacks, as float32."""
    with Path(path).open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        described = json.loads(file.read(size))[name]
        start, end = described["data_offsets"]
        file.seek(8 + size + start)
        halves = np.frombuffer(file.read(end - start), "<u2").reshape(described["shape"])
    wide: NDArray[Any] = (halves.astype(np.uint32) << 16).view(np.float32)
    return wide


def _read_npz(path: str | os.PathLike[str], wanted: Callable[[str], bool]) -> dict[str, Any]:
    name = os.fspath(path)
    with Path(path).open("rb"):  # raises the usual errors about a path
        pass
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                check_claim(f"{name}: {member.filename}", member.file_size, member.compress_size)
        with np.load(path, allow_pickle=False) as file:
            return {one: file[one] if wanted(one) else None for one in file.files}
    except Exception as error:  # bytes of unknown origin may raise any
        raise ValueError(f"{name}: expected an archive of NumPy's arrays, got: {error}") from error
