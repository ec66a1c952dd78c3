"""GRU nodes as one call of rgru."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert.onnx._layouts import onnx_order
from rgru.nn._gate_order import directions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.convert.onnx._graph import Graph
    from rgru.convert.onnx._nodes import Stack


class GruStep:
    """A stack of nodes, from values of the graph to values of the graph.

    rgru is batch first. Where the graph turns the axes of what a node reads or writes, the values before and after the
    turns are read and written, and the nodes between are left out; otherwise views turn the axes.

    Attributes
    ----------
    reads, writes : set of str
        The values that it reads, and those that it can make.
    """

    def __init__(self, graph: Graph, stack: Stack) -> None:
        first, last = stack.nodes[0], stack.nodes[-1]
        self.gru, self.layout = stack.gru, first.layout
        self.half = _is_half(graph, first.inputs[1])
        self.x, self.time_first = first.x, not first.layout
        before = graph.producers.get(first.x)
        if before is not None and self.time_first and _swaps(graph.nodes[before]):
            self.x, self.time_first = graph.nodes[before].input[0], False
        self.lengths = first.lengths
        self.h0, self.states = stack.h0, [] if stack.h0 else stack.states
        self.rows = _rows(stack) if any(self.states) else []
        self.y, self.returned = last.outputs[0], stack.outputs
        self.last_states = {node.outputs[1]: k for k, node in enumerate(stack.nodes) if node.outputs[1]}
        self.reads = {self.x, self.lengths, self.h0, *self.states} - {""}
        self.writes = {self.y, *self.returned, *self.last_states} - {""}

    def keep(self, used: set[str]) -> None:
        """Restrict what is made to the values that are used."""
        self.writes &= used
        self.needs_y = any(name == self.y or self.returned.get(name, "states") != "states" for name in self.writes)

    def shape_of(self, name: str, x_shape: list[Any]) -> list[Any]:
        """Return the shape of a value that this step makes; steps and sequences as in that of `x`."""
        count, hidden = 1 + self.gru.bidirectional, self.gru.hidden_size
        batch, time = (x_shape[:2][::-1] if self.time_first else x_shape[:2]) if len(x_shape) == 3 else (None, None)
        if name in self.last_states:
            return [batch, count, hidden] if self.layout else [count, batch, hidden]
        if name in self.returned:
            states = [self.gru.num_layers * count, batch, hidden]
            orders = {"TNF": [time, batch, count * hidden], "NTF": [batch, time, count * hidden], "states": states}
            return orders[self.returned[name]]
        return [batch, time, count, hidden] if self.layout else [time, count, batch, hidden]

    def run(self, values: dict[str, Any]) -> None:
        """Compute; `values` has what the step reads, and receives what it makes."""
        x = values[self.x]
        if self.time_first and x.ndim == 3:
            x = x.swapaxes(0, 1)
        h0 = values[self.h0] if self.h0 else self._initial_states(values, len(x)) if self.rows else None
        lengths = values[self.lengths] if self.lengths else None
        if self.half:
            x, h0 = x.astype(np.float32), None if h0 is None else h0.astype(np.float32)
        if not self.needs_y:
            y, h_n = None, self.gru.final_states(x, h0, lengths=lengths)
        else:
            y, h_n = self.gru(x, h0, lengths=lengths)
        if self.half:
            y, h_n = None if y is None else y.astype(np.float16), h_n.astype(np.float16)
        for name in self.writes:
            values[name] = self._value(name, y, h_n)

    def _value(self, name: str, y: Any, h_n: NDArray[Any]) -> NDArray[Any]:
        count = 1 + self.gru.bidirectional
        if name in self.last_states:
            k = self.last_states[name]
            states = h_n[k * count : (k + 1) * count]
            return states.swapaxes(0, 1) if self.layout else states
        order = self.returned.get(name)
        if order == "states":
            return h_n
        whole: NDArray[Any] = y
        if order is None:
            return onnx_order(whole, count, self.layout)
        return whole if order == "NTF" else whole.swapaxes(0, 1)

    def _initial_states(self, values: dict[str, Any], batch: int) -> NDArray[Any]:
        """Return h0 (L*D, N, H): given states, and those of the other layers for each sequence."""
        parts = []
        for name, rows in zip(self.states, self.rows, strict=True):
            given = values[name] if name else np.broadcast_to(rows[:, None], (len(rows), batch, rows.shape[1]))
            parts.append(given.swapaxes(0, 1) if name and self.layout else given)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _rows(stack: Stack) -> list[NDArray[Any]]:
    """Return the states (D, H) of each layer that begin all sequences, where none are given."""
    gru, names = stack.gru, directions(stack.gru)
    zeros = np.zeros((len(names), gru.hidden_size), gru.dtype)
    if not gru.learned_h0:
        return [zeros] * gru.num_layers
    return [np.stack([gru.params[f"layers.{k}.{name}.h0"] for name in names]) for k in range(gru.num_layers)]


def _is_half(graph: Graph, weights: str) -> bool:
    return graph.constant(weights).dtype == np.float16


def _swaps(node: Any) -> bool:
    """Tell whether a node swaps the first two of three axes."""
    return node.op_type == "Transpose" and [list(one.ints) for one in node.attribute] == [[1, 0, 2]]
