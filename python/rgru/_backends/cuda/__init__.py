"""The backend of models on a GPU.

`array_ops` and `adam` are written over any array module; `transfer` copies while the GPU computes.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from rgru._backends.cuda.array_ops import Operations
from rgru._backends.cuda.transfer import pipelined
from rgru._cuda.device import open_device
from rgru._cuda.stack import Weights

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from rgru._backends.base import PackedWeights, Run
    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array
    from rgru._data.ragged import Ragged
    from rgru.nn._gru import GRU


@cache
def open_backend(device: str) -> CudaBackend:
    """Return the backend of a GPU, the same object for the same device.

    Parameters
    ----------
    device : str
        "cuda:0", "cuda:1" and so on.

    Returns
    -------
    CudaBackend

    Raises
    ------
    ImportError, RuntimeError
        If there is no CuPy, no driver, or no such GPU; the message says what to install or change.
    """
    return CudaBackend(open_device(int(device.removeprefix("cuda:"))))


class CudaBackend(Operations):
    """`rgru._backends.base.Backend` on a GPU, and a `rgru._backends.cuda.transfer.Device`.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device) -> None:
        super().__init__(device.xp)
        self._device = device
        self.device = f"cuda:{device.index}"

    def here(self) -> AbstractContextManager[object]:
        """Return a context manager that makes the GPU the current one."""
        return self._device.here()

    def array(self, host: NDArray[Any]) -> Array:
        """Copy an array to the GPU."""
        return self._device.array(host)

    def numpy(self, array: Array) -> NDArray[Any]:
        """Copy an array to the host; waits until it is computed."""
        return self._device.numpy(array)

    def each(self, run: Run, pieces: Iterable[Ragged]) -> Generator[NDArray[Any]]:
        """Compute piece after piece, with copies that overlap with computation; see `pipelined`."""
        return pipelined(self, run, pieces)

    def weights_of(self, gru: GRU, *, training: bool) -> PackedWeights:
        """Return the packed weights that a GRU keeps for this GPU."""
        weights: PackedWeights = gru._gpu_weights(self._device.index)
        return weights

    def Weights(self, params: Array, sizes: Mapping[str, Any], *, training: bool) -> Weights:  # noqa: N802
        """Return the packed weights of a GRU, usable for training too, whatever `training` is."""
        return Weights(self._device, params, sizes)

    def pinned_empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array in pinned memory of the host, which the GPU copies from and to asynchronously."""
        import cupyx

        array: NDArray[np.generic] = cupyx.empty_pinned(shape, dtype)
        return array

    def stream(self) -> Any:
        """Return a new stream that waits for no other."""
        return self.xp.cuda.Stream(non_blocking=True)

    def current_stream(self) -> Any:
        """Return the stream that computations go to."""
        return self.xp.cuda.get_current_stream()

    def event(self) -> Any:
        """Return a new event."""
        return self.xp.cuda.Event(disable_timing=True)
