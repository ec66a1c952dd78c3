"""MATLAB: gruLayer has gates r, z, h, and three modes of the reset gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_choice
from rgru.convert import as_weights, check_shape
from rgru.convert._cells import checked_cell, gru_of_cells, properties
from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from rgru.convert._cells import Converted
    from rgru.nn._gru import GRU

_ARRAYS = ("InputWeights", "RecurrentWeights", "Bias")
_BEFORE, _AFTER, _BIASED = (
    "before-multiplication",
    "after-multiplication",
    "recurrent-bias-after-multiplication",
)
_SETTINGS = {"ResetGateMode": _AFTER, "StateActivationFunction": "tanh", "GateActivationFunction": "sigmoid"}
_GATES = {"sigmoid": "sigmoid", "hard-sigmoid": ("hard_sigmoid", 0.2, 0.5)}


def from_arrays(layers: Any) -> GRU:
    """Make a GRU of the properties of MATLAB's gruLayer objects; needs no MATLAB.

    Parameters
    ----------
    layers : mapping, or list of mappings or of pairs of them
        A layer, or layers from the input on, each also as a pair (forward, reverse), by the names of MATLAB:
        ``InputWeights`` (3H, I), ``RecurrentWeights`` (3H, H), ``Bias`` (3H,) or, in the mode
        ``"recurrent-bias-after-multiplication"``, (6H,), also as columns; optionally ``ResetGateMode``,
        ``StateActivationFunction`` and ``GateActivationFunction``, which have MATLAB's defaults.

    Returns
    -------
    GRU
        A GRU with the layers' cell, sizes, activations and dtype: reset-before in the mode
        ``"before-multiplication"``, and else reset-after.

    Raises
    ------
    ValueError
        If arrays are missing or their sizes do not match, layers differ in their settings, or one has another
        activation than tanh and softsign, or sigmoid and hard-sigmoid for the gates.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.matlab import from_arrays
    >>> shapes = {"InputWeights": (12, 3), "RecurrentWeights": (12, 4), "Bias": (12, 1)}
    >>> from_arrays({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    GRU(3, 4, reset_after=True)
    """
    return gru_of_cells(layers, _cell)


def _cell(name: str, layer: Any) -> Converted:
    found = properties(name, layer, _ARRAYS, _SETTINGS)
    mode = as_choice(f"{name}['ResetGateMode']", found["ResetGateMode"], (_BEFORE, _AFTER, _BIASED))
    state = as_choice(f"{name}['StateActivationFunction']", found["StateActivationFunction"], ("tanh", "softsign"))
    gate = as_choice(f"{name}['GateActivationFunction']", found["GateActivationFunction"], tuple(_GATES))
    names = [f"{name}[{one!r}]" for one in _ARRAYS]
    axes, count = ("(6H,)", 6) if mode == _BIASED else ("(3H,)", 3)
    column = np.shape(found["Bias"])[1:] == (1,)
    bias = as_weights(names[2], np.asarray(found["Bias"])[:, 0] if column else found["Bias"], axes)
    check_shape(names[2], bias, (count * np.shape(found["RecurrentWeights"])[-1],), axes)
    biases = np.split(bias, count // 3)
    arrays = [found["InputWeights"], found["RecurrentWeights"], *biases]
    cell = checked_cell([*names, names[2]][: len(arrays)], arrays, "rzh", reset_after=mode != _BEFORE)
    return cell, {"reset_after": mode != _BEFORE, "activation": state, "gate_activation": _GATES[gate]}


def to_arrays(gru: GRU) -> list[list[dict[str, Any]]]:
    """Convert a GRU, with either cell, into the properties of MATLAB's gruLayer objects; needs no MATLAB.

    Parameters
    ----------
    gru : GRU
        The GRU.

    Returns
    -------
    list of lists of dict
        For each layer its directions, as in `from_arrays`; biases are columns. Save them by ``scipy.io.savemat``.

    Raises
    ------
    ValueError
        If the GRU has an option that MATLAB lacks.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.matlab import to_arrays
    >>> [[layer]] = to_arrays(rgru.GRU(3, 4, reset_after=True))
    >>> layer["Bias"].shape, layer["ResetGateMode"]
    ((24, 1), 'recurrent-bias-after-multiplication')
    """
    gru._check_only("MATLAB", "activation", "gate_activation")
    gates = {value: name for name, value in _GATES.items()}
    for option, known in (("activation", ("tanh", "softsign")), ("gate_activation", tuple(gates))):
        value = getattr(gru, option)
        if value not in known:
            raise ValueError(f"gru.{option}: expected one of {', '.join(map(str, known))}, got {value!r}")
    settings = {
        "ResetGateMode": _BIASED if gru.reset_after else _BEFORE,
        "StateActivationFunction": str(gru.activation),
        "GateActivationFunction": gates[gru.gate_activation],
    }
    layers = []
    for cells in cells_of(gru, gru.params):
        layer = []
        for cell in cells:
            zeros = np.zeros(3 * gru.hidden_size, gru.dtype)
            biases = biases_out(cell, "rzh") if gru.bias else (zeros, zeros)
            bias = np.concatenate(biases if gru.reset_after else biases[:1])[:, None]
            arrays = (gates_out(cell["W"], "rzh"), gates_out(cell["U"], "rzh"), bias)
            layer.append({**dict(zip(_ARRAYS, arrays, strict=True)), **settings})
        layers.append(layer)
    return layers
