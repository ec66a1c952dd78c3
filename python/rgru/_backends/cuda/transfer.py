"""A pipeline from the host through a device and back, with copies that overlap with computation.

While the device computes piece k, piece k + 1 is made on the host and uploaded, and the result of piece k - 1 is
downloaded and used. The copies go through pinned buffers, two for each direction, on streams of their own:

    host      make 0  make 1   use 0, make 2   use 1, make 3   use 2 ...
    upload          0       1               2               3
    compute          00000000  1111111111111111  2222222222222222  3333 ...
    download                 0                 1                 2

Two pieces are in memory at a time, whatever their number.
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
    """A point in a stream, as `cupy.cuda.Event`."""

    def synchronize(self) -> None:
        """Block the host until the stream has reached the event."""


class Stream(Protocol):
    """A queue of work for a device, as `cupy.cuda.Stream`."""

    def record(self, event: Any) -> Any:
        """Record `event` after the work so far."""

    def wait_event(self, event: Any) -> None:
        """Make later work of the stream wait for `event`."""

    def synchronize(self) -> None:
        """Block the host until all work is done."""


class Device(Protocol):
    """A device, as far as the pipeline uses it.

    Its arrays have ``set(host, stream=)`` and ``get(out=, stream=, blocking=False)``, as `cupy.ndarray`, and
    ``xp.empty`` makes them.
    """

    @property
    def xp(self) -> Any:
        """The array module."""

    def here(self) -> AbstractContextManager[object]:
        """Return a context manager that makes the device the current one."""

    def pinned_empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array in memory of the host that the device copies from and to asynchronously."""

    def stream(self) -> Stream:
        """Return a new stream that waits for no other, not even the default one."""

    def current_stream(self) -> Stream:
        """Return the stream that computations go to."""

    def event(self) -> Event:
        """Return a new event."""


def pipelined(device: Device, run: Run, pieces: Iterable[Ragged]) -> Generator[NDArray[Any]]:
    """Compute piece after piece.

    Parameters
    ----------
    device : Device
    run : callable
        ``run(values, offsets)`` gets the steps (S, I) on the device and their offsets (N + 1,) on the host. It puts its
        work into the current stream, without waiting for it, and returns an array of the device.
    pieces : iterable of Ragged
        Consumed one ahead of the results.

    Yields
    ------
    ndarray
        The result of each piece, in order.

    Notes
    -----
    If the generator is closed, or ended by an error in `run` or `pieces` or by Ctrl-C, it first waits for the copies in
    flight: no buffer is freed before.
    """
    with device.here():
        upload, download = device.stream(), device.stream()
        slots = cycle((_Slot(device), _Slot(device)))
    waiting: deque[_Slot] = deque()
    try:
        for piece in pieces:
            slot = next(slots)
            with device.here():  # never across a yield, where the caller's device is the current one
                slot.begin(piece, run, upload, download)
            waiting.append(slot)
            if len(waiting) == 2:
                yield waiting.popleft().finish()
        while waiting:
            yield waiting.popleft().finish()
    finally:
        upload.synchronize()
        download.synchronize()


class _Slot:
    """The buffers and events of one of the two pieces in flight."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._uploaded, self._computed, self._downloaded = device.event(), device.event(), device.event()
        self._pinned_in, self._pinned_out = _Buffer(device.pinned_empty), _Buffer(device.pinned_empty)
        self._steps = _Buffer(device.xp.empty)
        self._result: Any = None

    def begin(self, piece: Ragged, run: Run, upload: Stream, download: Stream) -> None:
        """Start the copies and the computation of a piece; the slot's last piece must be finished."""
        compute = self._device.current_stream()
        values = piece.values
        if self._steps.reserve(values.size, values.dtype):
            # New memory may be freed memory that earlier work of the current stream still uses.
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
        """Wait for the result, and return a copy of it."""
        self._downloaded.synchronize()
        found: NDArray[Any] = self._pinned_out.view(self._result.shape).copy()
        self._result = None  # not earlier: its memory must not be reused before the download is done
        return found


class _Buffer:
    """Reusable memory that grows as needed."""

    def __init__(self, empty: Callable[..., Any]) -> None:
        self._empty = empty
        self._memory: Any = None

    def reserve(self, size: int, dtype: np.dtype[Any]) -> bool:
        """Ensure room for `size` numbers; return whether new memory was allocated."""
        if self._memory is not None and self._memory.size >= size and self._memory.dtype == dtype:
            return False
        self._memory = None  # free it first
        # Up to the next power of two, so that slowly growing pieces do not allocate each time.
        self._memory = self._empty((1 << max(size - 1, 0).bit_length(),), dtype)
        return True

    def view(self, shape: tuple[int, ...]) -> Any:
        """Return the beginning of the memory as an array."""
        size = 1
        for extent in shape:
            size *= extent
        return self._memory[:size].reshape(shape)
