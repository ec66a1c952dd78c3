"""The nodes, tensors, inputs and outputs of an ONNX model as they are added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._files.atomic_write import whole_file
from rgru._optional_imports import needed

if TYPE_CHECKING:
    import os

OPSET, IR_VERSION = 13, 7
"""Of ONNX 1.8 (2020), the first with Squeeze and Split as they still are."""
NORMALISATION = 17, 8
"""The same of the first ONNX with LayerNormalization, 1.12 (2022)."""


class OnnxGraph:
    """A graph of nodes over numbers of one dtype.

    Parameters
    ----------
    dtype : numpy.dtype
        The type of `real` inputs and outputs.

    Attributes
    ----------
    versions : tuple of int
        The opset and ir_version, the lowest that have the operators.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._onnx = needed("onnx", "onnx")
        types = self._onnx.TensorProto
        real = self._onnx.helper.np_dtype_to_tensor_dtype(dtype)
        self._types = {"real": real, "int32": types.INT32, "int64": types.INT64, "bool": types.BOOL}
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self.versions = OPSET, IR_VERSION

    def add(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """Add a node, and return its first output."""
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def cast(self, x: str, kind: str, output: str) -> str:
        """Add a conversion to "real", "int32", "int64" or "bool"."""
        return self.add("Cast", [x], output, to=self._types[kind])

    def tensor(self, name: str, value: Any) -> str:
        """Add an initialiser, and return its name; integers are int64."""
        self._tensors.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def input(self, name: str, kind: str, shape: tuple[str | int, ...]) -> str:
        """Declare an input of the model."""
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, self._types[kind], shape))
        return name

    def output(self, name: str, shape: tuple[str | int, ...]) -> None:
        """Declare an output of the model, in real numbers."""
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._types["real"], shape))

    def write(self, path: str | os.PathLike[str], name: str) -> None:
        """Write the model; an existing file stays as it is until the new one is complete."""
        helper = self._onnx.helper
        opset, ir_version = self.versions
        model = helper.make_model(
            helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._tensors),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=ir_version,
            producer_name="rgru",
            producer_version=_core.__version__,
        )
        with whole_file(path) as draft:
            draft.write_bytes(model.SerializeToString())
