"""Equinox: GRUCell is reset-after, with gates r, z, n and one bias besides that of the candidate."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._optional_imports import needed
from rgru.convert import as_weights, check_setting, check_shape, widened
from rgru.convert._cells import checked_cell, gru_of_cells, properties
from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from rgru.convert._cells import Converted
    from rgru.nn._gru import GRU

_KERNELS, _BIASES = ("weight_ih", "weight_hh"), ("bias", "bias_n")


def from_cells(layers: Any) -> GRU:
    """Make a GRU of Equinox's GRUCell.

    Parameters
    ----------
    layers : equinox.nn.GRUCell or mapping, or list of cells or of pairs of them
        A cell, or cells from the input on, each also as a pair (forward, reverse). A mapping has a cell's arrays by
        name and needs no Equinox: ``weight_ih`` (3H, I), ``weight_hh`` (3H, H), and with biases ``bias`` (3H,) and
        ``bias_n`` (H,).

    Returns
    -------
    GRU
        A reset-after GRU with the cells' sizes and dtype; float16 and bfloat16 become float32.

    Raises
    ------
    TypeError
        If one is no such cell, or of a subclass.
    ValueError
        If arrays are missing, or sizes do not match.

    Examples
    --------
    >>> import equinox, jax
    >>> import rgru
    >>> cell = equinox.nn.GRUCell(3, 4, key=jax.random.key(0))
    >>> rgru.convert.equinox.from_cells(cell)
    GRU(3, 4, reset_after=True)
    """
    return gru_of_cells(layers, _cell)


def _cell(name: str, cell: Any) -> Converted:
    if not isinstance(cell, Mapping):
        equinox = sys.modules.get("equinox")
        if equinox is None or type(cell) is not equinox.nn.GRUCell:
            kind = f"{type(cell).__module__}.{type(cell).__qualname__}"
            raise TypeError(f"{name}: expected an equinox.nn.GRUCell or a mapping of its arrays, got {kind}")
        cell = {one: getattr(cell, one) for one in (*_KERNELS, *_BIASES)}
    found = properties(name, cell, _KERNELS, dict.fromkeys(_BIASES))
    arrays = [widened(np.asarray(found[one])) for one in _KERNELS]
    names = [f"{name}.{one}" for one in (*_KERNELS, *_BIASES)]
    if any(found[one] is not None for one in _BIASES):
        bias, candidate = (widened(np.asarray(found[one])) for one in _BIASES)
        hidden = arrays[1].shape[-1]
        check_shape(names[3], as_weights(names[3], candidate, "(H,)"), (hidden,), "(H,)")
        arrays += [bias, np.concatenate([np.zeros(2 * hidden, candidate.dtype), candidate])]
    return checked_cell(names[: len(arrays)], arrays, "rzh", reset_after=True), {"reset_after": True}


def to_cells(gru: GRU) -> list[list[Any]]:
    """Convert a reset-after GRU into Equinox's GRUCell.

    Parameters
    ----------
    gru : GRU
        A GRU with ``reset_after=True``.

    Returns
    -------
    list of lists of equinox.nn.GRUCell
        For each layer the cells of its directions. JAX makes float32 of float64 unless ``jax_enable_x64`` is set.

    Raises
    ------
    ValueError
        If the GRU is reset-before or has an option that Equinox lacks, or JAX would round float64 to float32.
    ImportError
        If Equinox is not installed.

    Examples
    --------
    >>> import equinox
    >>> import rgru
    >>> [[cell]] = rgru.convert.equinox.to_cells(rgru.GRU(3, 4, reset_after=True))
    >>> cell.weight_ih.shape
    (12, 3)
    """
    check_setting("gru.reset_after", gru.reset_after, True, "Equinox has no other cell")
    gru._check_only("Equinox")
    jax, equinox = needed("jax", "peers"), needed("equinox", "peers")
    if gru.dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError("gru.dtype: expected float32 without jax_enable_x64, where JAX rounds to it, got float64")
    return [[_to_cell(jax, equinox, gru, cell) for cell in cells] for cells in cells_of(gru, gru.params)]


def _to_cell(jax: Any, equinox: Any, gru: GRU, cell: Any) -> Any:
    kernel, recurrent = gates_out(cell["W"], "rzh"), gates_out(cell["U"], "rzh")
    made = equinox.nn.GRUCell(kernel.shape[1], gru.hidden_size, gru.bias, gru.dtype, key=jax.random.key(0))
    arrays = {"weight_ih": kernel, "weight_hh": recurrent}
    if gru.bias:
        bias, recurrent_bias = biases_out(cell, "rzh")
        arrays |= {"bias": bias, "bias_n": recurrent_bias[-gru.hidden_size :]}
    values = [jax.numpy.asarray(one) for one in arrays.values()]
    return equinox.tree_at(lambda one: [getattr(one, name) for name in arrays], made, values)
