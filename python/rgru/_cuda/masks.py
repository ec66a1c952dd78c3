"""The masks of training on a device, equal to those of the CPU: dropout between layers and of states, and zoneout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgru import _core
from rgru._cuda.dtypes import sum_type
from rgru._cuda.kernel_config import Common

if TYPE_CHECKING:
    from rgru._cuda.dtypes import Array
    from rgru._cuda.layer_weights import LayerWeights
    from rgru._cuda.sequences import Sequences

_WORDS, _THREADS = 16, 256
"""Words of a thread, as ``kernels/chacha.cuh`` has it, and threads of a block."""


def dropped(  # noqa: PLR0917 - the place and the generator of a mask
    weights: LayerWeights, sequences: Sequences, values: Array, layer: int, rate: float, seed: int
) -> Array:
    """Apply the dropout mask of a layer to its input, or to the gradient of it.

    Parameters
    ----------
    weights : LayerWeights
        Of the layer.
    sequences : Sequences
    values : array, shape (S, I)
    layer : int
    rate : float
        The probability that a number is dropped.
    seed : int

    Returns
    -------
    array, shape (S, I)
    """
    xp = weights.device.xp
    # The CPU numbers the steps without padding.
    given = values if sequences.whole else xp.ones_like(values)
    result = xp.empty_like(values)
    _launch(weights, "dropout", (given, result), layer, size=values.size, rate=rate, seed=seed)
    return result if sequences.whole else values * result[sequences.compact(weights.device)]


def zoneout_factors(weights: LayerWeights, sequences: Sequences, layer: int, rate: float, seed: int) -> Array:
    """Return the factors of the update gates of a layer.

    Parameters
    ----------
    weights : LayerWeights
        Of the layer.
    sequences : Sequences
    layer : int
    rate : float
        The probability that a unit keeps its state in a step.
    seed : int

    Returns
    -------
    array of uint8, shape (S, D*H)
        0 for a state that is kept, else 1.
    """
    rows, hidden, directions = sequences.rows, weights.hidden, weights.directions
    factors = weights.device.xp.empty((rows, directions * hidden), np.uint8)
    for direction in range(directions):
        place = layer * directions + direction, hidden, directions, direction
        _launch(weights, "zoneout", (factors,), *place, size=rows * hidden, rate=rate, seed=seed)
    # The CPU numbers the steps without padding.
    return factors if sequences.whole else factors[sequences.compact(weights.device)]


def recurrent_masks(weights: LayerWeights, count: int, layer: int, rate: float, seed: int) -> Array:
    """Return the masks of the states of a layer where recurrent products read them.

    Parameters
    ----------
    weights : LayerWeights
        Of the layer.
    count : int
        N, the sequences.
    layer : int
    rate : float
        The probability that a unit is dropped.
    seed : int

    Returns
    -------
    array of the type of sums, shape (D, N, H)
        0 for a unit that is dropped, else 1 / (1 - rate).
    """
    masks = weights.device.xp.empty((weights.directions, count, weights.hidden), sum_type(weights.precision))
    for direction, of_cell in enumerate(masks):
        cell = layer * weights.directions + direction
        _launch(weights, "recurrent_dropout", (of_cell,), cell, size=of_cell.size, rate=rate, seed=seed)
    return masks


def _launch(
    weights: LayerWeights, name: str, arrays: tuple[Array, ...], *numbers: int, size: int, rate: float, seed: int
) -> None:
    """Launch a kernel that reads `size` words of the generator."""
    if size:
        key = np.frombuffer(_core.dropout_key(seed), "<u8").astype(np.uint64)
        arguments = (*arrays, np.int64(size), np.float64(rate), *key, *numbers)
        blocks = -(-size // (_WORDS * _THREADS))
        weights.device.launch(Common(weights.precision), name, blocks, _THREADS, arguments)
