"""ONNX: the operator GRU has gates z, r, h and is reset-before by default (linear_before_reset=0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_int
from rgru.convert import as_parts, as_weights, check_setting, check_shape, gru_of
from rgru.nn._gate_order import biases_out, cell_in, cells_of, gates_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU

_DEFAULTS: dict[str, Any] = {
    "activation_alpha": [],
    "activation_beta": [],
    "activations": [],
    "clip": None,
    "direction": "forward",
    "hidden_size": None,
    "layout": 0,
    "linear_before_reset": 0,
}


def from_arrays(nodes: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike | None, Mapping[str, Any]]]) -> GRU:
    """Make a GRU of the weights and attributes of ONNX GRU nodes; needs no ONNX.

    Parameters
    ----------
    nodes : list of (W, R, B, attributes)
        One node for each layer, from the input on: its inputs W (D, 3H, I), R (D, 3H, H) and B (D, 6H), with input
        biases before recurrent ones, or None; and its attributes by name, as returned by
        ``{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}``. Absent attributes have the defaults of
        ONNX.

    Returns
    -------
    GRU
        A GRU with the nodes' cell (reset-after for ``linear_before_reset=1``), sizes and dtype. ``layout`` has no
        effect: rgru is always batch first.

    Raises
    ------
    ValueError
        If the sizes of layers do not match, or a node has a feature that rgru lacks: ``activations`` other than Sigmoid
        and Tanh (or ``activation_alpha``, ``activation_beta``), ``clip``, ``direction="reverse"``, or an attribute that
        the operator GRU does not have.

    Notes
    -----
    Some PyTorch exporters omit ``linear_before_reset=1``, and nothing in the file shows it. PyTorch's GRU always has
    it.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.onnx import from_arrays
    >>> W, R = np.zeros((1, 12, 3), np.float32), np.zeros((1, 12, 4), np.float32)
    >>> from_arrays([(W, R, None, {"hidden_size": 4, "linear_before_reset": 1})])
    GRU(3, 4, reset_after=True, bias=False)
    """
    layers, afters = [], []
    for k, (W, R, B, attributes) in enumerate(as_parts("nodes", nodes, "(W, R, B, attributes)")):
        settings = _settings(f"nodes[{k}].attributes", attributes)
        after = as_int(f"nodes[{k}].attributes['linear_before_reset']", settings["linear_before_reset"], 0, 1)
        afters.append(after)
        check_setting(
            f"nodes[{k}].attributes['linear_before_reset']", after, afters[0], "all layers of a GRU have the same cell"
        )
        layers.append(_cells(f"nodes[{k}]", W, R, B, settings))
    return gru_of("nodes", layers, reset_after=bool(afters[0]))


def to_arrays(gru: GRU) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, dict[str, Any]]]:
    """Convert a GRU, with either cell, into the weights and attributes of ONNX GRU nodes; needs no ONNX.

    Parameters
    ----------
    gru : GRU
        The GRU.

    Returns
    -------
    list of (W, R, B, attributes)
        Nodes as in `from_arrays`, for ``onnx.helper.make_node("GRU", inputs, outputs, **attributes)``.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.onnx import from_arrays, to_arrays
    >>> [(W, R, B, attributes)] = to_arrays(rgru.GRU(3, 4))
    >>> W.shape, R.shape, B.shape, attributes
    ((1, 12, 3), (1, 12, 4), (1, 24), {'hidden_size': 4, 'direction': 'forward', 'linear_before_reset': 0})
    """
    attributes = {
        "hidden_size": gru.hidden_size,
        "direction": "bidirectional" if gru.bidirectional else "forward",
        "linear_before_reset": int(gru.reset_after),
    }
    nodes = []
    for cells in cells_of(gru, gru.params):
        W, R = (np.stack([gates_out(cell[name], "zrh") for cell in cells]) for name in ("W", "U"))
        B = np.stack([np.concatenate(biases_out(cell, "zrh")) for cell in cells]) if gru.bias else None
        nodes.append((W, R, B, dict(attributes)))
    return nodes


def _settings(name: str, attributes: Any) -> dict[str, Any]:
    """Return all attributes of a node, with defaults, after a check that rgru supports them."""
    if not isinstance(attributes, Mapping):
        raise TypeError(f"{name}: expected a dict of names and values, got {type(attributes).__name__}")
    unknown = [repr(key) for key in attributes if key not in _DEFAULTS]
    if unknown:
        names = ", ".join(_DEFAULTS)
        raise ValueError(f"{name}: expected those of the operator GRU ({names}), got {', '.join(unknown)}")
    settings = _DEFAULTS | {key: _plain(value) for key, value in attributes.items()}
    direction = settings["direction"]
    if direction not in ("forward", "bidirectional"):
        hint = ": convert it as 'forward', and reverse x and y in time" if direction == "reverse" else ""
        raise ValueError(f"{name}['direction']: expected 'forward' or 'bidirectional', got {direction!r}{hint}")
    as_int(f"{name}['layout']", settings["layout"], 0, 1)
    activations = ["Sigmoid", "Tanh"] * (1 + (direction == "bidirectional"))
    check_setting(f"{name}['activations']", settings["activations"] or activations, activations, "rgru has no other")
    for key in ("activation_alpha", "activation_beta"):
        check_setting(f"{name}['{key}']", settings[key], [], "Sigmoid and Tanh have none")
    check_setting(f"{name}['clip']", settings["clip"], None, "rgru does not clip")
    return settings


def _plain(value: Any) -> Any:
    """Convert an attribute's value: bytes to a string, and any sequence to a list."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (str, int, float, np.generic)) or value is None:
        return value
    return [_plain(one) for one in value]


def _cells(name: str, W: Any, R: Any, B: Any, settings: Mapping[str, Any]) -> list[CellArrays]:
    kernels = as_weights(f"{name}.W", W, "(D, 3H, I)")
    recurrent = as_weights(f"{name}.R", R, "(D, 3H, H)", kernels.dtype)
    directions = 1 + (settings["direction"] == "bidirectional")
    hidden = recurrent.shape[2]
    if settings["hidden_size"] is not None:
        hidden = as_int(f"{name}.attributes['hidden_size']", settings["hidden_size"], 1)
    check_shape(f"{name}.W", kernels, (directions, 3 * hidden, kernels.shape[2]), "(D, 3H, I)")
    check_shape(f"{name}.R", recurrent, (directions, 3 * hidden, hidden), "(D, 3H, H)")
    after = bool(settings["linear_before_reset"])
    if B is None:
        return [cell_in(kernels[d], recurrent[d], [], "zrh", after) for d in range(directions)]
    biases = as_weights(f"{name}.B", B, "(D, 6H)", kernels.dtype)
    check_shape(f"{name}.B", biases, (directions, 6 * hidden), "(D, 6H)")
    return [cell_in(kernels[d], recurrent[d], np.split(biases[d], 2), "zrh", after) for d in range(directions)]
