"""The layers of another framework's model, put together to a `rgru.Model`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._backends import CPU
from rgru.model import Linear, Model, Pool
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray


class Embedding:
    """An embedding, which the GRU after it takes in.

    Parameters
    ----------
    table : ndarray, shape (V, E)
    """

    def __init__(self, table: NDArray[Any]) -> None:
        self.table = table

    def __repr__(self) -> str:
        return f"Embedding{self.table.shape}"


def model_of(layers: Sequence[Any]) -> Model:
    """Make a model of converted layers.

    An `Embedding` may come first. Layers between it and the first GRU treat rows by themselves, so they are applied to
    the rows of its table.

    Raises
    ------
    ValueError
        If the layers do not fit together, or there is no GRU.
    """
    if not layers or not isinstance(layers[0], Embedding):
        return Model(layers)
    at = next((i for i, layer in enumerate(layers) if isinstance(layer, (GRU, Pool))), len(layers))
    if at == len(layers) or isinstance(layers[at], Pool):
        raise ValueError(f"layers: expected a GRU after {layers[0]!r}, got {list(layers[1:])}")
    table = layers[0].table
    for layer in layers[1:at]:
        table = layer._apply(CPU, table, layer._on_device(CPU, training=False))
    return Model([_reading_ids(layers[at], table), *layers[at + 1 :]])


def pooled_at_gru(layers: Sequence[Any]) -> list[Any]:
    """Return the layers with the final states of the last GRU in the place of its outputs.

    The layers after it treat rows by themselves, so they may act on the chosen rows alone.
    """
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, GRU))
    return [*layers[: last + 1], Pool("last"), *layers[last + 1 :]]


def _reading_ids(gru: GRU, table: NDArray[Any]) -> GRU:
    """Return a GRU that reads ids in the place of the rows of `table`."""
    count, size = table.shape
    if gru.input_size != size:
        raise ValueError(f"layers: expected a GRU of {size} features after an embedding, got {gru!r}")
    config = {**gru._config, "input_size": 1, "vocabulary": count, "embedding_size": size}
    return GRU._from_saved(config, {**gru.params, "embedding": table.astype(gru.dtype)})


def affine(gain: ArrayLike, bias: ArrayLike, size: int, dtype: DTypeLike) -> Linear:
    """Return the layer x * gain + bias for rows of `size` numbers, as a linear layer with a diagonal matrix."""
    gains = np.broadcast_to(np.asarray(gain, dtype), size)
    return Linear.from_arrays(np.diag(gains), np.broadcast_to(np.asarray(bias, dtype), size))


def batch_norm(
    mean: NDArray[Any], variance: NDArray[Any], epsilon: float, gain: Any, bias: Any, *, dtype: DTypeLike
) -> Linear:
    """Return the layer that batch normalisation is in inference; without gain or bias these are 1 and 0."""
    scale = (1.0 if gain is None else gain) / np.sqrt(variance.astype(np.float64) + epsilon)
    return affine(scale, (0.0 if bias is None else bias) - mean * scale, len(mean), dtype)


def vector(array: NDArray[Any], size: int, axes: int) -> NDArray[Any]:
    """Return a constant as one vector for all rows of an array of so many axes."""
    last = array.shape[-1] if array.ndim else 1
    if array.ndim > axes or last not in (1, size) or array.size != last:
        raise ValueError(f"a constant {array.shape}, which is not the same for all rows of {size} numbers")
    same: NDArray[Any] = np.broadcast_to(array.reshape(-1), (size,)).copy()
    return same
