"""oneDNN: gates u, r, o, where u multiplies the old state; arrays of the formats ldigo and ldgo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_choice
from rgru.convert import as_weights, check_shape
from rgru.convert._cells import checked_cell, gru_of_converted, properties
from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.convert._cells import Converted
    from rgru.nn._gru import GRU

_SETTINGS = {"bias": None, "algorithm": "vanilla_gru", "direction": "unidirectional_left2right"}
_MERGES = {"bidirectional_concat": "concat", "bidirectional_sum": "sum"}
_DIRECTIONS = ("unidirectional_left2right", "unidirectional_right2left", *_MERGES)


def from_arrays(layers: Any) -> GRU:
    """Make a GRU of the weights of oneDNN's GRU primitives; needs no oneDNN.

    Parameters
    ----------
    layers : mapping or list of mappings
        A primitive, or primitives from the input on: ``weights_layer`` (L, D, I, 3, H), ``weights_iter``
        (L, D, H, 3, H), and optionally ``bias``, (L, D, 3, H) with ``vanilla_gru`` and (L, D, 4, H) with ``lbr_gru``;
        ``algorithm``, by default ``"vanilla_gru"``; ``direction``, by default ``"unidirectional_left2right"``.

    Returns
    -------
    GRU
        A GRU with the primitives' sizes, directions and dtype: reset-before for ``vanilla_gru``, reset-after for
        ``lbr_gru``.

    Raises
    ------
    ValueError
        If arrays are missing or their sizes do not match, such as a bias of ``lbr_gru`` without its fourth part, or
        primitives differ in algorithm or direction.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.onednn import from_arrays
    >>> shapes = {"weights_layer": (1, 1, 3, 3, 4), "weights_iter": (1, 1, 4, 3, 4), "bias": (1, 1, 4, 4)}
    >>> arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    >>> from_arrays({**arrays, "algorithm": "lbr_gru"})
    GRU(3, 4, reset_after=True)
    """
    if not isinstance(layers, (list, tuple)):
        return gru_of_converted(_primitive("layers", layers))
    if not layers:
        raise ValueError("layers: expected at least one primitive, got none")
    return gru_of_converted([cells for k, one in enumerate(layers) for cells in _primitive(f"layers[{k}]", one)])


def _primitive(name: str, primitive: Any) -> list[list[Converted]]:
    """Return the cells of a primitive by layer and direction."""
    found = properties(name, primitive, ("weights_layer", "weights_iter"), _SETTINGS)
    after = as_choice(f"{name}['algorithm']", found["algorithm"], ("vanilla_gru", "lbr_gru")) == "lbr_gru"
    way = as_choice(f"{name}['direction']", found["direction"], _DIRECTIONS)
    names = [f"{name}[{one!r}]" for one in ("weights_layer", "weights_iter", "bias")]
    kernels = as_weights(names[0], found["weights_layer"], "(L, D, I, 3, H)")
    recurrent = as_weights(names[1], found["weights_iter"], "(L, D, H, 3, H)", kernels.dtype)
    directions, hidden = 2 if way in _MERGES else 1, kernels.shape[4]
    shape = (len(kernels), directions)
    check_shape(names[0], kernels, (*shape, kernels.shape[2], 3, hidden), "(L, D, I, 3, H)")
    check_shape(names[1], recurrent, (*shape, hidden, 3, hidden), "(L, D, H, 3, H)")
    gates = 4 if after else 3
    biases = found["bias"]
    if biases is not None:
        biases = as_weights(names[2], biases, f"(L, D, {gates}, H)", kernels.dtype)
        check_shape(names[2], biases, (*shape, gates, hidden), f"(L, D, {gates}, H)")
    options = {"reset_after": after, "reverse": way == "unidirectional_right2left", "merge": _MERGES.get(way, "concat")}

    def cell(k: int, d: int) -> Converted:
        arrays = [part[k, d].reshape(-1, 3 * hidden) for part in (kernels, recurrent)]
        arrays += [] if biases is None else _biases(biases[k, d])
        labels = [*names, names[2]][: len(arrays)]
        return checked_cell(labels, arrays, "zrh", reset_after=after, columns=True), options

    return [[cell(k, d) for d in range(directions)] for k in range(len(kernels))]


def _biases(rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the input and the recurrent bias, (3H,), of the rows u, r, o and, in lbr_gru, the recurrent one of o."""
    if len(rows) == 3:
        return [rows.ravel()]
    return [rows[:3].ravel(), np.concatenate([np.zeros_like(rows[:2]), rows[3:]]).ravel()]


def to_arrays(gru: GRU) -> list[dict[str, Any]]:
    """Convert a GRU, with either cell, into the weights of oneDNN's GRU primitives; needs no oneDNN.

    Parameters
    ----------
    gru : GRU
        The GRU.

    Returns
    -------
    list of dict
        A primitive for each layer, as in `from_arrays`.

    Raises
    ------
    ValueError
        If the GRU has an option that oneDNN lacks.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.onednn import to_arrays
    >>> [primitive] = to_arrays(rgru.GRU(3, 4, reset_after=True))
    >>> primitive["algorithm"], primitive["bias"].shape
    ('lbr_gru', (1, 1, 4, 4))
    """
    gru._check_only("oneDNN", "reverse", "merge")
    if gru.merge not in _MERGES.values():
        raise ValueError(f"gru.merge: expected 'concat' or 'sum', which oneDNN has, got {gru.merge!r}")
    merges = {merge: way for way, merge in _MERGES.items()}
    way = merges[gru.merge] if gru.bidirectional else _DIRECTIONS[gru.reverse]
    primitives = []
    for cells in cells_of(gru, gru.params):
        primitive: dict[str, Any] = {
            name: np.stack([gates_out(cell[ours], "zrh").T.reshape(-1, 3, gru.hidden_size) for cell in cells])[None]
            for name, ours in (("weights_layer", "W"), ("weights_iter", "U"))
        }
        if gru.bias:
            both = [np.stack(biases_out(cell, "zrh")).reshape(2, 3, -1) for cell in cells]
            rows = [np.concatenate([one[0], one[1, 2:]]) if gru.reset_after else one[0] for one in both]
            primitive["bias"] = np.stack(rows)[None]
        algorithm = "lbr_gru" if gru.reset_after else "vanilla_gru"
        primitives.append(primitive | {"algorithm": algorithm, "direction": way})
    return primitives
