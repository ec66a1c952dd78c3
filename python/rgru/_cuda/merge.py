"""The outputs of two directions as one, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgru._cuda.kernel_config import Common

if TYPE_CHECKING:
    from rgru._cuda.dtypes import Array
    from rgru._cuda.layer_weights import LayerWeights

KINDS = ("sum", "mean", "product")
"""As in ``kernels/merge.cuh``. "concat" is no work: the kernels write both directions side by side."""

_THREADS = 256


def merged(weights: LayerWeights, kind: str, states: Array, y: Array | None = None) -> Array:
    """Merge the states of both directions.

    Parameters
    ----------
    weights : LayerWeights
    kind : str
        One of `KINDS`.
    states : array, shape (S, 2*H)
    y : array, shape (S, H), optional
        Written; by default a new array.

    Returns
    -------
    array, shape (S, H)
    """
    if y is None:
        y = weights.device.xp.empty((states.shape[0], weights.hidden), states.dtype)
    _launch(weights, "merge", kind, (states, y), y.size)
    return y


def merged_backward(weights: LayerWeights, kind: str, states: Array, dy: Array) -> Array:
    """Return the gradients of the states of both directions from those of the merged ones.

    Parameters
    ----------
    weights : LayerWeights
    kind : str
        One of `KINDS`.
    states : array, shape (S, 2*H)
    dy : array, shape (S, H)

    Returns
    -------
    array, shape (S, 2*H)
    """
    d = weights.device.xp.empty(states.shape, states.dtype)
    _launch(weights, "merge_backward", kind, (states, dy, d), dy.size)
    return d


def _launch(weights: LayerWeights, name: str, kind: str, arrays: tuple[Array, ...], size: int) -> None:
    if size:
        arguments = (*arrays, np.int64(size), weights.hidden, KINDS.index(kind))
        weights.device.launch(Common(weights.precision), name, -(-size // _THREADS), _THREADS, arguments)
