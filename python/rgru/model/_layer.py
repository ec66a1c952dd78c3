"""What a layer of a model is: rows in, rows out, forward and backward, on any device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rgru._backends.base import Backend


@dataclass
class Flow:
    """What passes from layer to layer: arrays of a device, or in the backward pass the gradients by them.

    Attributes
    ----------
    values : array, shape (S, K) or (N, K), or None
        The steps of all sequences, or once they are pooled a row for each sequence. None if nothing reads them.
    offsets : ndarray of int64, shape (N + 1,), or None
        Where the sequences begin in `values`; None once they are pooled.
    states : array, shape (L*D, N, H), optional
        The final states of the GRU before, for the pooling that reads them.
    gru : GRU, optional
        That GRU.
    """

    values: Any
    offsets: NDArray[np.int64] | None
    states: Any = None
    gru: Any = None


class Layer(Protocol):
    """A layer of a model.

    Its parameters pass through the methods as `given`, in the form of `_on_device` or `_resident`.
    """

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        """The parameters by name, for files."""

    @property
    def _config(self) -> dict[str, Any]:
        """The constructor's arguments by name, as JSON values, for files."""

    @property
    def _arrays(self) -> list[NDArray[Any]]:
        """The parameters that training changes, the layer's own."""

    def _output_size(self, features: int | None) -> int | None:
        """Return the features of the output, for those of the input; None if they are not known yet.

        Raises
        ------
        ValueError
            If the layer does not take as many.
        """

    def _on_device(self, backend: Backend, *, training: bool) -> Any:
        """Return the parameters on a device."""

    def _resident(self, backend: Backend, arrays: list[Any]) -> Any:
        """Return the parameters for training, of `arrays` that are on the device."""

    def _forward(self, backend: Backend, flow: Flow, given: Any) -> Flow:
        """Compute the output."""

    def _record(self, backend: Backend, flow: Flow, given: Any, rng: np.random.Generator) -> tuple[Flow, Any]:
        """Compute the output in training, and what `_backward` needs."""

    def _backward(self, backend: Backend, saved: Any, d: Flow, given: Any) -> tuple[Flow, list[Any]]:
        """Compute the gradients by the input, and by the arrays, for those by the output."""


class RowLayer(ABC):
    """The base of layers that treat each row by itself, by default without parameters."""

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        """The parameters by name."""
        return {}

    @property
    def _arrays(self) -> list[NDArray[Any]]:
        """The parameters, in the order of `_tensors`."""
        return list(self._tensors.values())

    def _output_size(self, features: int | None) -> int | None:
        """Return the features of the output."""
        return features

    def _on_device(self, backend: Backend, *, training: bool) -> Any:
        """Return the parameters on a device."""
        return self._resident(backend, [backend.array(array) for array in self._arrays])

    def _resident(self, backend: Backend, arrays: list[Any]) -> Any:
        """Return the parameters for training."""
        return arrays

    def _forward(self, backend: Backend, flow: Flow, given: Any) -> Flow:
        """Compute the output."""
        return Flow(self._apply(backend, flow.values, given), flow.offsets)

    def _record(self, backend: Backend, flow: Flow, given: Any, rng: np.random.Generator) -> tuple[Flow, Any]:
        """Compute the output in training, and what `_backward` needs."""
        values, saved = self._record_rows(backend, flow.values, given, rng)
        return Flow(values, flow.offsets), saved

    def _backward(self, backend: Backend, saved: Any, d: Flow, given: Any) -> tuple[Flow, list[Any]]:
        """Compute the gradients."""
        values, gradients = self._backward_rows(backend, saved, d.values, given)
        return Flow(values, d.offsets), gradients

    @abstractmethod
    def _apply(self, backend: Backend, x: Any, given: Any) -> Any:
        """Compute the output (M, O) of rows (M, K)."""

    @abstractmethod
    def _record_rows(self, backend: Backend, x: Any, given: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        """Compute the output in training, and what `_backward` needs."""

    @abstractmethod
    def _backward_rows(self, backend: Backend, saved: Any, dy: Any, given: Any) -> tuple[Any, list[Any]]:
        """Compute the gradients by the input and the arrays."""


def check_features(features: int | None, expected: int) -> None:
    """Refuse a number of features that is not the expected one.

    Raises
    ------
    ValueError
    """
    if features is not None and features != expected:
        raise ValueError(f"{expected} features, got {features} from the layer before")
