"""Inputs and outputs of a model, described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Value:
    """An input or output of a model, as ONNX Runtime describes it.

    Attributes
    ----------
    name : str
    type : str
        Such as ``"tensor(float)"``.
    shape : list
        Sizes; names, or None, for axes that are open.
    """

    name: str
    type: str
    shape: list[int | str | None]


def described(info: Any) -> Value:
    """Return the description of a ValueInfoProto."""
    from onnx import TensorProto

    tensor = info.type.tensor_type
    if info.type.WhichOneof("value") != "tensor_type":
        return Value(info.name, str(info.type.WhichOneof("value")).removesuffix("_type"), [])
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim]
    return Value(info.name, f"tensor({TensorProto.DataType.Name(tensor.elem_type).lower()})", dims)
