"""Which values of a graph are the outputs of a GRU node in another order of axes.

Exporters surround a node by Transpose, Squeeze and Reshape, or by Shape, Slice and Concat that compute what Reshape
needs. Instead of a list of such patterns, the nodes are run on an array in which every number has its own value: where
the same numbers come out in the order that rgru returns, the value is that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rgru.convert._places import PROBES
from rgru.convert.onnx._graph import EVALUATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.convert.onnx._graph import Graph

Order = Literal["TNF", "NTF", "states"]
"""y as (T, N, D*H) or as (N, T, D*H), and h_n (L*D, N, H)."""

NODES = 64
"""Nodes after a GRU that are looked at."""


def onnx_order(y: NDArray[Any], directions: int, layout: int) -> NDArray[Any]:
    """Return the view of rgru's outputs (N, T, D*H) with the axes of Y: (T, D, N, H), or (N, T, D, H) with layout 1."""
    batch, time, features = y.shape
    split = y.reshape(batch, time, directions, features // directions)
    return split if layout else split.transpose(1, 2, 0, 3)


def layouts(
    graph: Graph, y: str, states: list[str], sizes: tuple[int | None, int | None, int, int], layout: int
) -> dict[str, Order]:
    """Return the values that are what `rgru.GRU` returns, and which axes they have.

    Parameters
    ----------
    graph : Graph
    y : str
        The output Y of the last node of a stack.
    states : list of str
        The outputs Y_h of its nodes, or the empty string.
    sizes : (T, N, D, H)
        With None for steps and sequences that the model leaves open.
    layout : int
        The attribute of the nodes.
    """
    found: dict[str, Order] | None = None
    for time, batch in PROBES:
        steps, sequences, directions, hidden = (sizes[0] or time, sizes[1] or batch, *sizes[2:])
        if steps * sequences * directions * hidden > 2**22:
            return {}
        outputs = _numbered(sequences, steps, directions * hidden)
        last = -1 - _numbered(len(states) * directions, sequences, hidden)  # none of these is an output, too
        orders: dict[Order, NDArray[Any]] = {"TNF": outputs.swapaxes(0, 1), "NTF": outputs, "states": last}
        values = {y: onnx_order(outputs, directions, layout)} if y else {}
        for name, one in zip(states, np.split(last, len(states)), strict=True):
            if name:
                values[name] = one.swapaxes(0, 1) if layout else one
        _follow(graph, values)
        now = {
            value: order
            for value, array in values.items()
            for order, expected in orders.items()
            if array.shape == expected.shape and np.array_equal(array, expected)
        }
        found = now if found is None else {key: one for key, one in found.items() if now.get(key) == one}
    return found or {}


def whole_states(graph: Graph, states: list[str], cell: tuple[int, int], layout: int) -> str:
    """Return the value h0 (L*D, N, H) of which the initial states of all layers are cut, or the empty string.

    Parameters
    ----------
    graph : Graph
    states : list of str
        The input initial_h of each layer.
    cell : (D, H)
    layout : int
        The attribute of the nodes.
    """
    value, found = states[0], ""
    for _ in range(NODES):
        shapes = [(len(states) * cell[0], batch, cell[1]) for _, batch in PROBES]
        if all(_are_cut(graph, value, states, shape, layout) for shape in shapes):
            found = value  # or a value before it
        made = graph.producers.get(value)
        read = graph.reads[made] - graph.constants if made is not None else set()
        if len(read) != 1:
            break
        [value] = read
    return found


def _are_cut(graph: Graph, value: str, states: list[str], shape: tuple[int, ...], layout: int) -> bool:
    """Tell whether states are the parts of a value of this shape."""
    h0 = _numbered(*shape)
    try:
        found = graph.evaluate(states, {value: h0})
    except ValueError:
        return False
    expected = [rows.swapaxes(0, 1) if layout else rows for rows in np.split(h0, len(states))]
    return all(np.array_equal(one, rows) for one, rows in zip(found, expected, strict=True))


def _numbered(*shape: int) -> NDArray[Any]:
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def _follow(graph: Graph, values: dict[str, NDArray[Any]]) -> None:
    """Compute what follows from values alone by moving numbers; nodes that do anything else end the search."""
    reached = set(values)
    for node, reads in zip(graph.nodes, graph.reads, strict=True):
        if not reads & reached or not reads <= reached | graph.constants or node.op_type not in EVALUATED:
            continue
        try:
            graph.evaluate([one for one in node.output if one], values)
        except ValueError:
            continue  # of other sizes than those of the probe
        reached.update(node.output)
        if len(reached) > NODES:
            return
