"""The parameters of a model while they are trained on a device, and their packed weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.nn._embedding import training_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru._backends.base import Backend, PackedWeights
    from rgru.nn._settings import Settings


class DeviceParameters:
    """The parameters of a model as arrays of a device: copies, or on the CPU the model's own.

    Parameters
    ----------
    backend : Backend
        The device, which must be the current one.
    hosts : list of ndarray
        The model's own: the GRU's flat parameters (P,), the head's weight (O, K) and bias (O,).
    settings : Settings
        Those of the GRU.

    Attributes
    ----------
    arrays : list of array
        The parameters on the device, in the order of `hosts`.
    """

    def __init__(self, backend: Backend, hosts: list[NDArray[Any]], settings: Settings) -> None:
        self._backend, self._hosts, self._settings = backend, hosts, settings
        self.arrays = [backend.array(array) for array in hosts]
        self._packed: PackedWeights | None = None

    def weights(self) -> PackedWeights:
        """Return the GRU's packed weights, which serve training."""
        if self._packed is None:
            self._packed = training_weights(self._backend.Weights, self.arrays[0], self._settings)
        return self._packed

    def changed(self) -> None:
        """Drop the packed weights; must be called after every change of `arrays`."""
        self._packed = None

    def bring_back(self) -> None:
        """Copy the parameters into the model's own arrays."""
        copies = [self._backend.numpy(array) for array in self.arrays]  # all, before any host array is overwritten
        for host, array in zip(self._hosts, copies, strict=True):
            if host is not array:
                host[...] = array
