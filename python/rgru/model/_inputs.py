"""The inputs of a model as sequences without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._data.ragged import Ragged
from rgru._validation.arrays import as_index, as_real
from rgru.nn._ids import as_features, check_ids

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rgru.model._chain import Chain


def as_batch(chain: Chain, x: ArrayLike | Ragged, lengths: ArrayLike | None) -> Ragged:
    """Convert a call's inputs to a Ragged of the model's dtype.

    Raises
    ------
    TypeError, ValueError
        If they are not numbers that convert without a change, or the features or lengths do not fit.
    """
    settings, values = chain.grus[0], x
    index = None if lengths is None else as_index("lengths", lengths)
    if isinstance(x, Ragged):
        if lengths is not None:
            raise ValueError(f"lengths: expected None with a Ragged x, whose offsets give them, got {lengths!r}")
        values = as_features(settings, x.values, "(S, F)", offsets=x.offsets)
        batch = Ragged._over(as_real("x.values", values, chain.dtype), x.offsets)
    else:
        values = as_features(settings, x, "(N, T, I)", lengths=index)
        batch = _flat(as_real("x", values, chain.dtype, 3, "(N, T, I)"), index)
    if batch.values.shape[1] != chain.input_size:
        raise ValueError(f"x: expected {chain.input_size} features (input_size), got {batch.values.shape[1]}")
    if settings.vocabulary is not None:
        check_ids("x", batch.values, settings.vocabulary, offsets=batch.offsets)
    return batch


def _flat(array: Any, lengths: Any) -> Ragged:
    count, steps, features = array.shape
    if lengths is not None:
        return Ragged.from_padded(array, lengths)
    return Ragged._over(array.reshape(count * steps, features), steps * np.arange(count + 1))
