"""Validation of booleans that users pass for the steps of a batch: resets and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgru._validation.arrays import as_ndarray, on_gpu

if TYPE_CHECKING:
    from numpy.typing import NDArray


def as_booleans(name: str, value: object, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Convert `value`, which may be on a GPU, to an array of booleans on the host.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    value : array_like of bool
    shape : tuple of int
        The batch's steps: (N, T), or (S,) of a Ragged.

    Raises
    ------
    TypeError
        If `value` does not hold booleans.
    ValueError
        If it has another shape.
    """
    if on_gpu(value):
        from rgru._cuda import arrays

        value = arrays.as_cupy(name, value).get()
    axes = "(N, T)" if len(shape) == 2 else "(S,)"
    array = as_ndarray(name, value, f"booleans of shape {axes}")
    if array.dtype != np.bool_:
        raise TypeError(f"{name}: expected booleans of shape {axes}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {axes} = {shape}, got {array.shape}")
    return array
