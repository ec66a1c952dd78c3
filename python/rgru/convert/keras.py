"""Keras: gates z, r, h; kernels (in, out); reset-after by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.arrays import as_real
from rgru.convert import fold_biases, gates_in
from rgru.scalars import as_bool, as_int

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def params_from_keras(
    kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None,
    reset_after: bool,
    *,
    layer: int = 0,
    direction: str = "fwd",
) -> dict[str, NDArray[Any]]:
    """Convert the weights of one Keras GRU layer, as its ``get_weights()`` gives them; needs no Keras.

    Parameters
    ----------
    kernel : array_like, shape (I, 3H)
    recurrent_kernel : array_like, shape (H, 3H)
    bias : array_like or None
        Shape (2, 3H) with `reset_after`, rows input and recurrent; else (3H,).
    reset_after : bool
        As the layer has it, and as the rgru GRU must have it.
    layer : int, default 0
        The layer that it becomes.
    direction : {"fwd", "rev"}, default "fwd"
        The direction that it becomes; "rev" for the backward layer of a Bidirectional with ``merge_mode="concat"``.

    Returns
    -------
    dict of str to numpy.ndarray
        Parameters by rgru's names.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above.
    """
    if direction not in ("fwd", "rev"):
        raise ValueError(f"direction: expected 'fwd' or 'rev', got {direction!r}")
    prefix = f"layers.{as_int('layer', layer, 0)}.{direction}"
    after = as_bool("reset_after", reset_after)
    tensors = {
        "W": gates_in("kernel", as_real("kernel", kernel, None, 2, "(I, 3H)").T, "zrh"),
        "U": gates_in("recurrent_kernel", as_real("recurrent_kernel", recurrent_kernel, None, 2, "(H, 3H)").T, "zrh"),
    }
    if bias is not None and after:
        rows = as_real("bias", bias, None, 2, "(2, 3H)")
        if len(rows) != 2:
            raise ValueError(f"bias: expected shape (2, 3H), got {rows.shape}")
        tensors |= fold_biases(gates_in("bias", rows[0], "zrh"), gates_in("bias", rows[1], "zrh"), True)
    elif bias is not None:
        tensors["b"] = gates_in("bias", as_real("bias", bias, None, 1, "(3H,)"), "zrh")
    return {f"{prefix}.{name}": array for name, array in tensors.items()}
