"""Core ML: the operator ``gru`` of MIL has gates r, o (the candidate), z and is reset-before by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_bool, as_choice
from rgru.convert import check_setting
from rgru.convert._cells import checked_cell, gru_of_cells, properties
from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from rgru.convert._cells import Converted
    from rgru.nn._gru import GRU

_ORDER = "rhz"
_SETTINGS = {
    "bias": None,
    "input_bias": None,
    "reset_after": False,
    "direction": "forward",
    "recurrent_activation": "sigmoid",
    "activation": "tanh",
}


def from_arrays(layers: Any) -> GRU:
    """Make a GRU of the inputs of ``gru`` operators of MIL; needs no coremltools.

    Parameters
    ----------
    layers : mapping, or list of mappings or of pairs of them
        An operator, or operators from the input on, each also as a pair (forward, reverse): ``weight_ih`` (3H, I),
        ``weight_hh`` (3H, H) and optionally ``bias`` and, from iOS 18 on, ``input_bias`` (3H,), ``reset_after``,
        ``direction``, ``recurrent_activation`` and ``activation``, which have the operator's defaults.

    Returns
    -------
    GRU
        A GRU with the operators' cell, sizes, direction and dtype.

    Raises
    ------
    ValueError
        If arrays are missing or their sizes do not match, operators differ in their cell, or one has other activations
        than sigmoid and tanh.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.coreml import from_arrays
    >>> kernels = {"weight_ih": np.zeros((12, 3), np.float32), "weight_hh": np.zeros((12, 4), np.float32)}
    >>> from_arrays({**kernels, "bias": np.zeros(12, np.float32)})
    GRU(3, 4)
    """

    def cell(name: str, operator: Any) -> Converted:
        found = properties(name, operator, ("weight_ih", "weight_hh"), _SETTINGS)
        names = ("weight_ih", "weight_hh", "input_bias", "bias")
        after = as_bool(f"{name}['reset_after']", found["reset_after"])
        for one, only in (("recurrent_activation", "sigmoid"), ("activation", "tanh")):
            check_setting(f"{name}[{one!r}]", found[one], only, "the conversion knows no other")
        way = as_choice(f"{name}['direction']", found["direction"], ("forward", "reverse"))
        in_pair = name.endswith(("][0]", "][1]"))  # of a layer, as gru_of_cells names them
        if in_pair:
            expected = "reverse" if name.endswith("[1]") else "forward"
            check_setting(f"{name}['direction']", way, expected, "of a pair the second one runs in reverse")
        arrays = [found[one] for one in names]
        if any(one is not None for one in arrays[2:]):
            zeros = np.zeros_like(np.asarray(arrays[1])[..., 0])
            arrays[2:] = [zeros if one is None else one for one in arrays[2:]]
        else:
            del arrays[2:]
        converted = checked_cell(
            [f"{name}[{one!r}]" for one in names[: len(arrays)]], arrays, _ORDER, reset_after=after
        )
        return converted, {"reset_after": after, "reverse": way == "reverse" and not in_pair}

    return gru_of_cells(layers, cell)


def to_arrays(gru: GRU) -> list[list[dict[str, Any]]]:
    """Convert a GRU, with either cell, into the inputs of ``gru`` operators of MIL; needs no coremltools.

    Parameters
    ----------
    gru : GRU
        The GRU.

    Returns
    -------
    list of lists of dict
        For each layer its directions, as in `from_arrays`. ``reset_after`` and ``input_bias``, which need iOS 18, are
        there only for reset-after GRUs.

    Raises
    ------
    ValueError
        If the GRU has an option that the operator lacks.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.coreml import to_arrays
    >>> [[operator]] = to_arrays(rgru.GRU(3, 4))
    >>> list(operator)
    ['weight_ih', 'weight_hh', 'direction', 'bias']
    """
    gru._check_only("the operator gru of MIL", "reverse")
    layers = []
    for cells in cells_of(gru, gru.params):
        layer = []
        for d, cell in enumerate(cells):
            operator: dict[str, Any] = {
                "weight_ih": gates_out(cell["W"], _ORDER),
                "weight_hh": gates_out(cell["U"], _ORDER),
                "direction": "reverse" if d or gru.reverse else "forward",
            }
            if gru.bias:
                inputs, recurrent = biases_out(cell, _ORDER)
                operator |= {"bias": recurrent, "input_bias": inputs} if gru.reset_after else {"bias": inputs}
            layer.append(operator | ({"reset_after": True} if gru.reset_after else {}))
        layers.append(layer)
    return layers
