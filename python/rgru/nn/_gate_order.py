"""The parameters of a cell in the order and the signs of other frameworks.

rgru stacks the gates' rows in the order r, z, h~, and its z multiplies the candidate. Elsewhere z multiplies the old
state: its rows are negated, since sigma(-a) = 1 - sigma(a), and a change of sign is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from rgru.nn._params import Params
    from rgru.nn._settings import Settings

    CellArrays: TypeAlias = dict[str, NDArray[Any]]
    """W (3H, I), U (3H, H) and, with biases, b (3H,) and b_hh (H,): rgru's parameters of a layer in one direction."""


def directions(settings: Settings) -> tuple[str, ...]:
    """Return the names of a GRU's directions."""
    return ("rev",) if settings.reverse else ("fwd", "rev")[: 1 + settings.bidirectional]


def gates_in(rows: NDArray[Any], order: str) -> NDArray[Any]:
    """Convert another framework's stacked gates to rgru's order and sign.

    Parameters
    ----------
    rows : numpy.ndarray, shape (3H, ...)
    order : str
        The order of the gates in `rows`: ``"rzh"`` or ``"zrh"``.

    Returns
    -------
    numpy.ndarray, shape (3H, ...)
        A copy: r, -z, h~.
    """
    gates = dict(zip(order, np.split(rows, 3), strict=True))
    return np.concatenate([gates["r"], -gates["z"], gates["h"]])


def gates_out(rows: NDArray[Any], order: str) -> NDArray[Any]:
    """Convert rgru's stacked gates (3H, ...) to another framework's order and sign; the inverse of `gates_in`."""
    r, z, h = np.split(rows, 3)
    gates = {"r": r, "z": -z, "h": h}
    return np.concatenate([gates[gate] for gate in order])


def cell_in(
    kernel: NDArray[Any], recurrent: NDArray[Any], biases: Sequence[NDArray[Any]], order: str, reset_after: bool
) -> CellArrays:
    """Convert the weights of one cell.

    Gates r and z, and the reset-before candidate, depend only on the sum of the two biases, which is rounded once. The
    reset-after candidate keeps both: its recurrent bias is multiplied by r.

    Parameters
    ----------
    kernel, recurrent : numpy.ndarray, shapes (3H, I) and (3H, H)
    biases : sequence of numpy.ndarray, shape (3H,)
        The input and the recurrent bias; empty without biases.
    order : str
        As in `gates_in`.
    reset_after : bool
    """
    cell = {"W": gates_in(kernel, order), "U": gates_in(recurrent, order)}
    if biases:
        first, second = (gates_in(bias, order) for bias in biases)
        cell["b"] = first + second
        if reset_after:
            candidate = slice(2 * len(first) // 3, None)
            cell["b"][candidate] = first[candidate]
            cell["b_hh"] = second[candidate]
    return cell


def biases_out(cell: CellArrays, order: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the input and the recurrent bias, both (3H,), of a cell with biases; `cell_in` restores the same bits."""
    recurrent = np.zeros_like(cell["b"])
    if "b_hh" in cell:
        np.split(recurrent, 3)[order.index("h")][:] = cell["b_hh"]
    return gates_out(cell["b"], order), recurrent


def cells_of(settings: Settings, params: Params) -> list[list[CellArrays]]:
    """Return the parameters of a GRU by layer, and within a layer by direction."""
    names = ["W", "U"] + ["b"] * settings.bias + ["b_hh"] * (settings.bias and settings.reset_after)
    return [
        [{name: params[f"layers.{k}.{direction}.{name}"] for name in names} for direction in directions(settings)]
        for k in range(settings.num_layers)
    ]
