"""Memory of other libraries, on which arrays of this device lie."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rgru._cuda.device import open_device

if TYPE_CHECKING:
    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array


def borrowed(array: Array) -> Array:
    """Return an array over another library's memory that lives as one of CuPy would on the current stream.

    The library may use the memory again, on streams of its own, as soon as the last reference to it is gone: it is kept
    until the work of the current stream up to then is done. In a graph that is being captured, that is none: whoever
    launches the graph keeps its inputs, as they do those of CuPy.

    Parameters
    ----------
    array : cupy.ndarray

    Returns
    -------
    cupy.ndarray
    """
    device = open_device(array.device.id)
    cupy = device.xp
    with cupy.cuda.Device(device.index):
        loan = _Loan(device, array, cupy.cuda.get_current_stream())
    memory = cupy.cuda.UnownedMemory(array.data.ptr, array.nbytes, loan, device.index)
    return cupy.ndarray(array.shape, array.dtype, cupy.cuda.MemoryPointer(memory, 0), array.strides)


class _Loan:
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
