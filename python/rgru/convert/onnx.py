"""ONNX: the operator GRU has gates z, r, h; reset-before by default (linear_before_reset=0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.arrays import as_real
from rgru.convert import fold_biases, gates_in
from rgru.scalars import as_int

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def params_from_onnx(
    W: ArrayLike,
    R: ArrayLike,
    B: ArrayLike | None,
    linear_before_reset: int,
    *,
    layer: int = 0,
) -> dict[str, NDArray[Any]]:
    """Convert the inputs W, R and B of one ONNX GRU node of direction "forward" or "bidirectional"; needs no ONNX.

    A node of direction "reverse" alone has no equal in rgru.

    Parameters
    ----------
    W : array_like, shape (D, 3H, I)
    R : array_like, shape (D, 3H, H)
    B : array_like, shape (D, 6H), or None
        Input biases, then recurrent ones.
    linear_before_reset : {0, 1}
        As the node has it; the rgru GRU must have ``reset_after=bool(linear_before_reset)``.
    layer : int, default 0
        The layer that it becomes.

    Returns
    -------
    dict of str to numpy.ndarray
        Parameters by rgru's names.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above.
    """
    after = bool(as_int("linear_before_reset", linear_before_reset, 0, 1))
    k = as_int("layer", layer, 0)
    kernels = as_real("W", W, None, 3, "(D, 3H, I)")
    recurrent = as_real("R", R, None, 3, "(D, 3H, H)")
    biases = None if B is None else as_real("B", B, None, 2, "(D, 6H)")
    if len(kernels) not in (1, 2):
        raise ValueError(f"W: expected 1 or 2 directions, got shape {kernels.shape}")
    if len(recurrent) != len(kernels):
        raise ValueError(f"R: expected {len(kernels)} directions as W, got shape {recurrent.shape}")
    if biases is not None and len(biases) != len(kernels):
        raise ValueError(f"B: expected {len(kernels)} directions as W, got shape {biases.shape}")
    if biases is not None and biases.shape[1] != 2 * kernels.shape[1]:
        raise ValueError(f"B: expected {2 * kernels.shape[1]} numbers a direction (6H), got shape {biases.shape}")
    params = {}
    for d, direction in zip(range(len(kernels)), ("fwd", "rev"), strict=False):
        tensors = {"W": gates_in("W", kernels[d], "zrh"), "U": gates_in("R", recurrent[d], "zrh")}
        if biases is not None:
            first, second = np.split(biases[d], 2)
            tensors |= fold_biases(gates_in("B", first, "zrh"), gates_in("B", second, "zrh"), after)
        params.update({f"layers.{k}.{direction}.{name}": array for name, array in tensors.items()})
    return params
