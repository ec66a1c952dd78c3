"""The parameters of a model while they are trained on a device, and their packed weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rgru._backends.base import Backend
    from rgru.model._layer import Layer


class DeviceParameters:
    """The parameters of a model as arrays of a device: copies, or on the CPU the model's own.

    Parameters
    ----------
    backend : Backend
        The device, which must be the current one.
    layers : sequence of Layer
        The model's.
    """

    def __init__(self, backend: Backend, layers: Sequence[Layer]) -> None:
        self._backend, self._layers = backend, layers
        self._hosts = [layer._arrays for layer in layers]
        self._arrays = [[backend.array(array) for array in arrays] for arrays in self._hosts]
        self._given: list[Any] | None = None

    @property
    def arrays(self) -> list[Any]:
        """The parameters on the device, layer by layer."""
        return [array for arrays in self._arrays for array in arrays]

    def given(self) -> list[Any]:
        """Return what the layers' methods take, layer by layer."""
        if self._given is None:
            pairs = zip(self._layers, self._arrays, strict=True)
            self._given = [layer._resident(self._backend, arrays) for layer, arrays in pairs]
        return self._given

    def changed(self) -> None:
        """Drop the packed weights; must be called after every change of `arrays`."""
        self._given = None

    def bring_back(self) -> None:
        """Copy the parameters into the model's own arrays."""
        copies = [self._backend.numpy(array) for array in self.arrays]  # all, before any host array is overwritten
        hosts = [array for arrays in self._hosts for array in arrays]
        for host, array in zip(hosts, copies, strict=True):
            if host is not array:
                host[...] = array
