"""Memory of other libraries, on which arrays of this device lie."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array


class Loan:
    """Another library's memory, which is kept when this object dies, until the work of a stream up to then is done."""

    def __init__(self, device: Device, array: Array, stream: Any) -> None:
        self._device, self._array, self._stream = device, array, stream

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self._device.keep(self._array, [_EndOfWork(self._device, self._stream)])


class _EndOfWork:
    """A mark behind the work of a stream so far; behind later work if the stream takes no marks yet."""

    def __init__(self, device: Device, stream: Any) -> None:
        self._device, self._stream, self._event = device, stream, None

    @property
    def done(self) -> bool:
        """Whether the work is done."""
        if self._event is None:
            self._event = self._record()
        return self._event is not None and bool(self._event.done)

    def _record(self) -> Any:
        """Record an event; None during a capture."""
        cupy = self._device.xp
        with cupy.cuda.Device(self._device.index):
            try:
                if self._stream.is_capturing():
                    return None
            except cupy.cuda.runtime.CUDARuntimeError:  # the default stream, while one that it waits for is captured
                return None
            return self._stream.record(cupy.cuda.Event(disable_timing=True))
