"""GRUs of cells that are mappings of a framework's own names to arrays and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert import as_weights, check_setting, check_shape, gru_of
from rgru.nn._gate_order import cell_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU

    Converted = tuple[CellArrays, dict[str, Any]]
    """A cell in rgru's form, and the options of its GRU, `reset_after` among them."""


def gru_of_cells(layers: Any, convert: Callable[[str, Any], Converted]) -> GRU:
    """Make a GRU of one cell, or of a list of layers, each a cell or a list of the cells of its directions.

    Parameters
    ----------
    layers : object or list
    convert : callable
        Makes of a cell's name in errors and the cell its arrays and options.

    Raises
    ------
    ValueError
        If there is no layer, one has neither one nor two cells, or cells differ in sizes or options.
    """
    found = []
    for name, cells in _layers(layers):
        if len(cells) not in (1, 2):
            raise ValueError(f"{name}: expected a cell, or a forward and a reverse one, got {len(cells)}")
        found.append([convert(f"{name}[{d}]" if len(cells) == 2 else name, cell) for d, cell in enumerate(cells)])
    return gru_of_converted(found)


def gru_of_converted(layers: Sequence[Sequence[Converted]]) -> GRU:
    """Make a GRU of cells in rgru's form, layer by layer, which must have the same options."""
    options = layers[0][0][1]
    for k, cells in enumerate(layers):
        for _, other in cells:
            for option, value in other.items():
                check_setting(f"layers[{k}]: {option}", value, options[option], "all cells of a GRU share it")
    return gru_of("layers", [[arrays for arrays, _ in cells] for cells in layers], **options)


def _layers(value: Any) -> list[tuple[str, list[Any]]]:
    if not isinstance(value, (list, tuple)):
        return [("layers", [value])]
    if not value:
        raise ValueError("layers: expected at least one layer, got none")
    cells = [list(layer) if isinstance(layer, (list, tuple)) else [layer] for layer in value]
    return [(f"layers[{k}]", layer) for k, layer in enumerate(cells)]


def properties(name: str, cell: Any, arrays: Sequence[str], optional: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's properties, with defaults for those that are optional.

    Raises
    ------
    TypeError
        If the cell is no mapping.
    ValueError
        If it lacks one of the arrays, or has a property that is neither among them nor optional.
    """
    if not isinstance(cell, Mapping):
        raise TypeError(f"{name}: expected a mapping with {', '.join(arrays)}, got {type(cell).__name__}")
    missing = [one for one in arrays if one not in cell]
    unknown = [str(one) for one in cell if one not in arrays and one not in optional]
    if missing or unknown:
        got = f"none of the name {', '.join(missing)}" if missing else ", ".join(unknown)
        raise ValueError(f"{name}: expected {', '.join([*arrays, *optional])}, got {got}")
    return {**optional, **cell}


def checked_cell(
    names: Sequence[str], arrays: Sequence[Any], order: str, *, reset_after: bool, columns: bool = False
) -> CellArrays:
    """Convert the arrays of a cell after a check of their types and shapes.

    Parameters
    ----------
    names : sequence of str
        Their names, for errors.
    arrays : sequence of array_like
        The kernel (3H, I), the recurrent kernel (3H, H), and none, the input or both of the input and the recurrent
        bias, (3H,).
    order : str
        The order of the gates, such as ``"rzh"``.
    reset_after : bool
    columns : bool, default False
        Whether the kernels are (I, 3H) and (H, 3H).
    """
    axes = ("(I, 3H)", "(H, 3H)") if columns else ("(3H, I)", "(3H, H)")
    kernel = as_weights(names[0], arrays[0], axes[0])
    recurrent = as_weights(names[1], arrays[1], axes[1], kernel.dtype)
    hidden = recurrent.shape[0 if columns else 1]
    inputs = kernel.shape[0 if columns else 1]
    check_shape(names[0], kernel, (inputs, 3 * hidden) if columns else (3 * hidden, inputs), axes[0])
    check_shape(names[1], recurrent, (hidden, 3 * hidden) if columns else (3 * hidden, hidden), axes[1])
    biases = [as_weights(name, bias, "(3H,)", kernel.dtype) for name, bias in zip(names[2:], arrays[2:], strict=True)]
    for name, bias in zip(names[2:], biases, strict=True):
        check_shape(name, bias, (3 * hidden,), "(3H,)")
    if len(biases) == 1:
        biases.append(np.zeros_like(biases[0]))
    if columns:
        kernel, recurrent = kernel.T, recurrent.T
    return cell_in(kernel, recurrent, biases, order, reset_after)
