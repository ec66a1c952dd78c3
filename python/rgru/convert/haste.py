"""haste: reset-after, gates z, r, h, kernels (in, out)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert import check_setting
from rgru.convert._cells import checked_cell, gru_of_cells, properties
from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from rgru.convert._cells import Converted
    from rgru.nn._gru import GRU

_ARRAYS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")


def from_arrays(layers: Any) -> GRU:
    """Make a GRU of the arrays of haste's GRU layers; needs no haste.

    Parameters
    ----------
    layers : mapping, or list of mappings or of pairs of them
        A layer, or layers from the input on, each also as a pair (forward, reverse): ``kernel`` (I, 3H),
        ``recurrent_kernel`` (H, 3H), ``bias`` and ``recurrent_bias`` (3H,), and optionally ``zoneout``.

    Returns
    -------
    GRU
        A reset-after GRU with the layers' sizes, zoneout and dtype.

    Raises
    ------
    ValueError
        If arrays are missing or their sizes do not match, layers differ in zoneout, or there is another array, such as
        ``gamma`` of a normalised layer.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.haste import from_arrays
    >>> kernels = {"kernel": np.zeros((3, 12), np.float32), "recurrent_kernel": np.zeros((4, 12), np.float32)}
    >>> biases = {"bias": np.zeros(12, np.float32), "recurrent_bias": np.zeros(12, np.float32)}
    >>> from_arrays(kernels | biases)
    GRU(3, 4, reset_after=True)
    """
    return gru_of_cells(layers, _cell)


def _cell(name: str, cell: Any) -> Converted:
    found = properties(name, cell, _ARRAYS, {"zoneout": 0.0})
    names, arrays = [f"{name}[{one!r}]" for one in _ARRAYS], [found[one] for one in _ARRAYS]
    converted = checked_cell(names, arrays, "zrh", reset_after=True, columns=True)
    return converted, {"reset_after": True, "zoneout": found["zoneout"]}


def to_arrays(gru: GRU) -> list[list[dict[str, Any]]]:
    """Convert a reset-after GRU into the arrays of haste's GRU layers; needs no haste.

    Parameters
    ----------
    gru : GRU
        A GRU with ``reset_after=True``.

    Returns
    -------
    list of lists of dict
        For each layer its directions, as in `from_arrays`; ``zoneout`` is there if the GRU has it.

    Raises
    ------
    ValueError
        If the GRU is reset-before, or has an option that haste lacks.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.haste import to_arrays
    >>> [[layer]] = to_arrays(rgru.GRU(3, 4, reset_after=True))
    >>> {name: array.shape for name, array in layer.items()}
    {'kernel': (3, 12), 'recurrent_kernel': (4, 12), 'bias': (12,), 'recurrent_bias': (12,)}
    """
    check_setting("gru.reset_after", gru.reset_after, True, "haste has no other cell")
    gru._check_only("haste", "zoneout")
    layers = []
    for cells in cells_of(gru, gru.params):
        layer = []
        for cell in cells:
            zeros = np.zeros(3 * gru.hidden_size, gru.dtype)
            biases = biases_out(cell, "zrh") if gru.bias else (zeros, zeros)
            arrays = (gates_out(cell["W"], "zrh").T, gates_out(cell["U"], "zrh").T, *biases)
            settings = {"zoneout": gru.zoneout} if gru.zoneout else {}
            layer.append({**dict(zip(_ARRAYS, arrays, strict=True)), **settings})
        layers.append(layer)
    return layers
