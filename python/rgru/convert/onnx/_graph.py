"""A graph by its values: which node makes each, what depends on what, which values are constants, and their numbers."""

from __future__ import annotations

import math
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

RANDOM = ("Random", "Bernoulli", "Multinomial")
"""Beginnings of the names of operators whose results change from run to run."""

MOVES = frozenset(
    (
        *("Cast", "CastLike", "Concat", "Expand", "Flatten", "Gather", "Identity"),
        *("Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
"""Operators that only move numbers."""

EVALUATED = MOVES | {"Add", "Constant", "ConstantOfShape", "DequantizeLinear", "Div", "Mul", "Neg", "Shape", "Sub"}
"""Operators that exporters put before weights and around layers. All take a time in proportion to their results."""


class Graph:
    """The top level of a model's graph.

    Parameters
    ----------
    name : str
        The name of the model in errors.
    model : onnx.ModelProto
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self.model = model
        self.nodes = _in_order(list(model.graph.node))
        self.initializers = {one.name: one for one in model.graph.initializer}
        self.sparse = {one.values.name: one for one in model.graph.sparse_initializer}
        self.constants = {*self.initializers, *self.sparse}
        self.inputs = {one.name: one for one in model.graph.input if one.name not in self.constants}
        self.outputs = [one.name for one in model.graph.output]
        self.producers: dict[str, int] = {}
        self.reads: list[set[str]] = []
        known = self.constants | set(self.inputs)
        for i, node in enumerate(self.nodes):
            reads = _reads(node)
            if bytes in map(type, (*reads, *node.output, node.name, node.op_type, node.domain)):
                raise ValueError(f"{name}: expected names in UTF-8, got others in node {i}")
            if not reads <= known:
                missing = ", ".join(map(repr, sorted(reads - known)))
                raise ValueError(f"{name}: expected nodes in an order of their use, got no {missing} before {i}")
            self.reads.append(reads)
            outputs = set(node.output) - {""}
            if outputs & known:
                raise ValueError(f"{name}: expected one node for each value, got two for {sorted(outputs & known)}")
            self.producers.update(dict.fromkeys(outputs, i))
            known |= outputs
            if reads <= self.constants and not node.op_type.startswith(RANDOM):
                self.constants |= outputs
        if not known.issuperset(self.outputs):
            raise ValueError(f"{name}: expected a node for each output, got none for {set(self.outputs) - known}")
        stored = sum(math.prod(one.dims) for one in self.initializers.values())
        self._limit = 2**20 + 4 * stored
        self._values: dict[str, NDArray[Any]] = {}

    @cached_property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shapes of values as far as ONNX infers them, with None for axes that are open."""
        from onnx import shape_inference

        try:
            graph = shape_inference.infer_shapes(self.model).graph
        except Exception:  # of a model that is not valid, or too large: what is declared remains
            graph = self.model.graph
        known = [one for one in (*graph.input, *graph.value_info) if one.type.tensor_type.HasField("shape")]
        dims = {one.name: one.type.tensor_type.shape.dim for one in known}
        return {
            name: tuple(one.dim_value if one.HasField("dim_value") else None for one in some)
            for name, some in dims.items()
        }

    def needed(self, names: Iterable[str], stop: Collection[str] = ()) -> list[int]:
        """Return the indices of the nodes that make values, without those that only make the values of `stop`."""
        found: set[int] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            i = self.producers.get(name)
            if i is not None and name not in stop and i not in found:
                found.add(i)
                pending += self.reads[i]
        return sorted(found)

    def constant(self, name: str) -> NDArray[Any]:
        """Return the numbers of a constant value.

        Raises
        ------
        ValueError
            If it depends on an input, or on operators that do more than move numbers.
        """
        if name not in self.constants:
            raise ValueError(f"{self.name}: expected a constant, got {name!r}, which depends on inputs of the model")
        return self.evaluate([name], self._values)[0]

    def evaluate(self, names: list[str], known: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute values of known ones and initialisers, by ONNX's reference implementation; `known` receives them.

        Raises
        ------
        ValueError
            If an operator does more than move numbers, or a result has more numbers than the whole model.
        """
        from onnx import numpy_helper

        nodes = self.needed(names, known)
        wanted = {*names, *(read for i in nodes for read in self.reads[i])} - known.keys()
        name = ""
        try:
            for name in wanted & self.initializers.keys():
                known[name] = numpy_helper.to_array(self.initializers[name])
            for i in nodes:
                name = self.nodes[i].name or self.nodes[i].op_type
                known.update(zip(self.nodes[i].output, self._run(i, known), strict=True))
            return [known[name] for name in names]
        except Exception as error:  # ONNX's functions raise many, for models that are not valid
            raise ValueError(f"{self.name}: {name!r} has no constant value: {error}") from error

    def _run(self, index: int, known: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run one node, after its results are known to be small enough."""
        from onnx import helper, shape_inference
        from onnx.reference import ReferenceEvaluator

        node = self.nodes[index]
        if node.domain not in ("", "ai.onnx") or node.op_type not in EVALUATED:
            raise ValueError(f"{node.op_type} does more than move numbers")
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
        graph = helper.make_graph([node], "node", [], outputs)
        for name in self.reads[index]:
            _declare(graph, name, known[name])
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        for output in inferred.graph.output:
            dims = output.type.tensor_type.shape.dim
            if not output.type.tensor_type.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
                raise ValueError(f"the size of {output.name!r} is unknown")
            if math.prod(dim.dim_value for dim in dims) > self._limit:
                raise ValueError(f"{output.name!r} is larger than the whole model")
        feeds = {name: known[name] for name in self.reads[index]}
        results: list[NDArray[Any]] = ReferenceEvaluator(model).run(None, feeds)
        if not all(isinstance(one, (np.ndarray, np.generic)) for one in results):
            raise ValueError("it makes more than arrays")
        return results


def _declare(graph: Any, name: str, array: NDArray[Any]) -> None:
    """Add an input; small integers, which may be sizes, as an initialiser, too, since the results' sizes need them."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    if array.dtype == np.int64 and array.size <= 2**10:
        graph.initializer.append(numpy_helper.from_array(array, name))


def _in_order(nodes: list[Any]) -> list[Any]:
    """Return nodes in an order of their use, or as they are if there is none; converters to float16 append casts."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    before = {i: [makers[name] for name in _reads(node) if name in makers] for i, node in enumerate(nodes)}
    if all(j < i for i, found in before.items() for j in found):
        return nodes
    try:
        return [nodes[i] for i in TopologicalSorter(before).static_order()]
    except CycleError:
        return nodes


def _reads(node: Any) -> set[str]:
    """Return the values that a node reads: its inputs, and what graphs within it read from outside of them."""
    found = set(node.input) - {""}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {one.name for one in (*graph.input, *graph.initializer)}
            own |= {one.values.name for one in graph.sparse_initializer}
            own |= {name for inner in graph.node for name in inner.output}
            found |= {name for inner in graph.node for name in _reads(inner)} - own
            found |= {one.name for one in graph.output} - own
    return found
