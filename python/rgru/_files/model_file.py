"""Model files: safetensors, with the kind and the configuration of the model in the metadata."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

FORMAT, VERSION = "rgru", "1"


def save(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any], *, kind: str
) -> None:
    """Write tensors and a configuration atomically; equal content yields equal bytes.

    Parameters
    ----------
    path : path_like
        The file; an existing one is replaced at the end.
    tensors : mapping of str to numpy.ndarray
        Arrays by name.
    config : mapping
        JSON values.
    kind : str
        The class of the saved object.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    import json

    import numpy as np

    from rgru._files.atomic_write import whole_file

    text = json.dumps(dict(config))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "config": text,
        "digest": digest(kind, text, tensors),
    }
    # Arrays of wide numbers come first, so that all are aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    arrays = [np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<")) for name in names]
    described = {name: (array.dtype, array.shape) for name, array in zip(names, arrays, strict=True)}
    with whole_file(path) as draft, draft.open("wb") as file:
        file.write(header(described, metadata))
        for array in arrays:
            file.write(array.data)


def digest(kind: str, config: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return a digest of all that a file holds, in which any damage shows: the 64 digits of a SHA-256."""
    import hashlib

    import numpy as np

    found = hashlib.sha256(f"{kind}\n{config}\n".encode())
    for name in sorted(tensors):
        array = tensors[name]
        found.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return found.hexdigest()


_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}
"""NumPy's names of types to those of safetensors."""


def header(arrays: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """Return the header of a safetensors file: its length in 8 bytes, then JSON, padded to a multiple of 8 bytes.

    The library's own writer is not used, since it writes the metadata in a different order every time.

    Parameters
    ----------
    arrays : mapping of str to (dtype, shape)
        The arrays that follow the header without gaps, in their order.
    metadata : mapping of str to str
        Additional texts.
    """
    import json
    import math

    words: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in arrays.items():
        start, end = end, end + dtype.itemsize * math.prod(shape)
        words[name] = {"dtype": safetensors_name(dtype), "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(words).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def safetensors_name(dtype: np.dtype[Any]) -> str:
    """Return the name of a NumPy type in safetensors."""
    return _DTYPES[dtype.name]


def read(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a file that `save` has written, and check its digest, which the first files lack.

    Returns
    -------
    kind : str
    config : dict
    tensors : dict of str to numpy.ndarray

    Raises
    ------
    FileNotFoundError, ValueError
        As `rgru.load`.
    """
    with opened(path) as file:
        metadata = file.metadata()
        kind, config = check_metadata(os.fspath(path), metadata)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    expected = metadata.get("digest")
    if expected is not None and expected != (got := digest(kind, metadata["config"], tensors)):
        raise ValueError(f"{os.fspath(path)}: expected contents of the digest {expected}, got {got}: it is damaged")
    return kind, config, tensors


def restore(path: str | os.PathLike[str], kinds: Mapping[str, Callable[..., Any]]) -> Any:
    """Read a file and restore the model in it.

    Parameters
    ----------
    path : path_like
    kinds : mapping of str to callable
        For each kind of model that may be in the file, a function that restores one from its configuration and tensors.

    Raises
    ------
    FileNotFoundError, ValueError
        As `rgru.load`.
    """
    kind, config, tensors = read(path)
    name = os.fspath(path)
    check_kind(name, kind, kinds)
    try:
        return kinds[kind](config, tensors)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: not a whole {kind} ({error})") from error


def read_digest(path: str | os.PathLike[str]) -> str | None:
    """Return the digest that a file names; None for the first files, which lack it."""
    with opened(path) as file:
        return (file.metadata() or {}).get("digest")


def read_config(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Read only the header of a file that `save` has written.

    Returns
    -------
    kind : str
    config : dict

    Raises
    ------
    FileNotFoundError, ValueError
        As `rgru.load`.
    """
    with opened(path) as file:
        return check_metadata(os.fspath(path), file.metadata())


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a safetensors file; other content raises a ValueError that names the file."""
    from pathlib import Path

    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):  # raises the usual errors about a path, which safetensors does not
        pass
    opener: Callable[..., Any] = safe_open
    try:
        with opener(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: expected a safetensors file, got {error}") from error


def check_metadata(path: str, metadata: dict[str, str] | None) -> tuple[str, dict[str, Any]]:
    """Return the kind and the configuration in the metadata of a file; refuse those of other programs and versions."""
    import json

    found = metadata or {}
    if found.get("format") != FORMAT:
        raise ValueError(f"{path}: expected an rgru file (format 'rgru' in the metadata), got {found.get('format')!r}")
    if found.get("version") != VERSION:
        raise ValueError(f"{path}: expected version '{VERSION}' of the format, got {found.get('version')!r}")
    try:
        config = json.loads(found["config"])
    except (KeyError, RecursionError, ValueError) as error:
        got = str(found.get("config"))[:60]
        raise ValueError(f"{path}: expected the configuration as JSON, got {got!r}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected a configuration of names and values, got {found['config']!r}")
    return found.get("kind", ""), config


def check_kind(path: str, kind: str, kinds: Iterable[str]) -> None:
    """Refuse a file whose kind is not one of `kinds`."""
    if kind not in kinds:
        raise ValueError(f"{path}: expected one of {', '.join(kinds)}, got {kind!r}")
