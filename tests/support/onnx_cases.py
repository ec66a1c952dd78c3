"""ONNX models made by hand for tests: nodes and tensors as they are added."""

from __future__ import annotations

from typing import Any

import numpy as np

KINDS = {"float16": 10, "float32": 1, "float64": 11, "int32": 6, "int64": 7}


class Model:
    """A graph of nodes; inputs, outputs and tensors by name."""

    def __init__(self, opset: int = 14, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.tensors: dict[str, np.ndarray[Any, Any]] = {}
        self.inputs: dict[str, tuple[str, Any]] = {}
        self.outputs: dict[str, str] = {}
        self.opset = opset
        self.random = np.random.default_rng(seed)

    def add(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, list(outputs), **attributes))
        return outputs[0]

    def tensor(self, name: str, value: Any) -> str:
        self.tensors[name] = np.asarray(value)
        return name

    def uniform(self, name: str, *shape: int, dtype: str = "float32") -> str:
        return self.tensor(name, self.random.uniform(-0.5, 0.5, shape).astype(dtype))

    def weights(self, name: str, inputs: int, hidden: int, directions: int = 1, dtype: str = "float32") -> list[str]:
        """Add W, R and B with names that begin with `name`, and return their names."""
        shapes = {"W": (3 * hidden, inputs), "R": (3 * hidden, hidden), "B": (6 * hidden,)}
        return [self.uniform(f"{name}{kind}", directions, *shape, dtype=dtype) for kind, shape in shapes.items()]

    def proto(self, **options: Any) -> Any:
        from onnx import helper, numpy_helper

        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(name, KINDS[kind], shape) for name, (kind, shape) in self.inputs.items()],
            [helper.make_tensor_value_info(name, KINDS[kind], None) for name, kind in self.outputs.items()],
            [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in self.tensors.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8, **options)


def single(attributes: dict[str, Any] | None = None, dtype: str = "float32", **inputs: Any) -> Model:
    """Return a model of one GRU node, I=3 and H=4, with inputs `sequence_lens` or `initial_h` where they are given."""
    attributes = {"hidden_size": 4, **(attributes or {})}
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    model = Model()
    optional = [inputs.get("sequence_lens", ""), inputs.get("initial_h", "")]
    order = ("batch", "time", 3) if attributes.get("layout") else ("time", "batch", 3)
    model.inputs["x"] = (dtype, order)
    model.add("GRU", ["x", *model.weights("", 3, 4, directions, dtype), *optional], "Y", "Y_h", name="a", **attributes)
    model.outputs = {"Y": dtype, "Y_h": dtype}
    return model
