"""The losses and norms of an epoch, checked and summed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgru._backends.base import Backend

_MAX_PENDING = 512
"""The most numbers left on the device, two for each batch. It bounds the memory, and the delay of an error."""


class LossAccumulator:
    """The losses and norms of an epoch.

    Floats are checked at once. Arrays of a device are left there, since reading one waits for all computations before
    it; they are fetched together, at the end or when there are `_MAX_PENDING`.

    Parameters
    ----------
    backend : Backend
        The device's backend.
    epoch : int
        The epoch, from 0, for error messages.
    """

    def __init__(self, backend: Backend, epoch: int) -> None:
        self._backend, self._epoch = backend, epoch
        self._total, self._rows = 0.0, 0
        self._pending: list[tuple[Any, str, int]] = []

    def add_loss(self, value: Any, rows: int) -> None:
        """Add the mean loss of a batch over its `rows`, a float or a 0-d array.

        Raises
        ------
        FloatingPointError
            If it, or a number added before, is not finite.
        """
        self._add(value, "loss", rows)

    def add_norm(self, value: Any) -> None:
        """Check the norm of a batch's gradients; raise as `add_loss`."""
        self._add(value, "norm of the gradients", 0)

    def mean_loss(self) -> float:
        """Return the mean over all rows; raise as `add_loss`."""
        self._fetch()
        return self._total / self._rows

    def _add(self, value: Any, what: str, rows: int) -> None:
        if isinstance(value, float):
            self._take(value, what, rows)
            return
        self._pending.append((value, what, rows))
        if len(self._pending) >= _MAX_PENDING:
            self._fetch()

    def _fetch(self) -> None:
        pending, self._pending = self._pending, []
        if pending:
            values = self._backend.numpy(self._backend.xp.stack([value for value, _, _ in pending]))
            for value, (_, what, rows) in zip(values.tolist(), pending, strict=True):
                self._take(value, what, rows)

    def _take(self, value: float, what: str, rows: int) -> None:
        finite(value, what, self._epoch)
        self._total += value * rows
        self._rows += rows


def finite(value: float, what: str, epoch: int) -> float:
    """Return `value` if it is finite.

    Raises
    ------
    FloatingPointError
        If it is NaN or infinite.
    """
    if not math.isfinite(value):
        raise FloatingPointError(
            f"training: expected a finite {what}, got {value} in epoch {epoch + 1}; likely causes: learning_rate is "
            "too large, max_grad_norm is too large or None, or features are huge and not standardised"
        )
    return value
