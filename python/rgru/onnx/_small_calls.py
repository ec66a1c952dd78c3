"""Calls that are too small to be cut at the GRUs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.onnx._value import described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rgru.convert.onnx._graph import Graph
    from rgru.onnx._gru_step import GruStep

SMALL = 2**19
"""Multiply-adds of a GRU in a call, in the mean of a model's GRUs, below which passing arrays between sessions costs
more than rgru saves. One step of a convolution, a GRU with H=64 and a dense layer took ONNX Runtime 14 microseconds,
and two pieces and a GRU 26; from some 20 steps on the pieces are faster."""


class SmallCalls:
    """The whole model on ONNX Runtime, for calls that are too small to be cut.

    A call is small if it has few steps of few sequences, by the open axes of its inputs, or the fixed ones of GRUs.
    """

    def __init__(self, graph: Graph, units: Sequence[GruStep], start: Callable[[], Any]) -> None:
        self._start = start
        self._open = [
            (name, [axis for axis, size in enumerate(described(one).shape) if not isinstance(size, int)])
            for name, one in graph.inputs.items()
        ]
        self._most = SMALL * len(units) / sum(unit.gru.num_params for unit in units)
        fixed = [graph.shapes.get(unit.x, ())[:2] for unit in units]
        self._fixed = max((one[0] * one[1] for one in fixed if len(one) == 2 and one[0] and one[1]), default=1)

    @cached_property
    def _session(self) -> Any:
        """The session; started by the first small call, and None where ONNX Runtime lacks a feature of a GRU."""
        try:
            return self._start()
        except ValueError:
            return None

    def session_for(self, input_feed: Mapping[str, Any]) -> Any:
        """Return the session for a small call, or None for others, and for inputs that have to be checked first."""
        if self._fixed > self._most or len(input_feed) != len(self._open):
            return None
        for name, axes in self._open:
            array = input_feed.get(name)
            if type(array) is not np.ndarray:
                return None
            shape, count = array.shape, 1
            for axis in axes:
                if axis < len(shape):
                    count *= shape[axis]
            if not 0 < count <= self._most:  # ONNX Runtime aborts on none
                return None
        return self._session
