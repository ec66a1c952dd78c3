"""Pooling: from the steps of a sequence to one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_choice
from rgru.model._layer import Flow
from rgru.nn._merge import last_features, last_features_backward

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from rgru._backends.base import Backend


class Pool:
    """Pooling of a `rgru.Model`: one row for each sequence.

    Parameters
    ----------
    kind : {"last", "mean", "max"}
        "last": the final states of the GRU before, which must be the layer before: those after the last step, and of
        its reverse direction after the first; for a sequence without steps the initial states. "mean" and "max": over
        the steps of a sequence, feature by feature; 0 for a sequence without steps.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> model = rgru.Model([rgru.GRU(3, 8), rgru.model.Pool("max")])
    >>> model(np.zeros((2, 5, 3), np.float32)).shape
    (2, 8)
    """

    def __init__(self, kind: str) -> None:
        self.kind = as_choice("kind", kind, ("last", "mean", "max"))

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        """No parameters."""
        return {}

    @property
    def _arrays(self) -> list[NDArray[Any]]:
        """No parameters."""
        return []

    @property
    def _config(self) -> dict[str, Any]:
        """The kind."""
        return {"kind": self.kind}

    @classmethod
    def _from_saved(cls, config: dict[str, Any], tensors: dict[str, Any]) -> Self:
        """Restore a layer from its `_config`."""
        return cls(**config)

    def _output_size(self, features: int | None) -> int | None:
        """Return the features of a step."""
        return features

    def _on_device(self, backend: Backend, *, training: bool) -> None:
        """Return nothing: there are no parameters."""

    def _resident(self, backend: Backend, arrays: list[Any]) -> None:
        """Return nothing: there are no parameters."""

    def _forward(self, backend: Backend, flow: Flow, given: Any) -> Flow:
        """Compute a row for each sequence."""
        assert flow.offsets is not None
        if self.kind == "last":
            return Flow(last_features(flow.gru, flow.states, backend.xp), None)
        pooled = backend.mean_over_time if self.kind == "mean" else backend.max_over_time
        return Flow(pooled(flow.values, flow.offsets), None)

    def _record(self, backend: Backend, flow: Flow, given: Any, rng: np.random.Generator) -> tuple[Flow, Any]:
        """Compute a row for each sequence, and what `_backward` needs."""
        pooled = self._forward(backend, flow, given)
        return pooled, (flow, pooled.values)

    def _backward(self, backend: Backend, saved: Any, d: Flow, given: Any) -> tuple[Flow, list[Any]]:
        """Compute the gradient by the steps, or by the final states."""
        flow, pooled = saved
        if self.kind == "last":
            return Flow(None, flow.offsets, last_features_backward(flow.gru, flow.states, d.values, backend.xp)), []
        lengths = np.diff(flow.offsets)
        sequences = backend.array(np.repeat(np.arange(len(lengths)), lengths))  # of each step
        counts = backend.array(np.maximum(lengths, 1).astype(d.values.dtype)[:, None])
        if self.kind == "mean":
            return Flow((d.values / counts)[sequences], flow.offsets), []
        # Steps that share the largest value share its gradient.
        largest = (flow.values == pooled[sequences]).astype(d.values.dtype)
        shares = backend.mean_over_time(largest, flow.offsets) * counts
        return Flow(largest * (d.values / backend.xp.maximum(shares, 1))[sequences], flow.offsets), []

    def __repr__(self) -> str:
        return f"Pool({self.kind!r})"
