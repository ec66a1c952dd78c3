"""Which values of a graph are the outputs of a GRU node in another order of axes.

Exporters surround a node by Transpose, Squeeze and Reshape, or by Shape, Slice and Concat that compute what Reshape
needs. Instead of a list of such patterns, the nodes are run on an array in which every number has its own value: where
the same numbers come out in the order that rgru returns, the value is that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert.onnx._graph import EVALUATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.convert.onnx._graph import Graph

PROBES = ((5, 7), (3, 2))
"""Steps and sequences of the arrays, where the model does not fix them: different ones, for shapes that are fixed."""

NODES = 64
"""Nodes after a GRU that are looked at."""


def onnx_order(y: NDArray[Any], directions: int, layout: int) -> NDArray[Any]:
    """Return the view of rgru's outputs (N, T, D*H) with the axes of Y: (T, D, N, H), or (N, T, D, H) with layout 1."""
    batch, time, features = y.shape
    split = y.reshape(batch, time, directions, features // directions)
    return split if layout else split.transpose(1, 2, 0, 3)


def layouts(graph: Graph, name: str, sizes: tuple[int | None, int | None, int, int], layout: int) -> dict[str, bool]:
    """Return the values that are a node's outputs as (T, N, D*H), with True, or as (N, T, D*H), with False.

    Parameters
    ----------
    graph : Graph
    name : str
        Y, the node's output.
    sizes : (T, N, D, H)
        With None for steps and sequences that the model leaves open.
    layout : int
        The attribute of the node.
    """
    found: dict[str, bool] | None = None
    for time, batch in PROBES:
        steps, sequences, directions, hidden = (sizes[0] or time, sizes[1] or batch, *sizes[2:])
        shape = (sequences, steps, directions * hidden)
        if math.prod(shape) > 2**22:
            return {}
        y = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        orders = {True: y.swapaxes(0, 1), False: y}
        values = {name: onnx_order(y, directions, layout)}
        _follow(graph, name, values)
        now = {
            value: time_first
            for value, array in values.items()
            for time_first, expected in orders.items()
            if array.shape == expected.shape and np.array_equal(array, expected)
        }
        found = now if found is None else {key: one for key, one in found.items() if now.get(key) == one}
    return found or {}


def _follow(graph: Graph, name: str, values: dict[str, NDArray[Any]]) -> None:
    """Compute what follows from a value alone by moving numbers; nodes that do anything else end the search."""
    reached = {name}
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
