"""Flax: GRUCell of linen and of nnx, both reset-after; kernels (in, out), in linen one for each gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_choice
from rgru.convert import as_weights, check_setting, check_shape, widened
from rgru.convert._cells import checked_cell, gru_of_cells, properties
from rgru.convert._trees import flat
from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from rgru.convert._cells import Converted
    from rgru.nn._gru import GRU

_ORDER = "rzh"
_LINEN = [f"{side}{gate}.kernel" for side in "ih" for gate in "rzn"]
_LINEN_BIASES = ("ir.bias", "iz.bias", "in.bias", "hn.bias")
_NNX = ("dense_i.kernel", "dense_h.kernel", "dense_i.bias")


def from_params(params: Any) -> GRU:
    """Make a GRU of the parameters of Flax's GRUCell, of linen or nnx; needs no Flax.

    Parameters
    ----------
    params : mapping, or list of mappings or of pairs of them
        The parameters of a cell, or of cells from the input on, each also as a pair (forward, reverse). With linen,
        ``{"ir": {"kernel", "bias"}, "hr": {"kernel"}, ...}`` as ``init`` returns it; with nnx, ``nnx.state(cell)`` or
        a dict of it. They may be within ``"params"``, within ``"cell"``, as those of an RNN, and within
        ``"forward_rnn"`` and ``"backward_rnn"``, as those of a Bidirectional.

    Returns
    -------
    GRU
        A reset-after GRU with the cells' sizes and dtype; float16 and bfloat16 become float32.

    Raises
    ------
    ValueError
        If arrays are missing, there are others, such as those of another cell, or their sizes do not match.

    Notes
    -----
    Parameters do not tell the functions of a cell: it must have the usual ones, sigmoid and tanh.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.flax import from_params
    >>> inputs = {"kernel": np.zeros((3, 12), np.float32), "bias": np.zeros(12, np.float32)}
    >>> from_params({"dense_i": inputs, "dense_h": {"kernel": np.zeros((4, 12), np.float32)}})
    GRU(3, 4, reset_after=True)
    """
    if isinstance(params, (list, tuple)):
        return gru_of_cells([_directions(one) for one in params], _cell)
    cells = _directions(params)
    return gru_of_cells([cells] if isinstance(cells, list) else cells, _cell)


def _directions(layer: Any) -> Any:
    """Return the cells of a layer: as a pair if it is a Bidirectional's."""
    while hasattr(layer, "keys") and "params" in layer:
        layer = layer["params"]
    names = ("forward_rnn", "backward_rnn")
    return [layer[name] for name in names] if hasattr(layer, "keys") and all(one in layer for one in names) else layer


def _cell(name: str, cell: Any) -> Converted:
    while hasattr(cell, "keys") and ("params" in cell or "cell" in cell):
        cell = cell["params" if "params" in cell else "cell"]
    arrays = flat(cell) if hasattr(cell, "keys") else cell
    is_nnx = isinstance(arrays, dict) and any(one in arrays for one in _NNX)
    required = _NNX if is_nnx else (*_LINEN, *_LINEN_BIASES)
    found = {one: widened(np.asarray(array)) for one, array in properties(name, arrays, required, {}).items()}
    if is_nnx:
        names, values = list(_NNX), [found[one] for one in _NNX]
        converted = checked_cell([f"{name}[{one!r}]" for one in names], values, _ORDER, reset_after=True, columns=True)
        return converted | {"b_hh": np.zeros(converted["U"].shape[1], converted["U"].dtype)}, {"reset_after": True}
    for one, array in found.items():
        like = found["hn.bias"] if one.endswith("bias") else found[f"{one[0]}r.kernel"]
        label = f"{name}[{one!r}]"
        check_shape(label, as_weights(label, array, "(H,)" if array.ndim == 1 else "(in, H)"), like.shape, "as in r")
    kernels = [np.concatenate([found[f"{side}{gate}.kernel"] for gate in "rzn"], 1) for side in "ih"]
    zeros = np.zeros_like(found["hn.bias"])
    biases = [
        np.concatenate([found[f"i{gate}.bias"] for gate in "rzn"]),
        np.concatenate([zeros, zeros, found["hn.bias"]]),
    ]
    names = [f"{name}: {one}" for one in ("kernels i", "kernels h", "biases i", "biases h")]
    return checked_cell(names, [*kernels, *biases], _ORDER, reset_after=True, columns=True), {"reset_after": True}


def to_params(gru: GRU, form: str = "linen") -> list[list[dict[str, Any]]]:
    """Convert a reset-after GRU into the parameters of Flax's GRUCell; needs no Flax.

    Parameters
    ----------
    gru : GRU
        A GRU with ``reset_after=True``.
    form : {"linen", "nnx"}, default "linen"
        The library of Flax.

    Returns
    -------
    list of lists of dict
        For each layer its directions, each the parameters of a cell as nested dictionaries of NumPy arrays: for
        ``cell.apply({"params": params}, ...)`` of linen, or ``nnx.update(cell, params)``.

    Raises
    ------
    ValueError
        If the GRU is reset-before, has an option that Flax lacks, or with nnx has a recurrent bias ``b_hh`` that is not
        zero, which those cells do not have.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.flax import to_params
    >>> [[params]] = to_params(rgru.GRU(3, 4, reset_after=True))
    >>> list(params), params["in"]["kernel"].shape
    (['ir', 'iz', 'in', 'hr', 'hz', 'hn'], (3, 4))
    """
    as_choice("form", form, ("linen", "nnx"))
    check_setting("gru.reset_after", gru.reset_after, True, "Flax has no other cell")
    gru._check_only("Flax")
    convert = _to_linen if form == "linen" else _to_nnx
    return [[convert(gru, cell) for cell in cells] for cells in cells_of(gru, gru.params)]


def _parts(gru: GRU, cell: Any) -> tuple[Any, ...]:
    """Return the kernels (in, 3H) and the two biases (3H,), which Flax always has."""
    zeros = np.zeros(3 * gru.hidden_size, gru.dtype)
    biases = biases_out(cell, _ORDER) if gru.bias else (zeros, zeros)
    return gates_out(cell["W"], _ORDER).T, gates_out(cell["U"], _ORDER).T, *biases


def _to_linen(gru: GRU, cell: Any) -> dict[str, Any]:
    kernel, recurrent, bias, recurrent_bias = _parts(gru, cell)
    names = [f"{side}{gate}" for side in "ih" for gate in "rzn"]
    blocks = [*np.split(kernel, 3, 1), *np.split(recurrent, 3, 1)]
    params = {name: {"kernel": block} for name, block in zip(names, blocks, strict=True)}
    for name, block in zip(names[:3], np.split(bias, 3), strict=True):
        params[name]["bias"] = block
    params["hn"]["bias"] = np.split(recurrent_bias, 3)[2]
    return params


def _to_nnx(gru: GRU, cell: Any) -> dict[str, Any]:
    kernel, recurrent, bias, recurrent_bias = _parts(gru, cell)
    if recurrent_bias.any():
        worst = recurrent_bias[np.abs(recurrent_bias).argmax()]
        raise ValueError(f"gru: expected b_hh = 0, since nnx.GRUCell has no recurrent bias, got {worst}")
    return {"dense_i": {"kernel": kernel, "bias": bias}, "dense_h": {"kernel": recurrent}}
