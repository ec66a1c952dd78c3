"""Pieces from the host through a device and back, copies overlapping with computation.

While the device computes piece k, piece k + 1 is made on the host and uploaded, and the result of piece k - 1 is
downloaded and used. The copies go through pinned buffers, two for each way, as streams of their own:

    host      make 0  make 1   use 0, make 2   use 1, make 3   use 2 ...
    upload          0       1               2               3
    compute          00000000  1111111111111111  2222222222222222  3333 ...
    download                 0                 1                 2

Memory holds two pieces at a time, whatever their number.
"""

from __future__ import annotations

from collections import deque
from itertools import cycle
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from rgru._backends.base import Run
    from rgru._data.ragged import Ragged


class Event(Protocol):
    """A place in a stream; as `cupy.cuda.Event`."""

    def synchronize(self) -> None:
        """Wait on the host until the stream has passed the place."""


class Stream(Protocol):
    """Work for a device in order; as `cupy.cuda.Stream`."""

    def record(self, event: Any) -> Any:
        """Put `event` at the end of the work so far."""

    def wait_event(self, event: Any) -> None:
        """Let the work that follows wait for `event`."""

    def synchronize(self) -> None:
        """Wait on the host until all work is done."""


class Device(Protocol):
    """What the pipeline needs of a device.

    Its arrays have ``set(host, stream=)`` and ``get(out=, stream=, blocking=False)``, as `cupy.ndarray`, and
    ``xp.empty`` makes them.
    """

    @property
    def xp(self) -> Any:
        """The array module."""

    def here(self) -> AbstractContextManager[object]:
        """Make the device the current one."""

    def pinned_empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Give an array in memory of the host that the device can copy from and to by itself."""

    def stream(self) -> Stream:
        """Give a new stream that waits for no other, not even the default one."""

    def current_stream(self) -> Stream:
        """Give the stream that computations go to."""

    def event(self) -> Event:
        """Give a new event."""


def pipelined(device: Device, run: Run, pieces: Iterable[Ragged]) -> Generator[NDArray[Any]]:
    """Compute piece after piece.

    Parameters
    ----------
    device : Device
    run : callable
        ``run(values, offsets)`` of the steps (S, I) on the device and their offsets (N + 1,) on the host. It puts its
        work into the current stream, without waiting for it, and gives an array of the device.
    pieces : iterable of Ragged
        Taken one ahead of the results.

    Yields
    ------
    ndarray
        The result of each piece, in order.

    Notes
    -----
    Closing the generator, an error in `run` or `pieces`, and Ctrl-C end it when the copies under way are done: no
    buffer is given back before.
    """
    with device.here():
        upload, download = device.stream(), device.stream()
        places = cycle((_Place(device), _Place(device)))
    waiting: deque[_Place] = deque()
    try:
        for piece in pieces:
            place = next(places)
            with device.here():  # never over a yield: what is current there is the caller's
                place.begin(piece, run, upload, download)
            waiting.append(place)
            if len(waiting) == 2:
                yield waiting.popleft().finish()
        while waiting:
            yield waiting.popleft().finish()
    finally:
        upload.synchronize()
        download.synchronize()


class _Place:
    """One of the two places for a piece on its way."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._uploaded, self._computed, self._downloaded = device.event(), device.event(), device.event()
        self._pinned_in, self._pinned_out = _Buffer(device.pinned_empty), _Buffer(device.pinned_empty)
        self._steps = _Buffer(device.xp.empty)
        self._result: Any = None

    def begin(self, piece: Ragged, run: Run, upload: Stream, download: Stream) -> None:
        """Put the piece on its way; the one that was here before must be finished."""
        compute = self._device.current_stream()
        values = piece.values
        if self._steps.reserve(values.size, values.dtype):
            # New memory may be old memory that work in the current stream has yet to let go of.
            compute.record(self._computed)
            upload.wait_event(self._computed)
        self._pinned_in.reserve(values.size, values.dtype)
        staged, steps = self._pinned_in.view(values.shape), self._steps.view(values.shape)
        staged[...] = values
        steps.set(staged, stream=upload)
        upload.record(self._uploaded)
        compute.wait_event(self._uploaded)

        self._result = result = run(steps, piece.offsets)
        compute.record(self._computed)

        self._pinned_out.reserve(result.size, result.dtype)
        download.wait_event(self._computed)
        result.get(out=self._pinned_out.view(result.shape), stream=download, blocking=False)
        download.record(self._downloaded)

    def finish(self) -> NDArray[Any]:
        """Wait for the result, and give a copy of it."""
        self._downloaded.synchronize()
        found: NDArray[Any] = self._pinned_out.view(self._result.shape).copy()
        self._result = None  # kept until here, since its memory must not be used again before the download
        return found


class _Buffer:
    """Memory that grows as needed and is used again."""

    def __init__(self, empty: Callable[..., Any]) -> None:
        self._empty = empty
        self._memory: Any = None

    def reserve(self, size: int, dtype: np.dtype[Any]) -> bool:
        """Have room for `size` numbers; gives whether that took new memory."""
        if self._memory is not None and self._memory.size >= size and self._memory.dtype == dtype:
            return False
        self._memory = None  # let go first
        # Up to the next power of two: pieces of slowly growing sizes must not take new memory each time.
        self._memory = self._empty((1 << max(size - 1, 0).bit_length(),), dtype)
        return True

    def view(self, shape: tuple[int, ...]) -> Any:
        """Give the beginning of the memory as an array."""
        size = 1
        for extent in shape:
            size *= extent
        return self._memory[:size].reshape(shape)
