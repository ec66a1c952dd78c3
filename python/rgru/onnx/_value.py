"""Inputs and outputs of a model: their descriptions, and what is passed as an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


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


def fed(info: Any, value: Any) -> Any:
    """Return what is passed for a ValueInfoProto as an array; lists get its type, as ONNX Runtime does it."""
    from onnx import helper

    if info.type.WhichOneof("value") != "tensor_type":
        return value
    if isinstance(value, (list, tuple)):
        return np.asarray(value, helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))
    return np.asarray(value)
