"""Files of `torch.save`, read without PyTorch: a zip archive with a pickle of the names and raw bytes of the numbers.

The pickle is not loaded. A machine with the few opcodes that `torch.save` writes for dictionaries of tensors calls
functions of this module alone, and refuses every other name.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rgru.convert._trees import flat

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

_TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # the upper half of a float32
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

_OPCODES = [
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
]
"""What `torch.save` writes for dictionaries of tensors, in protocols 2 to 5."""


_PICKLE_LIMIT = 16 << 20
"""Bytes of a pickle, each of which may become an object: a tensor takes about a hundred."""


@dataclass(frozen=True)
class _Storage:
    """The numbers of one or several tensors: its type, its member of the archive, and how many they are."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A tensor that is described in the pickle and not yet read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: str | os.PathLike[str], wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Read the tensors of a file of `torch.save`.

    Parameters
    ----------
    path : path_like
        The file.
    wanted : callable
        Says of a name whether its tensor is to be read.

    Returns
    -------
    dict of str to (numpy.ndarray or None)
        The tensors by name, those that are not wanted as None. Names within nested dictionaries are joined by dots.

    Raises
    ------
    ValueError
        If the file is not of this form, or holds anything besides tensors, numbers, strings and collections of them.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError(
                f"{path}: expected an archive of torch.save, got another file; torch.save(torch.load(path), new_path) "
                "converts those that PyTorch wrote before version 1.6"
            )
    try:
        with zipfile.ZipFile(path) as archive:
            root = _root(archive, size)
            content = _Machine(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
            if not isinstance(content, dict):
                raise ValueError(f"expected a state dict, got {type(content).__name__}")
            reader = _Reader(archive, root)
            found = flat(content).items()
            return {name: reader.array(one) if wanted(name) else None for name, one in found if isinstance(one, Tensor)}
    except Exception as error:  # bytes of unknown origin may raise any
        got = error if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{path}: expected a state dict written by torch.save, got: {got}") from error


def _root(archive: zipfile.ZipFile, size: int) -> str:
    """Return the folder of an archive's members after a check of them: all of PyTorch's are stored uncompressed."""
    members = archive.infolist()
    names = [one.filename for one in members if one.filename.endswith("data.pkl")]
    if len(names) != 1:
        raise ValueError(f"an archive with {len(names)} members data.pkl")
    root = names[0][: -len("data.pkl")]
    if f"{root}constants.pkl" in archive.namelist():
        raise ValueError("a TorchScript module; save its state_dict() in place of it")
    if archive.getinfo(names[0]).file_size > _PICKLE_LIMIT:
        raise ValueError(f"names of {archive.getinfo(names[0]).file_size} bytes, above {_PICKLE_LIMIT}")
    compressed = [one.filename for one in members if one.compress_type != zipfile.ZIP_STORED]
    if compressed:
        raise ValueError(f"{compressed[0]} is compressed, which PyTorch does not do")
    if sum(one.file_size for one in members) > size:
        raise ValueError("its members are larger than the file")
    return root


class _Reader:
    """Reads the numbers of tensors; several tensors may share a storage."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self._archive, self._root = archive, root
        self._storages: dict[_Storage, NDArray[Any]] = {}
        names = archive.namelist()
        self._order = ">" if f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big" else "<"

    def array(self, tensor: Tensor) -> NDArray[Any]:
        """Return a tensor's numbers, those of bfloat16 as float32."""
        numbers = self._numbers(tensor.storage)
        step = numbers.itemsize
        strides = tuple(step * one for one in tensor.strides)
        last = tensor.offset + sum((n - 1) * one for n, one in zip(tensor.shape, tensor.strides, strict=True))
        if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or math.prod(tensor.shape) > len(numbers):
            raise ValueError(f"a tensor of shape {tensor.shape} in a storage of {len(numbers)} numbers")
        if math.prod(tensor.shape) and last >= len(numbers):
            raise ValueError(f"a tensor that ends at {last} in a storage of {len(numbers)} numbers")
        array: NDArray[Any] = np.ndarray(tensor.shape, numbers.dtype, numbers, step * tensor.offset, strides)
        if tensor.storage.kind == "BFloat16Storage":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array

    def _numbers(self, storage: _Storage) -> NDArray[Any]:
        if storage not in self._storages:
            dtype = np.dtype(self._order + _TYPES[storage.kind])
            data = self._archive.read(f"{self._root}data/{storage.key}")
            if len(data) < storage.count * dtype.itemsize:
                raise ValueError(f"{len(data)} bytes for {storage.count} numbers of {storage.kind}")
            self._storages[storage] = np.frombuffer(data, dtype, storage.count)
        return self._storages[storage]


def _rebuild_tensor_v2(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Describe a tensor; what follows are its gradient's flag and hooks."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or any(type(one) is not int for one in numbers) or len(shape) != len(strides):
        raise ValueError("a tensor without a storage, or with sizes that are no integers")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered_dict(*pairs: Any) -> dict[Any, Any]:
    if pairs:
        raise ValueError("an OrderedDict with arguments, which PyTorch does not write")
    return {}


_ALLOWED = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): name for name in _TYPES},
}


class _Machine(pickle._Unpickler):
    """Python's own unpickler, with few opcodes, no imports, and keys of dictionaries that hash in constant time."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in _OPCODES)
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ValueError(f"{module}.{name}, which is not read; save a state dict alone")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, count = pid
        if kind not in _TYPES or type(key) is not str or type(count) is not int or count < 0:
            raise ValueError("a storage without a type, a name or a size")
        return _Storage(kind, key, count)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(target) is not dict or type(key) not in (str, int):
                raise ValueError(f"a dictionary with keys of the type {type(key).__name__}")
            target[key] = value

    def load_build(self) -> None:
        """Pass over attributes, such as the versions of modules in a state dict."""
        self.stack.pop()

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.BUILD[0]] = load_build
