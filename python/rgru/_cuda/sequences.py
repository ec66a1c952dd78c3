"""The rows of the sequences of a batch, as the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rgru._cuda.kernel_config import Common, Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array


@dataclass(frozen=True)
class Sequences:
    """N sequences in arrays of S rows, one row for each step.

    Attributes
    ----------
    count : int
        N.
    rows : int
        S.
    steps : int
        An upper bound of the lengths.
    whole : bool
        Whether each row belongs to a sequence; otherwise some are padding.
    first : array of int64, shape (N,)
        The row of each sequence's first step.
    length : array of int32, shape (N,)
    order : array of int32, shape (N,)
        The sequences, longest first.
    running : list of int or None
        How many sequences have a step t, for each t; None if they are equally long, or the host does not know.
    most_compared : int
        Up to this number lengths are sorted by comparing all with all, which takes an estimated 0.1 ms and grows with
        the square. More are sorted by CuPy, which may wait for the device; not during a capture, where that is
        impossible.
    """

    most_compared: ClassVar[int] = 1 << 14

    count: int
    rows: int
    steps: int
    whole: bool
    first: Array
    length: Array
    order: Array
    running: list[int] | None = None

    @classmethod
    def equal(cls, device: Device, count: int, steps: int) -> Sequences:
        """Describe a padded batch whose sequences all have `steps` steps."""
        xp = device.xp
        return cls(
            count,
            count * steps,
            steps,
            True,
            xp.arange(count, dtype=np.int64) * steps,
            xp.full(count, steps, np.int32),
            xp.arange(count, dtype=np.int32),
        )

    @classmethod
    def padded(cls, device: Device, count: int, steps: int, lengths: Array) -> Sequences:
        """Describe a padded batch from integer lengths (N,) on the host or device, which are clipped to 0..`steps`."""
        xp, running = device.xp, None
        if isinstance(lengths, np.ndarray):
            running = _running(lengths, steps)
            lengths = device.array(lengths)
        # Small types may not hold `steps`.
        length = xp.clip(lengths.astype(np.int64), 0, steps).astype(np.int32)
        first = xp.arange(count, dtype=np.int64) * steps
        if count <= cls.most_compared or device.capturing:
            order = xp.empty(count, np.int32)
            if count:
                arguments = (length, order, count)
                device.launch(Common(Precision.FLOAT32), "sort_by_length", -(-count // 256), 256, arguments)
        else:  # distinct keys keep equal lengths in order
            key = (steps - length.astype(np.int64)) * count + xp.arange(count, dtype=np.int64)
            order = xp.argsort(key).astype(np.int32)
        return cls(count, count * steps, steps, False, first, length, order, running)

    @classmethod
    def ragged(cls, device: Device, offsets: NDArray[np.int64]) -> Sequences:
        """Describe concatenated sequences from offsets (N + 1,) on the host."""
        lengths = np.diff(offsets)
        order = np.argsort(-lengths, kind="stable")
        return cls(
            len(lengths),
            int(offsets[-1] - offsets[0]),
            int(lengths.max(initial=0)),
            True,
            device.array(offsets[:-1] - offsets[0]),
            device.array(lengths.astype(np.int32)),
            device.array(order.astype(np.int32)),
            _running(lengths, int(lengths.max(initial=0))),
        )

    def compact(self, device: Device) -> Array:
        """Return where the rows of a padded batch lie in one without padding, shape (S,); any row for the padding."""
        xp, length = device.xp, self.length.astype(np.int64)
        return ((xp.cumsum(length) - length)[:, None] + xp.arange(self.steps, dtype=np.int64)).reshape(self.rows)

    def valid(self, device: Device) -> Any:
        """Return which rows of a padded batch belong to a sequence, shape (S, 1)."""
        xp = device.xp
        return (xp.arange(self.steps, dtype=np.int32) < self.length[:, None]).reshape(self.rows, 1)


def _running(lengths: NDArray[np.int64], steps: int) -> list[int] | None:
    """Return how many of the sequences have a step t, for each t up to the longest; None if all have all `steps`."""
    if (lengths == steps).all():
        return None
    ended = np.bincount(lengths)
    running: list[int] = (len(lengths) - np.cumsum(ended)[:-1]).tolist()
    return running
