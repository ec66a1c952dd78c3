"""Conversion of a GRU to ONNX: nodes as arrays, and a whole model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._files.atomic_write import whole_file
from rgru._optional_imports import needed
from rgru._validation.scalars import as_bool
from rgru.nn._gate_order import biases_out, cells_of, directions, gates_out

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from rgru._validation.activations import Activation
    from rgru.nn._params import Params
    from rgru.nn._settings import Settings

    NodeArrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, dict[str, Any]]

ONNX_ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Affine": "linear",
    "Softsign": "softsign",
    "Elu": "elu",
}
OPERATOR = ("gate_activation", "activation", "clip", "reverse")
"""The options that the operator GRU has."""
AROUND = ("merge", "learned_h0", "vocabulary", "embedding_size", "recurrent_dropout")
"""Those that other operators around it have, or that only training has."""
OPSET, IR_VERSION = 13, 7
"""Of ONNX 1.8 (2020), the first with Squeeze and Split as they still are."""


def check_symmetric(name: str, gate: Activation) -> None:
    """Refuse a hard sigmoid for which 1 - f(a) is not f(-a): z multiplies the old state in ONNX, the new one here."""
    if isinstance(gate, tuple) and gate[2] != 0.5:
        raise ValueError(
            f"{name}: beta of the gates' hard sigmoid: expected 0.5, got {gate[2]!r}: only this one is symmetric"
        )


def to_onnx_arrays(settings: Settings, params: Params) -> list[NodeArrays]:
    """Return the weights and attributes of the nodes; see `rgru.convert.onnx.to_arrays`."""
    settings._check_only("the operator GRU", *OPERATOR)
    return _nodes(settings, params)


def _nodes(settings: Settings, params: Params) -> list[NodeArrays]:
    check_symmetric("gru.gate_activation", settings.gate_activation)
    attributes: dict[str, Any] = {
        "hidden_size": settings.hidden_size,
        "direction": "bidirectional" if settings.bidirectional else "reverse" if settings.reverse else "forward",
        "linear_before_reset": int(settings.reset_after),
    }
    if (settings.gate_activation, settings.activation) != ("sigmoid", "tanh"):
        attributes |= _activations(settings)
    if settings.clip is not None:
        attributes["clip"] = settings.clip
    nodes = []
    for cells in cells_of(settings, params):
        W, R = (np.stack([gates_out(cell[name], "zrh") for cell in cells]) for name in ("W", "U"))
        B = np.stack([np.concatenate(biases_out(cell, "zrh")) for cell in cells]) if settings.bias else None
        nodes.append((W, R, B, dict(attributes)))
    return nodes


def _activations(settings: Settings) -> dict[str, Any]:
    """Return the attributes for the activations of a GRU."""
    functions = {name: function for function, name in ONNX_ACTIVATIONS.items()}
    attributes: dict[str, Any] = {"activations": [], "activation_alpha": [], "activation_beta": []}
    for value in (settings.gate_activation, settings.activation) * (1 + settings.bidirectional):
        name, *parameters = (value,) if isinstance(value, str) else value
        attributes["activations"].append(functions[str(name)])
        parameters = [1.0, 0.0] if name == "linear" else parameters
        for key, parameter in zip(("activation_alpha", "activation_beta"), parameters, strict=False):
            attributes[key].append(parameter)
    return {key: value for key, value in attributes.items() if value}


def to_onnx(
    settings: Settings, params: Params, path: str | os.PathLike[str], *, lengths: bool = False, h0: bool = False
) -> None:
    """Write the model; see `rgru.convert.onnx.to_onnx`."""
    settings._check_only("ONNX", *OPERATOR, *AROUND)
    model = _Writer(settings).model(params, lengths=as_bool("lengths", lengths), h0=as_bool("h0", h0))
    with whole_file(path) as draft:
        draft.write_bytes(model.SerializeToString())


class _Writer:
    """The parts of a model as they are added."""

    def __init__(self, settings: Settings) -> None:
        self.onnx = needed("onnx", "onnx")
        self.settings = settings
        self.real = self.onnx.helper.np_dtype_to_tensor_dtype(settings.dtype)
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """Add a node, and return its first output."""
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def tensor(self, name: str, value: Any) -> str:
        """Add an initialiser, and return its name; integers are int64."""
        self.tensors.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def model(self, params: Params, *, lengths: bool, h0: bool) -> Any:
        """Return the ModelProto: batch-first inputs and outputs around GRU nodes, whose arrays are time-first."""
        helper, of = self.onnx.helper, self.settings
        cells = 1 + of.bidirectional
        states = self._states(params, given=h0)
        x = self.add("Transpose", [self._features(params)], "x.time_first", perm=[1, 0, 2])
        last = []
        for k, (W, R, B, attributes) in enumerate(_nodes(of, params)):
            arrays = {"W": W, "R": R, "B": B}
            weights = ["" if one is None else self.tensor(f"layers.{k}.{name}", one) for name, one in arrays.items()]
            last.append(f"layers.{k}.h_n" if of.num_layers > 1 else "h_n")
            inputs = [x, *weights, "lengths" if lengths else "", states[k]]
            y = self.add("GRU", inputs, f"layers.{k}.y", last[-1], **attributes)
            x = self._layer_output(y, k)
        self.add("Transpose", [x], "y", perm=[1, 0, 2])
        if of.num_layers > 1:
            self.add("Concat", last, "h_n", axis=0)
        ids = of.vocabulary is not None and of.input_size == 1
        x_shape = ("batch", "time") if ids else ("batch", "time", of.input_size)
        all_states = (of.num_layers * cells, "batch", of.hidden_size)
        inputs_ = [helper.make_tensor_value_info("x", self.onnx.TensorProto.INT64 if ids else self.real, x_shape)]
        if lengths:
            inputs_.append(helper.make_tensor_value_info("lengths", self.onnx.TensorProto.INT32, ("batch",)))
        if h0:
            inputs_.append(helper.make_tensor_value_info("h0", self.real, all_states))
        outputs = [
            helper.make_tensor_value_info("y", self.real, ("batch", "time", of.output_size)),
            helper.make_tensor_value_info("h_n", self.real, all_states),
        ]
        graph = helper.make_graph(self.nodes, "gru", inputs_, outputs, self.tensors)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="rgru",
            producer_version=_core.__version__,
        )

    def _features(self, params: Params) -> str:
        """Return x, with embeddings in the place of ids."""
        of = self.settings
        if of.vocabulary is None:
            return "x"
        table = self.tensor("embedding", params["embedding"])
        if of.input_size == 1:
            return self.add("Gather", [table, "x"], "x.embedded", axis=0)
        sizes, axis = self.tensor("x.sizes", [1, of.input_size - 1]), self.tensor("x.axis", [2])
        self.add("Split", ["x", sizes], "x.first", "x.rest", axis=2)
        self.add("Cast", ["x.first"], "x.integer", to=self.onnx.TensorProto.INT64)
        self.add("Squeeze", ["x.integer", axis], "x.ids")
        self.add("Gather", [table, "x.ids"], "x.embedded", axis=0)
        return self.add("Concat", ["x.embedded", "x.rest"], "x.features", axis=2)

    def _states(self, params: Params, *, given: bool) -> list[str]:
        """Return the initial states of each layer: the input, the learned ones for each sequence, or none."""
        of = self.settings
        layers = range(of.num_layers)
        if given and of.num_layers > 1:
            names = [f"layers.{k}.h0" for k in layers]
            self.add("Split", ["h0", self.tensor("h0.sizes", [1 + of.bidirectional] * of.num_layers)], *names, axis=0)
            return names
        if given or not of.learned_h0:
            return ["h0" if given else ""] * of.num_layers
        batch = self.add("Gather", [self.add("Shape", ["x"], "x.shape"), self.tensor("x.first_axis", [0])], "x.batch")
        one = self.tensor("one", [1])
        shape = self.add("Concat", [one, batch, one], "h0.shape", axis=0)
        names = []
        for k in layers:
            rows = np.stack([params[f"layers.{k}.{direction}.h0"] for direction in directions(of)])
            names.append(self.add("Expand", [self.tensor(f"layers.{k}.rows", rows[:, None]), shape], f"layers.{k}.h0"))
        return names

    def _layer_output(self, y: str, k: int) -> str:
        """Return (T, N, F) of a layer's Y (T, D, N, H)."""
        of, name = self.settings, f"layers.{k}"
        if not of.bidirectional:
            return self.add("Squeeze", [y, self.tensor(f"{name}.axis", [1])], f"{name}.output")
        if of.merge == "sum":
            return self.add("ReduceSum", [y, self.tensor(f"{name}.axis", [1])], f"{name}.output", keepdims=0)
        if of.merge in ("mean", "product"):
            operator = {"mean": "ReduceMean", "product": "ReduceProd"}[of.merge]
            return self.add(operator, [y], f"{name}.output", axes=[1], keepdims=0)
        self.add("Transpose", [y], f"{name}.transposed", perm=[0, 2, 1, 3])
        shape = self.tensor(f"{name}.shape", [0, 0, of.output_size])
        return self.add("Reshape", [f"{name}.transposed", shape], f"{name}.output")
