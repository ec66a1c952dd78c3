"""The parameters of a model on a device, and their packed weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgru._backends.base import PackedWeights
    from rgru.train._model import Model


class Placement:
    """The parameters of a model as arrays of a device: copies, or on the CPU the model's own.

    Parameters
    ----------
    model : Model
        The model, whose backend determines the device, which must be the current one.

    Attributes
    ----------
    arrays : list of array
        The GRU's flat parameters (P,), the head's weight (O, K) and bias (O,), on the device.
    """

    def __init__(self, model: Model) -> None:
        self._version = model.gru._version  # read first, so that a later change is noticed
        self._sizes = model.gru._sizes
        self._backend = model.backend
        self._hosts = model.host_parameters()
        self.arrays = [self._backend.array(array) for array in self._hosts]
        self._packed: PackedWeights | None = None

    def is_of(self, model: Model) -> bool:
        """Return whether the model's parameters and device are still those of this placement."""
        same = all(one is other for one, other in zip(self._hosts, model.host_parameters(), strict=True))
        return same and self._version == model.gru._version and self._backend is model.backend

    def weights(self, training: bool = False) -> PackedWeights:
        """Return the GRU's packed weights."""
        packed = self._packed
        if packed is None or (training and not packed.training):
            packed = self._packed = self._backend.Weights(self.arrays[0], **self._sizes, training=training)
        return packed

    def changed(self) -> None:
        """Drop the packed weights; must be called after every change of `arrays`."""
        self._packed = None

    def bring_back(self) -> None:
        """Copy the parameters into the model's own arrays."""
        copies = [self._backend.numpy(array) for array in self.arrays]  # all, before any host array is overwritten
        for host, array in zip(self._hosts, copies, strict=True):
            if host is not array:
                host[...] = array
