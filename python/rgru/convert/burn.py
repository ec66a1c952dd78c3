"""burn: a linear layer for each gate and side, with weights (in, out); reset-after by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_bool
from rgru.convert import as_weights, check_shape
from rgru.convert._cells import checked_cell, gru_of_cells, properties
from rgru.convert._trees import flat
from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.convert._cells import Converted
    from rgru.nn._gru import GRU

_GATES = ("update_gate", "reset_gate", "new_gate")
_SIDES = ("input_transform", "hidden_transform")
_WEIGHTS = [f"{gate}.{side}.weight" for gate in _GATES for side in _SIDES]
_BIASES = [f"{gate}.{side}.bias" for gate in _GATES for side in _SIDES]
_OPTIONAL = {**dict.fromkeys(_BIASES), "reset_after": True, "clip": None}


def from_arrays(layers: Any) -> GRU:
    """Make a GRU of the record of burn's Gru modules; needs no burn.

    Parameters
    ----------
    layers : mapping, or list of mappings or of pairs of them
        A module, or modules from the input on, each also as a pair (forward, reverse), with the names of its record:
        ``{update_gate|reset_gate|new_gate}.{input_transform|hidden_transform}.{weight|bias}`` as arrays (I, H) or
        (H, H) and (H,), or the same as nested mappings; optionally ``reset_after`` and ``clip``, the fields of the
        module, by default True and None.

    Returns
    -------
    GRU
        A GRU with the modules' cell, sizes, clip of the states and dtype.

    Raises
    ------
    ValueError
        If arrays are missing or their sizes do not match, or modules differ in their cell or clip.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.burn import from_arrays, to_arrays
    >>> from_arrays(to_arrays(rgru.GRU(3, 4)))
    GRU(3, 4)
    """
    return gru_of_cells(layers, _cell)


def _cell(name: str, module: Any) -> Converted:
    found = properties(name, flat(module) if hasattr(module, "keys") else module, _WEIGHTS, _OPTIONAL)
    after = as_bool(f"{name}['reset_after']", found["reset_after"])
    first = as_weights(f"{name}[{_WEIGHTS[0]!r}]", found[_WEIGHTS[0]], "(I, H)")
    inputs, hidden = first.shape

    def bias(gate: str, side: str) -> NDArray[Any]:
        label = f"{gate}.{side}.bias"
        array = as_weights(f"{name}[{label!r}]", found[label], "(H,)", first.dtype)
        check_shape(f"{name}[{label!r}]", array, (hidden,), "(H,)")
        return array

    arrays: list[NDArray[Any]] = []
    for side, rows in zip(_SIDES, (inputs, hidden), strict=True):
        blocks = []
        for gate in _GATES:
            label = f"{name}['{gate}.{side}.weight']"
            blocks.append(as_weights(label, found[f"{gate}.{side}.weight"], "(in, H)", first.dtype))
            check_shape(label, blocks[-1], (rows, hidden), "(in, H)")
        arrays.append(np.concatenate(blocks, 1))
    if any(found[one] is not None for one in _BIASES):
        arrays += [np.concatenate([bias(gate, side) for gate in _GATES]) for side in _SIDES]
    names = [f"{name}: {one}" for one in ("input weights", "hidden weights", "input biases", "hidden biases")]
    cell = checked_cell(names[: len(arrays)], arrays, "zrh", reset_after=after, columns=True)
    return cell, {"reset_after": after, "state_clip": found["clip"]}


def to_arrays(gru: GRU) -> list[list[dict[str, Any]]]:
    """Convert a GRU, with either cell, into the records of burn's Gru modules; needs no burn.

    Parameters
    ----------
    gru : GRU
        The GRU.

    Returns
    -------
    list of lists of dict
        For each layer its directions, as in `from_arrays`.

    Raises
    ------
    ValueError
        If the GRU has an option that burn lacks.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.burn import to_arrays
    >>> [[module]] = to_arrays(rgru.GRU(3, 4))
    >>> module["new_gate.input_transform.weight"].shape, module["reset_after"]
    ((3, 4), False)
    """
    gru._check_only("burn", "state_clip")
    layers = []
    for cells in cells_of(gru, gru.params):
        layer = []
        for cell in cells:
            module: dict[str, Any] = {"reset_after": gru.reset_after, "clip": gru.state_clip}
            parts = {"weight": [gates_out(cell[name], "zrh") for name in ("W", "U")]}
            if gru.bias:
                parts["bias"] = list(biases_out(cell, "zrh"))
            for kind, sides in parts.items():
                for side, rows in zip(_SIDES, sides, strict=True):
                    for gate, block in zip(_GATES, np.split(rows, 3), strict=True):
                        module[f"{gate}.{side}.{kind}"] = block.T
            layer.append(module)
        layers.append(layer)
    return layers
