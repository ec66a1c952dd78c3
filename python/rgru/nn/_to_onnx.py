"""Conversion of a GRU to ONNX: nodes as arrays, and a whole model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_bool
from rgru.nn._gate_order import biases_out, cells_of, directions, gates_out
from rgru.nn._onnx_graph import OnnxGraph

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
    lengths, h0 = as_bool("lengths", lengths), as_bool("h0", h0)
    graph = OnnxGraph(settings.dtype)
    x = features(graph, settings, params)
    if lengths:
        graph.input("lengths", "int32", ("batch",))
    states = (settings.num_layers * (1 + settings.bidirectional), "batch", settings.hidden_size)
    if h0:
        graph.input("h0", "real", states)
    y, last = gru_nodes(graph, settings, params, x, lengths=lengths, h0=h0)
    graph.add("Transpose", [y], "y", perm=[1, 0, 2])
    if settings.num_layers > 1:
        graph.add("Concat", last, "h_n", axis=0)
    graph.output("y", ("batch", "time", settings.output_size))
    graph.output("h_n", states)
    graph.write(path, "gru")


def features(graph: OnnxGraph, settings: Settings, params: Params) -> str:
    """Declare the input x of a GRU, and return it time-first, with embeddings in the place of ids."""
    table = None if settings.vocabulary is None else graph.tensor("embedding", params["embedding"])
    if settings.vocabulary is not None and settings.input_size == 1:
        ids = graph.input("x", "int64", ("batch", "time"))
        x = graph.add("Gather", [str(table), ids], "x.embedded", axis=0)
    else:
        x = graph.input("x", "real", ("batch", "time", settings.input_size))
        if table is not None:
            sizes = graph.tensor("x.sizes", [1, settings.input_size - 1])
            graph.add("Split", [x, sizes], "x.first", "x.rest", axis=2)
            integers = graph.cast("x.first", "int64", "x.integer")
            graph.add("Squeeze", [integers, graph.tensor("x.axis", [2])], "x.ids")
            graph.add("Gather", [table, "x.ids"], "x.embedded", axis=0)
            x = graph.add("Concat", ["x.embedded", "x.rest"], "x.features", axis=2)
    return graph.add("Transpose", [x], "x.time_first", perm=[1, 0, 2])


def gru_nodes(
    graph: OnnxGraph, settings: Settings, params: Params, x: str, prefix: str = "", *, lengths: bool, h0: bool
) -> tuple[str, list[str]]:
    """Add the nodes of a GRU over x (T, N, K).

    Parameters
    ----------
    graph : OnnxGraph
        With the inputs ``x``, batch first, and where they are asked for ``lengths`` and ``h0``.
    settings, params
        Of the GRU.
    x : str
        The input, with embeddings in the place of ids.
    prefix : str
        What names of values begin with.
    lengths, h0 : bool
        Whether to read these inputs.

    Returns
    -------
    y : str
        The outputs (T, N, D*H).
    last : list of str
        The final states (D, N, H) of each layer.

    Raises
    ------
    ValueError
        If the GRU has an option that ONNX lacks.
    """
    settings._check_only("ONNX", *OPERATOR, *AROUND)
    states, last = _states(graph, settings, params, prefix, given=h0), []
    for k, (W, R, B, attributes) in enumerate(_nodes(settings, params)):
        name = f"{prefix}layers.{k}"
        arrays = {"W": W, "R": R, "B": B}
        weights = ["" if one is None else graph.tensor(f"{name}.{key}", one) for key, one in arrays.items()]
        last.append(f"{name}.h_n" if settings.num_layers > 1 else f"{prefix}h_n")
        inputs = [x, *weights, "lengths" if lengths else "", states[k]]
        y = graph.add("GRU", inputs, f"{name}.y", last[-1], **attributes)
        x = merged(graph, settings, y, f"{name}.output", axis=1)
    return x, last


def merged(graph: OnnxGraph, settings: Settings, values: str, output: str, *, axis: int) -> str:
    """Add nodes that merge the directions of Y (T, D, N, H) with axis 1, or of states (D, N, H) with axis 0."""
    if not settings.bidirectional:
        return graph.add("Squeeze", [values, graph.tensor(f"{output}.axis", [axis])], output)
    if settings.merge == "sum":
        return graph.add("ReduceSum", [values, graph.tensor(f"{output}.axis", [axis])], output, keepdims=0)
    if settings.merge in ("mean", "product"):
        operator = {"mean": "ReduceMean", "product": "ReduceProd"}[settings.merge]
        return graph.add(operator, [values], output, axes=[axis], keepdims=0)
    perm = [0, 2, 1, 3] if axis else [1, 0, 2]
    transposed = graph.add("Transpose", [values], f"{output}.transposed", perm=perm)
    shape = graph.tensor(f"{output}.shape", [0] * (axis + 1) + [settings.output_size])
    return graph.add("Reshape", [transposed, shape], output)


def _states(graph: OnnxGraph, settings: Settings, params: Params, prefix: str, *, given: bool) -> list[str]:
    """Return the initial states of each layer: the input, the learned ones for each sequence, or none."""
    layers = range(settings.num_layers)
    if given and settings.num_layers > 1:
        names = [f"{prefix}layers.{k}.h0" for k in layers]
        sizes = graph.tensor(f"{prefix}h0.sizes", [1 + settings.bidirectional] * settings.num_layers)
        graph.add("Split", ["h0", sizes], *names, axis=0)
        return names
    if given or not settings.learned_h0:
        return ["h0" if given else ""] * settings.num_layers
    axis, one = graph.tensor(f"{prefix}h0.axis", [0]), graph.tensor(f"{prefix}h0.one", [1])
    batch = graph.add("Gather", [graph.add("Shape", ["x"], f"{prefix}x.shape"), axis], f"{prefix}x.batch")
    shape = graph.add("Concat", [one, batch, one], f"{prefix}h0.shape", axis=0)
    names = []
    for k in layers:
        name = f"{prefix}layers.{k}"
        rows = np.stack([params[f"layers.{k}.{direction}.h0"] for direction in directions(settings)])
        names.append(graph.add("Expand", [graph.tensor(f"{name}.rows", rows[:, None]), shape], f"{name}.h0"))
    return names
