"""The GRU nodes of a graph: their weights, what they read and write, and stacks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert.onnx._arrays import from_arrays
from rgru.convert.onnx._layouts import layouts, whole_states
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rgru.convert.onnx._graph import Graph
    from rgru.convert.onnx._layouts import Order

BATCHES = (3, 5)
"""Sizes of the axes that a model leaves open, for finding out what initial states it computes of them."""


@dataclass
class Node:
    """A GRU node of the graph.

    Attributes
    ----------
    index : int
        Its place among the nodes.
    name : str
        Its name, or that of its first output.
    inputs, outputs : list of str
        X, W, R, B, sequence_lens, initial_h; Y, Y_h. The empty string for what is not given.
    attributes : dict
    """

    index: int
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    @property
    def layout(self) -> int:
        """0 for arrays with steps first, 1 for sequences first."""
        return int(self.attributes.get("layout", 0))

    @property
    def x(self) -> str:
        """The value that it reads."""
        return self.inputs[0]

    @property
    def lengths(self) -> str:
        """The value of its lengths, or the empty string."""
        return self.inputs[4]

    def __str__(self) -> str:
        hidden = self.attributes.get("hidden_size", "unknown")
        return f"{self.name!r} (H={hidden}, {self.attributes.get('direction', 'forward')}, weights {self.inputs[1]!r})"


@dataclass
class Stack:
    """GRU nodes that one `rgru.GRU` computes.

    Attributes
    ----------
    nodes : list of Node
        The layers, from the input on.
    gru : GRU
        Their parameters, with learned initial states if the graph has constant ones.
    states : list of str
        For each layer the value of its initial states, or the empty string where they are zero or the learned ones.
    h0 : str
        The value (L*D, N, H) that these are cut of, or the empty string.
    outputs : dict of str to str
        The values that are what the GRU returns; see `rgru.convert.onnx._layouts`.
    """

    nodes: list[Node]
    gru: GRU
    states: list[str]
    h0: str = ""
    outputs: dict[str, Order] = field(default_factory=dict)


def gru_nodes(graph: Graph) -> list[Node]:
    """Return all GRU nodes of the top level, in the order of the graph."""
    from onnx import helper

    found = []
    for i, node in enumerate(graph.nodes):
        if node.op_type == "GRU" and node.domain in ("", "ai.onnx"):
            inputs, outputs = [*node.input, *[""] * 6][:6], [*node.output, *[""] * 2][:2]
            attributes = {one.name: _plain(helper.get_attribute_value(one)) for one in node.attribute}
            attributes.pop("output_sequence", None)  # of opset 1
            found.append(Node(i, node.name or next(filter(None, outputs), f"node {i}"), inputs, outputs, attributes))
    return found


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def stack_of(graph: Graph, nodes: Sequence[Node], overrides: Mapping[str, Any] | None = None) -> Stack:
    """Make a GRU of nodes that follow each other.

    Raises
    ------
    ValueError
        If rgru lacks a feature of a node, or their sizes or settings differ.
    """
    gru = from_arrays([(*_weights(graph, node), {**node.attributes, **(overrides or {})}) for node in nodes])
    states: list[str] = []
    learned: dict[str, NDArray[Any]] = {}
    for k, node in enumerate(nodes):
        rows = _constant_states(graph, node, 1 + gru.bidirectional, gru.hidden_size)
        states.append(node.inputs[5] if rows is None else "")
        directions = ("rev",) if gru.reverse else ("fwd", "rev")
        zeros = np.zeros((1 + gru.bidirectional, gru.hidden_size))
        for direction, row in zip(directions, zeros if rows is None else rows, strict=False):
            learned[f"layers.{k}.{direction}.h0"] = row.astype(gru.dtype)
    if any(row.any() for row in learned.values()):
        gru = GRU._from_saved({**gru._config, "learned_h0": True}, {**gru.params, **learned})
    return Stack(list(nodes), gru, states)


def _weights(graph: Graph, node: Node) -> tuple[Any, Any, Any]:
    """Return W, R and B, of float16 as float32, which has all its values."""
    found = [graph.constant(name) if name else None for name in node.inputs[1:4]]
    W, R, B = (one.astype(np.float32) if one is not None and one.dtype == np.float16 else one for one in found)
    return W, R, B


def _constant_states(graph: Graph, node: Node, directions: int, hidden: int) -> NDArray[Any] | None:
    """Return the initial states (D, H) that all sequences share, or None if they are computed of the inputs.

    Exporters write zeros for as many sequences as there are. What depends on the shapes of inputs alone is therefore
    computed, for two sizes.
    """
    name = node.inputs[5]
    if not name:
        return np.zeros((directions, hidden))
    found: NDArray[Any] | None = None
    for size in BATCHES:
        try:
            known = {one: np.broadcast_to(np.float32(0), shape) for one, shape in _shapes(graph, name, size).items()}
            [states] = graph.evaluate([name], known)
        except ValueError:
            return None
        rows = states if not node.layout else states.swapaxes(0, 1)
        if rows.ndim != 3 or rows.shape[::2] != (directions, hidden) or not rows.shape[1]:
            return None
        if (rows != rows[:, :1]).any() or (found is not None and (found != rows[:, 0]).any()):
            return None  # each sequence has its own: they are passed as an input
        found = rows[:, 0]
    return found


def _shapes(graph: Graph, name: str, size: int) -> dict[str, tuple[int, ...]]:
    """Return shapes for all values of which `name` needs the shape, if it needs nothing else of the inputs."""
    shaped = {one for i in graph.needed([name]) if graph.nodes[i].op_type == "Shape" for one in graph.reads[i]}
    within = graph.needed([name], shaped)
    read = {one for i in within if graph.nodes[i].op_type != "Shape" for one in graph.reads[i]} | {name}
    if read & (graph.inputs.keys() | shaped):
        raise ValueError("depends on more than shapes")
    known = graph.shapes
    missing = shaped - known.keys()
    if missing:
        raise ValueError(f"no shape of {missing}")
    return {one: tuple(size if dim is None else dim for dim in known[one]) for one in shaped - graph.constants}


def check_inputs(graph: Graph, stack: Stack) -> None:
    """Refuse constants that a GRU cannot hold, and that would be lost without a word."""
    for one, states in zip(stack.nodes, stack.states, strict=True):
        for kind, value in (("initial_h", states), ("sequence_lens", one.lengths)):
            if value in graph.constants:
                got = " ".join(str(graph.constant(value)).split())[:80]
                expected = "the same states for all sequences" if kind == "initial_h" else "no constant"
                where = f"{graph.name}: GRU node {one.name!r}: {kind}"
                raise ValueError(f"{where}: expected {expected}, got {got}: rgru takes it for each call")


def stacks(
    graph: Graph, nodes: Sequence[Node], overrides: Mapping[str, Any] | None = None
) -> tuple[list[Stack], dict[str, str]]:
    """Group nodes into the fewest GRUs.

    Parameters
    ----------
    graph : Graph
    nodes : sequence of Node
    overrides : mapping of str to object, optional
        Attributes that replace those of all nodes.

    Returns
    -------
    stacks : list of Stack
    refused : dict of str to str
        The nodes that rgru cannot run, by name, and why.
    """
    found: list[Stack] = []
    refused = {}
    for node in nodes:
        try:
            stack = stack_of(graph, [node], overrides)
            below = next((one for one in found if _continues(graph, one, node)), None)
            if below is not None:
                stack = joined(graph, below.nodes, node, overrides) or stack
        except (TypeError, ValueError) as error:
            refused[node.name] = str(error)
            continue
        if len(stack.nodes) > 1:
            found.remove(below)  # type: ignore[arg-type]
        sizes = (*steps_and_sequences(graph, node), 1 + stack.gru.bidirectional, stack.gru.hidden_size)
        states = [one.outputs[1] for one in stack.nodes]
        if all(stack.states):
            stack.h0 = whole_states(graph, stack.states, sizes[2:], node.layout)
        stack.outputs = layouts(graph, node.outputs[0], states, sizes, node.layout)
        found.append(stack)
    return found, refused


def steps_and_sequences(graph: Graph, node: Node) -> tuple[int | None, int | None]:
    """Return T and N of what a node reads, or None where they are open."""
    shape = graph.shapes.get(node.x, (None, None, None))[:2]
    first, second = shape[::-1] if node.layout else shape
    return first, second


def _continues(graph: Graph, below: Stack, node: Node) -> bool:
    """Tell whether a node reads the outputs of a stack, and nothing else does."""
    last = below.nodes[-1]
    if (node.lengths, node.layout) != (last.lengths, last.layout):
        return False
    if below.outputs.get(node.x) != ("NTF" if node.layout else "TNF"):
        return False
    y, indices = last.outputs[0], {one.index for one in below.nodes}
    if node.x in graph.outputs or any(node.x in reads for i, reads in enumerate(graph.reads) if i != node.index):
        return False
    elsewhere = graph.needed([*graph.outputs, *node.inputs[4:]], {node.x})
    if any(y in graph.reads[i] for i in elsewhere) or y in graph.outputs:
        return False
    return not indices & set(graph.needed(node.inputs[4:]))


def joined(graph: Graph, below: Sequence[Node], node: Node, overrides: Mapping[str, Any] | None) -> Stack | None:
    """Return a stack with one more layer, or None if a GRU has to have them apart: other sizes or settings."""
    try:
        return stack_of(graph, [*below, node], overrides)
    except ValueError:
        return None
