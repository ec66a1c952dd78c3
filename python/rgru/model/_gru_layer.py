"""A GRU as a layer of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.model._layer import Flow, check_features
from rgru.nn._embedding import training_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rgru._backends.base import Backend
    from rgru.nn._gru import GRU


class GruLayer:
    """A GRU with the interface of `Layer`.

    Parameters
    ----------
    gru : GRU
        The GRU, which is not copied: training changes it.
    last : bool
        Whether only its final states are used.
    """

    def __init__(self, gru: GRU, *, last: bool) -> None:
        self.gru, self._last = gru, last

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        """The parameters by name."""
        return dict(self.gru.params)

    @property
    def _config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return self.gru._config

    @property
    def _arrays(self) -> list[NDArray[Any]]:
        """All parameters in one array (P,)."""
        return [self.gru._flat]

    def _output_size(self, features: int | None) -> int:
        """Return the features of the GRU's outputs."""
        check_features(features, self.gru.input_size)
        return self.gru.output_size

    def _on_device(self, backend: Backend, *, training: bool) -> Any:
        """Return the packed weights that the GRU keeps for a device."""
        return backend.weights_of(self.gru, training=training)

    def _resident(self, backend: Backend, arrays: list[Any]) -> Any:
        """Return packed weights, which serve training."""
        return training_weights(backend.Weights, arrays[0], self.gru)

    def _forward(self, backend: Backend, flow: Flow, given: Any) -> Flow:
        """Run over the sequences."""
        if self._last:
            return Flow(None, flow.offsets, given.final_states(flow.values, None, None, flow.offsets), self.gru)
        y, h_n = given.forward(flow.values, None, None, flow.offsets)
        return Flow(y, flow.offsets, h_n, self.gru)

    def _record(self, backend: Backend, flow: Flow, given: Any, rng: np.random.Generator) -> tuple[Flow, Any]:
        """Run over the sequences, with the GRU's dropout, and keep the tape."""
        y, h_n, tape = given.forward_tape(
            flow.values, None, None, flow.offsets, self.gru.dropout, self.gru._mask_seed(), None
        )
        return Flow(y, flow.offsets, h_n, self.gru), tape

    def _backward(self, backend: Backend, saved: Any, d: Flow, given: Any) -> tuple[Flow, list[Any]]:
        """Run backwards."""
        dx, _, d_flat = saved.backward(d.values, d.states)
        return Flow(dx, d.offsets), [d_flat]
