"""Conversion of a model to ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgru._validation.scalars import as_bool
from rgru.model._activation import Activation, Dropout
from rgru.model._layer_norm import LayerNorm
from rgru.model._linear import Linear
from rgru.nn._gru import GRU
from rgru.nn._onnx_graph import NORMALISATION, OnnxGraph
from rgru.nn._to_onnx import ONNX_ACTIVATIONS, features, gru_nodes, merged

if TYPE_CHECKING:
    import os

    from rgru.model._chain import Chain
    from rgru.model._pool import Pool

_OPERATORS = {name: operator for operator, name in ONNX_ACTIVATIONS.items()} | {"leaky_relu": "LeakyRelu"}


def to_onnx(chain: Chain, path: str | os.PathLike[str], *, lengths: bool) -> None:
    """Write the model; see `rgru.Model.to_onnx`."""
    writer = _Writer(chain, lengths=as_bool("lengths", lengths))
    writer.layers()
    writer.finish()
    writer.graph.write(path, "model")


class _Writer:
    """The layers of a model as nodes over steps, time first (T, N, K), and once they are pooled over rows (N, K)."""

    def __init__(self, chain: Chain, *, lengths: bool) -> None:
        self._chain, self._lengths = chain, lengths
        self.graph = OnnxGraph(chain.dtype)
        self._x = self._input()
        self._last: tuple[GRU, str] | None = None
        """The last GRU, and the final states (D, N, H) of its last layer."""
        self._valid = ""
        """Which steps (T, N, 1) are not padding, once they are known."""

    def _input(self) -> str:
        first = self._chain.layers[0]
        if isinstance(first, GRU):
            x = features(self.graph, first, first.params)
        else:
            x = self.graph.input("x", "real", ("batch", "time", self._chain.input_size))
            x = self.graph.add("Transpose", [x], "x.time_first", perm=[1, 0, 2])
        if self._lengths:
            self.graph.input("lengths", "int32", ("batch",))
        return x

    def layers(self) -> None:
        """Add the nodes of all layers."""
        for i, layer in enumerate(self._chain.layers):
            if isinstance(layer, Dropout):
                continue
            if isinstance(layer, GRU):
                self._gru(layer, f"{i}.")
            elif isinstance(layer, Linear):
                self._linear(layer, f"{i}.")
            elif isinstance(layer, LayerNorm):
                self._layer_norm(layer, f"{i}.")
            elif isinstance(layer, Activation):
                self._activation(layer, f"{i}.")
            else:
                self._pool(layer, f"{i}.")

    def finish(self) -> None:
        """Declare the output."""
        if not self._chain.every:
            self.graph.add("Identity", [self._x], "y")
            self.graph.output("y", ("batch", self._chain.output_size))
            return
        y = self._where_valid(self._x, 0.0, "y.valid") if self._lengths else self._x
        self.graph.add("Transpose", [y], "y", perm=[1, 0, 2])
        self.graph.output("y", ("batch", "time", self._chain.output_size))

    def _gru(self, gru: GRU, name: str) -> None:
        self._x, last = gru_nodes(self.graph, gru, gru.params, self._x, name, lengths=self._lengths, h0=False)
        self._last = gru, last[-1]

    def _linear(self, layer: Linear, name: str) -> None:
        weight = self.graph.tensor(f"{name}weight", layer.weight.T)
        self._x = self.graph.add("MatMul", [self._x, weight], f"{name}product")
        if layer.bias is not None:
            self._x = self.graph.add("Add", [self._x, self.graph.tensor(f"{name}bias", layer.bias)], f"{name}output")

    def _layer_norm(self, layer: LayerNorm, name: str) -> None:
        self.graph.versions = NORMALISATION
        weights = [self.graph.tensor(f"{name}{key}", array) for key, array in layer._tensors.items()]
        self._x = self.graph.add("LayerNormalization", [self._x, *weights], f"{name}output", epsilon=layer.epsilon)

    def _activation(self, layer: Activation, name: str) -> None:
        kind, *parameters = (layer.activation,) if isinstance(layer.activation, str) else layer.activation
        if kind == "silu":
            gate = self.graph.add("Sigmoid", [self._x], f"{name}gate")
            self._x = self.graph.add("Mul", [self._x, gate], f"{name}output")
        elif kind == "softmax":
            self._x = self.graph.add("Softmax", [self._x], f"{name}output", axis=-1)
        elif kind == "clip":
            limits = [
                "" if one is None else self._scalar(one, f"{name}{key}")  # type: ignore[arg-type]
                for key, one in zip(("low", "high"), parameters, strict=True)
            ]
            self._x = self.graph.add("Clip", [self._x, *limits], f"{name}output")
        elif kind != "linear":
            attributes = dict(zip(("alpha", "beta"), parameters, strict=False))
            self._x = self.graph.add(_OPERATORS[str(kind)], [self._x], f"{name}output", **attributes)

    # -- pooling ---------------------------------------------------------------------------------------------------

    def _pool(self, layer: Pool, name: str) -> None:
        if layer.kind == "last":
            assert self._last is not None
            gru, states = self._last
            self._x = merged(self.graph, gru, states, f"{name}output", axis=0)
        elif layer.kind == "max":
            self._x = self._max(name)
        else:
            self._x = self._mean(name)

    def _max(self, name: str) -> str:
        if not self._lengths:
            return self.graph.add("ReduceMax", [self._x], f"{name}output", axes=[0], keepdims=0)
        steps = self._where_valid(self._x, -np.inf, f"{name}steps")
        largest = self.graph.add("ReduceMax", [steps], f"{name}largest", axes=[0], keepdims=0)
        column = self.graph.add("Unsqueeze", ["lengths", self.graph.tensor(f"{name}axis", [1])], f"{name}lengths")
        some = self.graph.cast(column, "bool", f"{name}some")
        return self.graph.add("Where", [some, largest, self._scalar(0.0, f"{name}zero")], f"{name}output")

    def _mean(self, name: str) -> str:
        if not self._lengths:
            return self.graph.add("ReduceMean", [self._x], f"{name}output", axes=[0], keepdims=0)
        steps = self._where_valid(self._x, 0.0, f"{name}steps")
        axes = self.graph.tensor(f"{name}axes", [0])
        total = self.graph.add("ReduceSum", [steps, axes], f"{name}total", keepdims=0)
        column = self.graph.add("Unsqueeze", ["lengths", self.graph.tensor(f"{name}axis", [1])], f"{name}lengths")
        counts = self.graph.cast(column, "real", f"{name}counts")
        counts = self.graph.add("Max", [counts, self._scalar(1.0, f"{name}one")], f"{name}divisors")
        return self.graph.add("Div", [total, counts], f"{name}output")

    def _where_valid(self, x: str, otherwise: float, output: str) -> str:
        """Add nodes that put a number in the place of padding."""
        if not self._valid:
            tensor, add = self.graph.tensor, self.graph.add
            time = add("Gather", [add("Shape", ["x"], "x.shape"), tensor("x.time_axis", 1)], "x.time")
            steps = add("Range", [tensor("x.begin", 0), time, tensor("x.step", 1)], "x.steps")
            steps = add("Unsqueeze", [steps, tensor("x.step_axes", [1])], "x.step_column")
            lengths = self.graph.cast("lengths", "int64", "x.lengths")
            valid = add("Less", [steps, lengths], "x.valid_steps")
            self._valid = add("Unsqueeze", [valid, tensor("x.feature_axis", [2])], "x.valid")
        return self.graph.add("Where", [self._valid, x, self._scalar(otherwise, f"{output}.otherwise")], output)

    def _scalar(self, value: float, name: str) -> str:
        return self.graph.tensor(name, np.array(value, self._chain.dtype))
