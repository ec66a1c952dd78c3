"""The losses and norms of an epoch, judged and added up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgru._backends.base import Backend

_MOST_WAITING = 512
"""Numbers that may wait on the device: two for each batch. Bounds the memory, and how late a failure is seen."""


class Tally:
    """The losses and norms of an epoch.

    Floats are judged as they come. Arrays of a device are left there, since to read one is to wait for all that was
    computed before; they are fetched together, at the end or when there are many.

    Parameters
    ----------
    backend : Backend
        Of the device.
    epoch : int
        From 0, for the errors.
    """

    def __init__(self, backend: Backend, epoch: int) -> None:
        self._backend, self._epoch = backend, epoch
        self._total, self._rows = 0.0, 0
        self._waiting: list[tuple[Any, str, int]] = []

    def add_loss(self, value: Any, rows: int) -> None:
        """Add the mean loss of a batch over its `rows`, a float or a 0-d array.

        Raises
        ------
        FloatingPointError
            If it, or a number that has waited, is not finite.
        """
        self._add(value, "loss", rows)

    def add_norm(self, value: Any) -> None:
        """Judge the norm of a batch's gradients; as `add_loss`."""
        self._add(value, "norm of the gradients", 0)

    def mean_loss(self) -> float:
        """Give the mean over all rows; raises as `add_loss`."""
        self._fetch()
        return self._total / self._rows

    def _add(self, value: Any, what: str, rows: int) -> None:
        if isinstance(value, float):
            self._take(value, what, rows)
            return
        self._waiting.append((value, what, rows))
        if len(self._waiting) >= _MOST_WAITING:
            self._fetch()

    def _fetch(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            values = self._backend.numpy(self._backend.xp.stack([value for value, _, _ in waiting]))
            for value, (_, what, rows) in zip(values.tolist(), waiting, strict=True):
                self._take(value, what, rows)

    def _take(self, value: float, what: str, rows: int) -> None:
        finite(value, what, self._epoch)
        self._total += value * rows
        self._rows += rows


def finite(value: float, what: str, epoch: int) -> float:
    """Give `value` back.

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
