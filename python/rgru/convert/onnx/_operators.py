"""ONNX operators that are layers for single rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert import widened
from rgru.convert._layers import affine, vector
from rgru.model import Activation, Dropout, LayerNorm, Linear

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from rgru.convert.onnx._graph import Graph

_ACTIVATIONS: dict[str, Any] = {
    "Elu": lambda given: ("elu", given.get("alpha", 1.0)),
    "HardSigmoid": lambda given: ("hard_sigmoid", given.get("alpha", 0.2), given.get("beta", 0.5)),
    "LeakyRelu": lambda given: ("leaky_relu", given.get("alpha", 0.01)),
    "Relu": lambda given: "relu",
    "Sigmoid": lambda given: "sigmoid",
    "Softsign": lambda given: "softsign",
    "Tanh": lambda given: "tanh",
}
NUMBERS = _ACTIVATIONS.keys() | {"Clip", "Dropout", "PRelu"}
"""The operators that treat each number by itself."""


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    from onnx import helper

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def constant(graph: Graph, node: Any, index: int) -> NDArray[Any] | None:
    """Return a constant input of a node, with float16 as float32, or None if it is not given.

    Raises
    ------
    ValueError
        If it is no constant.
    """
    name = node.input[index] if index < len(node.input) else ""
    if not name:
        return None
    return widened(graph.constant(name))  # type: ignore[no-any-return]


def number(graph: Graph, name: str) -> NDArray[Any] | None:
    """Return a constant by its name, with float16 as float32, or None if the value is none."""
    return widened(graph.constant(name)) if name in graph.constants else None


def reduced_axes(graph: Graph, node: Any, axes: int) -> tuple[int, ...]:
    """Return the axes that a node reduces of an array with so many axes."""
    if node.op_type.startswith("Global"):
        return tuple(range(2, axes))
    given = attributes_of(node).get("axes") or constant(graph, node, 1)
    return () if given is None else tuple(int(one) for one in given)


def layer_of(graph: Graph, node: Any, size: int, axes: int) -> Any:
    """Return the layer that a node is for rows of `size` numbers, the last axis of its input.

    Raises
    ------
    ValueError
        If a setting does not fit; the message tells which.
    """
    given, kind = attributes_of(node), node.op_type
    if kind in _ACTIVATIONS:
        return Activation(_ACTIVATIONS[kind](given))
    return _CONVERT[kind](graph, node, given, size, axes)


def with_constant(kind: str, array: NDArray[Any], before: bool, size: int, dtype: DTypeLike) -> Linear:
    """Return the layer of Add, Div, Mul or Sub of rows of `size` numbers with a constant, which may stand before."""
    wide = array.astype(np.float64)
    match kind:
        case "Mul":
            return affine(wide, 0.0, size, dtype)
        case "Add":
            return affine(1.0, wide, size, dtype)
        case "Sub":
            return affine(-1.0, wide, size, dtype) if before else affine(1.0, -wide, size, dtype)
        case _ if not before:
            return affine(1.0 / wide, 0.0, size, dtype)
    raise ValueError("a constant that is divided by rows")


def _gemm(graph: Graph, node: Any, given: dict[str, Any], size: int, axes: int) -> Linear:
    for name, usual in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if given.get(name, usual) != usual:
            raise ValueError(f"Gemm with {name}={given[name]}")
    weight, bias = _matrix(graph, node), constant(graph, node, 2)
    weight = weight if given.get("transB", 0) else weight.T
    return Linear.from_arrays(weight, None if bias is None else vector(bias, len(weight), axes))


def _mat_mul(graph: Graph, node: Any, given: dict[str, Any], size: int, axes: int) -> Linear:
    return Linear.from_arrays(_matrix(graph, node).T)


def _matrix(graph: Graph, node: Any) -> NDArray[Any]:
    weight = constant(graph, node, 1)
    if weight is None or weight.ndim != 2:
        raise ValueError(f"{node.op_type} by other arrays than a matrix")
    return weight


def _layer_norm(graph: Graph, node: Any, given: dict[str, Any], size: int, axes: int) -> LayerNorm:
    if given.get("axis", -1) not in (-1, axes - 1):
        raise ValueError(f"LayerNormalization with axis={given['axis']}")
    gain, bias = constant(graph, node, 1), constant(graph, node, 2)
    if gain is None:
        raise ValueError("LayerNormalization without gains")
    gain = vector(gain, size, axes)
    bias = np.zeros_like(gain) if bias is None else vector(bias, size, axes)
    return LayerNorm.from_arrays(gain, bias, epsilon=float(given.get("epsilon", 1e-5)))


def _dropout(graph: Graph, node: Any, given: dict[str, Any], size: int, axes: int) -> Dropout:
    rate, training = constant(graph, node, 1), constant(graph, node, 2)
    if training is not None and training.any():
        raise ValueError("Dropout with training_mode")
    return Dropout(float(given.get("ratio", 0.5) if rate is None else rate.item()))


def _softmax(graph: Graph, node: Any, given: dict[str, Any], size: int, axes: int) -> Activation:
    opset = max((one.version for one in graph.model.opset_import if one.domain in ("", "ai.onnx")), default=1)
    axis = given.get("axis", -1 if opset >= 13 else 1)
    if axis not in (-1, axes - 1):
        raise ValueError(f"Softmax with axis={axis}")
    return Activation("softmax")


def _clip(graph: Graph, node: Any, given: dict[str, Any], size: int, axes: int) -> Activation:
    arrays = [constant(graph, node, i) for i in (1, 2)]
    attributes = [given.get(name) for name in ("min", "max")]  # before opset 11
    low, high = (given if array is None else array.item() for given, array in zip(attributes, arrays, strict=True))
    return Activation("linear" if low is None and high is None else ("clip", low, high))  # type: ignore[arg-type]


def _prelu(graph: Graph, node: Any, given: dict[str, Any], size: int, axes: int) -> Activation:
    slopes = constant(graph, node, 1)
    if slopes is None or slopes.size != 1:
        raise ValueError("PRelu with several slopes")
    return Activation(("leaky_relu", slopes.item()))


_CONVERT = {
    "Clip": _clip,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _mat_mul,
    "PRelu": _prelu,
    "Softmax": _softmax,
}
LAYERS = _ACTIVATIONS.keys() | _CONVERT.keys()
"""The operators that `layer_of` takes."""
