"""The weights and attributes of ONNX GRU nodes, as arrays and a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.activations import as_activation
from rgru._validation.scalars import as_choice, as_clip, as_int
from rgru.convert import as_parts, as_weights, check_setting, check_shape, gru_of
from rgru.nn._gate_order import cell_in
from rgru.nn._to_onnx import ONNX_ACTIVATIONS, check_symmetric, to_onnx_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rgru._validation.activations import Activation
    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU

_PARAMETERS = {"HardSigmoid": (0.2, 0.5), "Affine": (0.0, 0.0), "Elu": (1.0, None)}
"""The default alpha and beta of the activations that have them; those of Affine are ONNX Runtime's."""

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
        If the sizes of layers do not match, or a node has a feature that rgru lacks: another activation of the gates
        than Sigmoid and HardSigmoid with ``beta=0.5``, another of the candidate than these, Tanh, Relu, Softsign, Elu
        and Affine with a given ``alpha=1`` and ``beta=0``, different ones in the two directions or in layers, or an
        attribute that the operator GRU does not have.

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
    layers, afters, options = [], [], []
    for k, (W, R, B, attributes) in enumerate(as_parts("nodes", nodes, "(W, R, B, attributes)")):
        settings = _settings(f"nodes[{k}].attributes", attributes)
        after = as_int(f"nodes[{k}].attributes['linear_before_reset']", settings["linear_before_reset"], 0, 1)
        afters.append(after)
        options.append(_options(f"nodes[{k}].attributes", settings))
        for option, value in options[-1].items():
            check_setting(f"nodes[{k}].attributes: {option}", value, options[0][option], "all layers of a GRU share it")
        check_setting(
            f"nodes[{k}].attributes['linear_before_reset']", after, afters[0], "all layers of a GRU have the same cell"
        )
        layers.append(_cells(f"nodes[{k}]", W, R, B, settings))
    return gru_of("nodes", layers, reset_after=bool(afters[0]), **options[0])


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

    Raises
    ------
    ValueError
        If the GRU has an option that the operator lacks: ``state_clip``, ``merge`` or ``learned_h0``. For learned
        initial states, pass them as the node's input ``initial_h``; `to_onnx` does.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.onnx import from_arrays, to_arrays
    >>> [(W, R, B, attributes)] = to_arrays(rgru.GRU(3, 4))
    >>> W.shape, R.shape, B.shape, attributes
    ((1, 12, 3), (1, 12, 4), (1, 24), {'hidden_size': 4, 'direction': 'forward', 'linear_before_reset': 0})
    """
    return to_onnx_arrays(gru, gru.params)


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
    as_choice(f"{name}['direction']", direction, ("forward", "reverse", "bidirectional"))
    as_int(f"{name}['layout']", settings["layout"], 0, 1)
    return settings


def _options(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the GRU that attributes stand for."""
    directions = 1 + (settings["direction"] == "bidirectional")
    names = settings["activations"] or ["Sigmoid", "Tanh"] * directions
    if not isinstance(names, list) or len(names) != 2 * directions:
        raise ValueError(f"{name}['activations']: expected {2 * directions} names, got {names!r}")
    # Values are consumed by the functions that have parameters, in their order.
    left = {key: list(settings[f"activation_{key}"]) for key in ("alpha", "beta")}
    found: list[Activation] = []
    for one in names:
        if one not in ONNX_ACTIVATIONS:
            raise ValueError(f"{name}['activations']: expected one of {', '.join(ONNX_ACTIVATIONS)}, got {one!r}")
        values = [
            float(left[key].pop(0) if left[key] else usual)
            for key, usual in zip(("alpha", "beta"), _PARAMETERS.get(one, ()), strict=False)
            if usual is not None
        ]
        if one == "Affine":
            check_setting(f"{name}['activations']: alpha and beta of Affine", values, [1.0, 0.0], "rgru has no other")
            values = []
        found.append((ONNX_ACTIVATIONS[one], *values) if values else ONNX_ACTIVATIONS[one])
    for key, rest in left.items():
        check_setting(f"{name}['activation_{key}']: values without a function that has them", rest, [], "ambiguous")
    check_setting(
        f"{name}['activations'] of the reverse direction", found[2:], found[2:] and found[:2], "must be equal"
    )
    gate = as_activation(f"{name}['activations']", found[0], gate=True)
    check_symmetric(f"{name}['activations']", gate)
    return {
        "gate_activation": gate,
        "activation": as_activation(f"{name}['activations']", found[1], gate=False),
        "clip": as_clip(f"{name}['clip']", settings["clip"]),
        "reverse": settings["direction"] == "reverse",
    }


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
