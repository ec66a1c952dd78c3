"""Reading ONNX models that may be damaged or hostile."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgru._optional_imports import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = 4
"""Tensors that may share the data of a file, in the mean: a small model must not read a large file many times."""

BITS = 8
"""Elements that a byte of a file holds at most. It bounds what a tensor may claim before any of it is read."""


def read_model(source: Any) -> tuple[str, Any]:
    """Return the name for errors and the ModelProto of a path, the bytes of a file, or a ModelProto.

    External data are loaded, and local functions inlined, so that all nodes and tensors are in the graph.

    Raises
    ------
    TypeError
        If `source` is none of these.
    ValueError
        If it is no ONNX model, or a tensor claims more than the file holds, or data outside of the file's folder.
    OSError
        If the file cannot be read.
    """
    onnx = needed("onnx", "onnx")
    folder = None
    if isinstance(source, onnx.ModelProto):
        name, model = "model", onnx.ModelProto()
        model.CopyFrom(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name, model = "model", _parsed("model", bytes(source))
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        name, model, folder = str(path), _parsed(str(path), path.read_bytes()), path.resolve().parent
    else:
        raise TypeError(f"path: expected a path, bytes or an onnx.ModelProto, got {type(source).__name__}")
    if not model.graph.node:
        raise ValueError(f"{name}: expected an ONNX model, got one without nodes")
    _load_tensors(name, model, folder)
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    return name, model


def _parsed(name: str, data: bytes) -> Any:
    import onnx

    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's
        raise ValueError(f"{name}: expected an ONNX model, got {len(data)} bytes that are none") from error


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the tensors of a graph and of the graphs within its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
    for node in graph.node:
        yield from _tensors_of(node)


def _tensors_of(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from ([attribute.t] if attribute.HasField("t") else attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors(graph)


def _load_tensors(name: str, model: Any, folder: Path | None) -> None:
    """Check what all tensors claim, and load those that are in other files."""
    from onnx import TensorProto

    nodes = [node for function in model.functions for node in function.node]
    read: Counter[Path] = Counter()
    for tensor in (*_tensors(model.graph), *(one for node in nodes for one in _tensors_of(node))):
        claimed = math.prod(tensor.dims)
        if tensor.data_location == TensorProto.EXTERNAL:
            _load_external(name, tensor, folder, read)
        if min(tensor.dims, default=0) < 0 or claimed > BITS * tensor.ByteSize():
            raise ValueError(
                f"{name}: expected the data of tensor {tensor.name!r} with the shape {tuple(tensor.dims)}, "
                f"got {tensor.ByteSize()} bytes"
            )
    for sparse in model.graph.sparse_initializer:
        if math.prod(sparse.dims) > 2**31:
            raise ValueError(f"{name}: expected at most 2**31 elements in {sparse.values.name!r}, got {sparse.dims}")


def _load_external(name: str, tensor: Any, folder: Path | None, read: Counter[Path]) -> None:
    """Load the data of a tensor from a file in `folder`, and only from there; `read` counts the bytes of each file."""
    from onnx import TensorProto

    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    expected = f"{name}: expected the data of tensor {tensor.name!r} in a file beside the model"
    if folder is None:
        raise ValueError(f"{expected}, got a model without a path; pass its path")
    path = (folder / location.replace("\0", "")).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise ValueError(f"{expected}, got the location {location!r}")
    size = path.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > size:
        raise ValueError(f"{expected}, got a range outside of {location!r}, which has {size} bytes")
    read[path] += length
    if read[path] > SHARED * size:
        raise ValueError(f"{name}: expected tensors with data of their own, got more than {SHARED} times {location!r}")
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]
