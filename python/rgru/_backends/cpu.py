"""The CPU's backend."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from rgru._backends.base import Backend, PackedWeights, Run
    from rgru._data.ragged import Ragged
    from rgru.nn._gru import GRU


class _Cpu:
    """The CPU's backend: the core, over NumPy arrays, so that nothing is copied."""

    device = "cpu"
    xp = np
    Weights = _core.Weights
    Adam = _core.Adam
    linear = staticmethod(_core.linear)
    linear_backward = staticmethod(_core.linear_backward)
    mean_over_time = staticmethod(_core.mean_over_time)
    activate = staticmethod(_core.activate)
    normalise = staticmethod(_core.normalise)
    normalise_backward = staticmethod(_core.normalise_backward)
    softmax = staticmethod(_core.softmax)
    cross_entropy = staticmethod(_core.cross_entropy)
    mean_squared_error = staticmethod(_core.mean_squared_error)

    def here(self) -> AbstractContextManager[object]:
        return nullcontext()

    def max_over_time(self, y: Any, offsets: NDArray[np.int64]) -> Any:
        largest = np.zeros((len(offsets) - 1, y.shape[1]), y.dtype)
        filled = np.diff(offsets) > 0
        if filled.any():
            largest[filled] = np.maximum.reduceat(y, offsets[:-1][filled], axis=0)
        return largest

    def weights_of(self, gru: GRU, *, training: bool) -> PackedWeights:
        weights: PackedWeights = gru._weights(training)
        return weights

    def array(self, host: NDArray[Any]) -> Any:
        return host

    def numpy(self, array: Any) -> NDArray[Any]:
        return array  # type: ignore[no-any-return]

    def each(self, run: Run, pieces: Iterable[Ragged]) -> Generator[NDArray[Any]]:
        return (run(piece.values, piece.offsets) for piece in pieces)


CPU: Backend = _Cpu()
