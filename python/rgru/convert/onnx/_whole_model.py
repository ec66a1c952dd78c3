"""Whole graphs as layers in a row.

The nodes are followed from the input on. Those that compute are layers. What moves numbers between them is run on
numbered arrays, and recognised by its effect: see `rgru.convert._places`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert._layers import Embedding, batch_norm, model_of, pooled_at_gru, vector
from rgru.convert.onnx._graph import MOVES
from rgru.convert.onnx._layouts import layouts, onnx_order
from rgru.convert.onnx._nodes import check_inputs, joined, stack_of, steps_and_sequences
from rgru.convert.onnx._normalisation import Part, part_of
from rgru.convert.onnx._operators import (
    LAYERS,
    NUMBERS,
    attributes_of,
    constant,
    layer_of,
    number,
    reduced_axes,
    with_constant,
)
from rgru.convert.onnx._rows import Rows
from rgru.model import Activation, LayerNorm, Linear, Model, Pool
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rgru.convert._places import Place
    from rgru.convert.onnx._graph import Graph
    from rgru.convert.onnx._nodes import Node, Stack

NODES = 2000
"""Nodes that are followed at most."""

LISTED = 20
"""GRU nodes that an error lists."""

_OVER_TIME = {"ReduceMean": "mean", "ReduceMax": "max", "GlobalAveragePool": "mean", "GlobalMaxPool": "max"}


def whole_model(graph: Graph, nodes: Sequence[Node], overrides: Mapping[str, Any]) -> GRU | Model:
    """Make a model of all that a graph computes; a GRU if that is what a GRU returns.

    Parameters
    ----------
    graph : Graph
    nodes : sequence of Node
        Its GRU nodes, at least one.
    overrides : mapping of str to object
        Attributes that replace those of all nodes.

    Raises
    ------
    ValueError
        If the graph is more than layers in a row: the error names the node that does not fit.
    """
    walk = _Walk(graph, nodes, overrides)
    label = ""
    try:
        walk.begin()
        needed = graph.needed(graph.outputs)
        for i in needed:
            node = graph.nodes[i]
            label = f" at {node.op_type} node {node.name or next(filter(None, node.output), '')!r}"
            if len(needed) > NODES:
                raise ValueError(f"{len(needed)} nodes")
            walk.follow(i)
        label = ""
        return walk.finished()
    except _GruError:
        raise
    except (IndexError, TypeError, ValueError) as error:  # also of nodes that are not valid
        listed = "; ".join([*map(str, nodes[:LISTED]), *[f"and {len(nodes) - LISTED} more"] * (len(nodes) > LISTED)])
        raise ValueError(
            f"{graph.name}: expected layers in a row (Embedding, GRU, Linear, LayerNorm, Dropout, activations, pooling "
            f"over time), got {error}{label}. rgru.onnx.InferenceSession runs the whole file, and node= converts a GRU "
            f"by itself: {listed}"
        ) from error


class _GruError(ValueError):
    """A GRU node that rgru cannot convert, also by itself."""


class _Walk:
    """Follows a graph node by node; what it cannot follow raises a ValueError that says what it is."""

    def __init__(self, graph: Graph, nodes: Sequence[Node], overrides: Mapping[str, Any]) -> None:
        self._graph, self._overrides = graph, overrides
        self._grus = {one.index: one for one in nodes}
        self._rows = Rows(graph)
        self._parts: dict[str, Part] = {}
        self._others: dict[str, str] = {}
        """Values that are made of anything else, and what."""
        self._for_calls: list[str] = []
        """Inputs of GRUs that a GRU takes with each call, and a model does not."""
        self._last: Place | None = None
        """After the last GRU."""

    def begin(self) -> None:
        """Give numbers to the input that the first GRU reads."""
        graph = self._graph
        first = min(self._grus)
        x = self._grus[first].x
        read = {x, *(name for i in graph.needed([x]) for name in graph.reads[i])} & graph.inputs.keys()
        self._others = {name: f"a second input {name!r}" for name in graph.inputs}
        if not read:
            raise ValueError(f"a GRU that reads {x!r}, which depends on no input")
        source = next(name for name in graph.inputs if name in read)
        del self._others[source]
        self._rows.put_input(source)

    def follow(self, index: int) -> None:
        """Follow one node."""
        node, reads = self._graph.nodes[index], self._graph.reads[index]
        if index in self._grus:
            self._gru(self._grus[index])
        elif set(node.output) - {""} <= self._graph.constants:
            return
        elif reads & self._others.keys():
            other = self._others[min(reads & self._others.keys())]
            if reads & (self._rows.names | self._parts.keys()):
                raise ValueError(other)
            self._others.update(dict.fromkeys(node.output, other))
        elif not reads & (self._rows.names | self._parts.keys()) or node.op_type == "Shape":
            try:
                self._rows.evaluate(node)
            except ValueError as error:
                self._others.update(dict.fromkeys(node.output, str(error)))
        elif node.op_type == "Gather" and node.input[0] in self._graph.constants:
            self._embedding(node)
        elif node.op_type in MOVES and not reads & self._parts.keys():
            self._rows.move(node)
        elif not self._normalisation(node):
            self._layer(node)

    @property
    def _dtype(self) -> np.dtype[Any]:
        """The type of the first GRU's numbers."""
        weights = self._graph.constant(next(iter(self._grus.values())).inputs[1])
        return np.promote_types(weights.dtype, np.float32)

    # -- layers ----------------------------------------------------------------------------------------------------

    def _gru(self, node: Node) -> None:
        if node.x in self._others:
            raise ValueError(self._others[node.x])
        place, indices = self._rows.find(node.x)
        # Rows are treated by themselves before the first GRU: which axis is time is known here.
        expected = {"NT" if node.layout else "TN"} if _has_gru(place) else {"NT", "TN"}
        if not place.orders(indices) & expected:
            raise ValueError(f"other inputs than the steps before it in their order, {node.x!r}")
        try:
            stack, layers = self._stacked(place, node)
        except (TypeError, ValueError) as error:
            raise _GruError(f"{self._graph.name}: GRU node {node.name!r}: {error}") from error
        try:
            check_inputs(self._graph, stack)
        except ValueError as error:
            raise _GruError(str(error)) from error
        given = {"initial states": stack.states[-1], "lengths": node.lengths}
        self._for_calls += [f"{kind} {name!r}" for kind, name in given.items() if name]
        sizes = [array.shape[:2][:: 1 if node.layout else -1] for array in self._rows.of(node.x)]
        directions, hidden = 1 + stack.gru.bidirectional, stack.gru.hidden_size
        nodes = tuple(stack.nodes)
        shapes: list[tuple[int, ...]] = [(*size, directions * hidden) for size in sizes]
        self._last = steps = self._rows.places.add(shapes, layers=layers, nodes=nodes)
        if node.outputs[0]:
            self._rows.put(node.outputs[0], [onnx_order(array, directions, node.layout) for array in steps.arrays])
        if node.outputs[1]:
            shapes = [(count, directions * hidden) for count, _ in sizes]
            states = self._rows.places.add(shapes, layers=(*layers, Pool("last")))
            split = [array.reshape(-1, directions, hidden) for array in states.arrays]
            self._rows.put(node.outputs[1], [one if node.layout else one.swapaxes(0, 1) for one in split])

    def _stacked(self, place: Place, node: Node) -> tuple[Stack, tuple[Any, ...]]:
        """Return a node as a GRU, with the nodes of the layer before if they are one, and all layers."""
        stack = stack_of(self._graph, [node], self._overrides)
        if place.nodes and place.nodes[-1].lengths == node.lengths:
            whole = joined(self._graph, place.nodes, node, self._overrides)
            if whole is not None:
                return whole, (*place.layers[:-1], whole.gru)
        return stack, (*place.layers, stack.gru)

    def _embedding(self, node: Any) -> None:
        table = constant(self._graph, node, 0)
        found = self._rows.places.find([array[..., None] for array in self._rows.of(node.input[1])])
        if found is None or found[0].layers or table is None or table.ndim != 2 or attributes_of(node).get("axis", 0):
            raise ValueError("an embedding of other values than the inputs, or another table than (V, E)")
        self._rows.put_layer(node.output[0], found, (Embedding(table),), table.shape[1])

    def _normalisation(self, node: Any) -> bool:
        """Follow a node that is a part of layer normalisation; tell whether it is."""
        first = node.input[0]
        rows = self._parts[first].rows if first in self._parts else first
        axes = reduced_axes(self._graph, node, 0) if node.op_type == "ReduceMean" and rows in self._rows.names else ()
        over_features = bool(
            axes
            and axes in ((-1,), (self._rows.axes(rows) - 1,))
            and attributes_of(node).get("keepdims", 1)
            and self._rows.places.find(self._rows.of(rows))
        )
        part = part_of(node, self._parts, over_features, partial(number, self._graph))
        if part is not None and part.kind == "result":
            place, indices = self._rows.find(part.rows)
            layer = LayerNorm(place.features, epsilon=part.epsilon, dtype=self._dtype)
            self._rows.put_layer(node.output[0], (place, indices), (*place.layers, layer), place.features, takes="gain")
        elif part is not None:
            self._parts[node.output[0]] = part
        return part is not None

    def _layer(self, node: Any) -> None:
        """Follow a node that is a layer for single rows, or pooling."""
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"an operator of {node.domain!r}")
        if node.op_type in _OVER_TIME:
            self._pool(node)
        elif node.op_type in ("Add", "Div", "Mul", "Sub"):
            self._arithmetic(node)
        elif node.op_type == "BatchNormalization":
            self._batch_norm(node)
        else:
            if node.op_type not in LAYERS:
                raise ValueError("an operator that is no such layer")
            find = self._rows.find_numbers if node.op_type in NUMBERS else lambda name: (*self._rows.find(name), False)
            place, indices, squeezed = find(node.input[0])
            layer = layer_of(self._graph, node, place.features, self._rows.axes(node.input[0]))
            size = len(layer.weight) if isinstance(layer, Linear) else place.features
            takes, layers = "bias" if node.op_type == "MatMul" else "", (*place.layers, layer)
            self._rows.put_layer(node.output[0], (place, indices), layers, size, takes=takes, squeezed=squeezed)

    def _arithmetic(self, node: Any) -> None:
        """Follow the gain or bias of the layer before, another operation with a constant, or x sigmoid(x)."""
        first, second = node.input
        if {first, second} <= self._rows.names:
            (one, at), (other, where) = sorted(
                (self._rows.find(first), self._rows.find(second)), key=lambda f: len(f[0].layers)
            )
            gated = len(other.layers) > len(one.layers) and repr(other.layers[-1]) == repr(Activation("sigmoid"))
            same = other.layers[:-1] == one.layers and all(map(np.array_equal, at, where))
            if node.op_type != "Mul" or not gated or not same:
                raise ValueError("two values that depend on the inputs")
            self._rows.put_layer(node.output[0], (one, at), (*one.layers, Activation("silu")), one.features)
            return
        name, other_name = (first, second) if first in self._rows.names else (second, first)
        place, indices, squeezed = self._rows.find_numbers(name)
        given, kind = number(self._graph, other_name), node.op_type
        if given is None:
            raise ValueError("other numbers than constants")
        array, last = vector(given, place.features, self._rows.axes(name) + squeezed), place.layers[-1:]
        if kind in {"gain": ("Add", "Mul"), "bias": ("Add",)}.get(place.takes, ()):
            if isinstance(last[0], Linear):
                layer: Any = Linear.from_arrays(last[0].weight, array)
            else:
                gain, bias = (array, last[0].bias) if kind == "Mul" else (last[0].gain, array)
                layer = LayerNorm.from_arrays(gain, bias, epsilon=last[0].epsilon)
            layers, left = (*place.layers[:-1], layer), "bias" if kind == "Mul" else ""
        else:
            layer = with_constant(kind, array, name == second, place.features, self._dtype)
            layers, left = (*place.layers, layer), ""
        found = (place, indices)
        self._rows.put_layer(node.output[0], found, layers, place.features, takes=left, squeezed=squeezed)

    def _batch_norm(self, node: Any) -> None:
        """Follow a normalisation of the features, which are the second axis, as it is in inference."""
        if attributes_of(node).get("training_mode"):
            raise ValueError("BatchNormalization with training_mode")
        values = self._rows.of(node.input[0])
        found = self._rows.places.find([np.moveaxis(array, 1, -1) for array in values if array.ndim > 1])
        gain, bias, mean, variance = (constant(self._graph, node, i) for i in range(1, 5))
        if found is None or mean is None or variance is None or len(mean) != found[0].features:
            raise ValueError("BatchNormalization over another axis than that of features")
        epsilon = float(attributes_of(node).get("epsilon", 1e-5))
        layer = batch_norm(mean, variance, epsilon, gain, bias, dtype=self._dtype)
        self._rows.put_layer(node.output[0], found, (*found[0].layers, layer), found[0].features)
        self._rows.put(node.output[0], [np.moveaxis(array, -1, 1) for array in self._rows.of(node.output[0])])

    def _pool(self, node: Any) -> None:
        """Follow a mean or maximum over the steps."""
        values = self._rows.of(node.input[0])
        axes = reduced_axes(self._graph, node, values[0].ndim)
        kind, last = _OVER_TIME[node.op_type], tuple(range(-len(axes), 0))
        moved = [np.moveaxis(array, axes, last) for array in values]
        found = axes and self._rows.places.find_steps([one.reshape(*one.shape[: -len(axes)], -1) for one in moved])
        if not found or not _has_gru(found[0]):
            raise ValueError(f"{kind} over other axes than the steps of a GRU's outputs")
        place, indices = found
        after = self._rows.places.add([one.shape[::2] for one in place.arrays], layers=(*place.layers, Pool(kind)))
        pooled = [array[index] for array, index in zip(after.arrays, indices, strict=True)]
        kept = attributes_of(node).get("keepdims", 1)
        self._rows.put(node.output[0], [np.expand_dims(one, axes) if kept else one for one in pooled])

    # -- the model -------------------------------------------------------------------------------------------------

    def finished(self) -> GRU | Model:
        """Return the model of the graph's outputs."""
        outputs = self._graph.outputs
        for name in outputs:
            if name not in self._rows.names:
                raise ValueError(self._others.get(name, f"an output {name!r} that does not depend on the inputs"))
        gru = self._gru_alone()
        if gru is not None:
            return gru
        if len(outputs) > 1:
            raise ValueError(f"{len(outputs)} results, {outputs[0]!r}, {outputs[1]!r}" + ", ..." * (len(outputs) > 2))
        if self._for_calls:
            raise ValueError(f"{' and '.join(self._for_calls)} for a GRU, which a model does not take")
        place, indices, _ = self._rows.find_numbers(outputs[0])
        # With or without axes of one number, which a model does not have.
        orders = place.orders(indices) or place.orders([index.squeeze() for index in indices])
        if orders & {"NT", "TN", "N"}:
            return model_of(place.layers)
        if "last" not in orders or not _has_gru(place):
            raise ValueError(f"an output {outputs[0]!r} of other rows than those of all steps or the last one")
        layers = pooled_at_gru(place.layers)
        gru = next(layer for layer in reversed(layers) if isinstance(layer, GRU))
        if gru.bidirectional or gru.reverse:
            raise ValueError("the outputs at the last step of two directions, where the reverse one has read one step")
        return model_of(layers)

    def _gru_alone(self) -> GRU | None:
        """Return the GRU if the outputs are what it returns."""
        place = self._last
        if place is None or any(not isinstance(layer, Embedding) for layer in place.layers[:-1]):
            return None
        gru, node, states = place.layers[-1], place.nodes[-1], [one.outputs[1] for one in place.nodes]
        sizes = (*steps_and_sequences(self._graph, node), 1 + gru.bidirectional, gru.hidden_size)
        known = {node.outputs[0], *states, *layouts(self._graph, node.outputs[0], states, sizes, node.layout)}
        if not known.issuperset(self._graph.outputs):
            return None
        return next(iter(model_of(place.layers)._chain.grus))


def _has_gru(place: Place) -> bool:
    return any(isinstance(layer, GRU) for layer in place.layers)
