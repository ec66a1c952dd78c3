"""Parameters from and to other frameworks, exactly: one file each, and here what they share.

rgru stacks the gates' rows in the order r, z, h~, and its z multiplies the candidate. Elsewhere z multiplies the old
state: its rows are negated at the border, since sigma(-a) = 1 - sigma(a), and a change of sign is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gates_in(name: str, rows: NDArray[Any], order: str) -> NDArray[Any]:
    """Bring another framework's stacked gates into rgru's order and sign.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    rows : numpy.ndarray, shape (3H, ...)
    order : str
        Of the gates in `rows`: ``"rzh"`` or ``"zrh"``.

    Returns
    -------
    numpy.ndarray, shape (3H, ...)
        A copy: r, -z, h~.

    Raises
    ------
    ValueError
        If the number of rows is not a multiple of 3.
    """
    if len(rows) % 3:
        raise ValueError(f"{name}: expected a multiple of 3 (the gates) along 3H, got {len(rows)}")
    gates = dict(zip(order, np.split(rows, 3), strict=True))
    return np.concatenate([gates["r"], -gates["z"], gates["h"]])


def gates_out(rows: NDArray[Any], order: str) -> NDArray[Any]:
    """Bring rgru's stacked gates (3H, ...) into another framework's order and sign; the inverse of `gates_in`."""
    r, z, h = np.split(rows, 3)
    gates = {"r": r, "z": -z, "h": h}
    return np.concatenate([gates[gate] for gate in order])


def fold_biases(input_bias: NDArray[Any], recurrent_bias: NDArray[Any], reset_after: bool) -> dict[str, NDArray[Any]]:
    """Fold the two biases of other frameworks, both (3H,) and already r, -z, h~, into rgru's.

    In the gates r and z, and in the reset-before candidate, only their sum acts; the sum is rounded once. In the
    reset-after candidate both stay: the recurrent one lies inside the product with r.

    Returns
    -------
    dict
        ``b`` (3H,) and, with `reset_after`, ``b_hh`` (H,).
    """
    b = input_bias + recurrent_bias
    if not reset_after:
        return {"b": b}
    candidate = slice(2 * len(b) // 3, None)
    b[candidate] = input_bias[candidate]
    return {"b": b, "b_hh": recurrent_bias[candidate].copy()}


def __getattr__(name: str) -> object:
    """Load a framework's file at first use, so that ``rgru.convert.keras`` works after ``import rgru``."""
    if name not in ("keras", "onnx", "torch"):
        raise AttributeError(f"module 'rgru.convert' has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"rgru.convert.{name}")
