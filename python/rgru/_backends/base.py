"""The interface of a device to models and training.

A backend takes and returns arrays of its device; only `array`, `numpy` and `each` copy between host and device. The
sequences' `offsets` are NumPy arrays everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from rgru._data.ragged import Ragged
    from rgru.nn._gru import GRU

Run: TypeAlias = "Callable[[Any, NDArray[np.int64]], Any]"
"""A function of the steps (S, I) of N sequences, on the device, and their offsets (N + 1,), to an array there."""


class BackwardTape(Protocol):
    """The arrays that `PackedWeights.forward_tape` keeps for the backward pass, like `_core.Tape`."""

    def backward(self, dy: Any, dh_n: Any) -> tuple[Any, Any, Any]:
        """Return dx, dh0 and dparams (P,), from the gradients by y and h_n, one of which may be None."""


class PackedWeights(Protocol):
    """Immutable snapshot of a GRU's parameters, like `_core.Weights`, over arrays of the device."""

    @property
    def training(self) -> bool:
        """Whether `forward_tape` can be called."""

    def forward(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> tuple[Any, Any]:
        """Return y and h_n."""

    def final_states(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> Any:
        """Return h_n alone, which may take less memory and time."""

    def forward_tape(  # noqa: PLR0917 - as the core has it
        self, x: Any, h0: Any, lengths: Any, offsets: Any, dropout: float, seed: int | None, checkpoint: int | None
    ) -> tuple[Any, Any, BackwardTape]:
        """Return y, h_n and the tape for the backward pass."""


class Optimizer(Protocol):
    """An optimizer like `_core.Adam`, over arrays of the device."""

    lr: float

    def step(self, params: list[Any], grads: list[Any], max_norm: float | None) -> Any:
        """Update `params` in place; return the gradients' norm before clipping: a float, or a 0-d device array."""


class Backend(Protocol):
    """A device and its functions.

    Those named as in `_core` are documented there; they take and return arrays of the device. A loss or a norm may be a
    0-d float64 array of the device instead of a float, so that the host does not wait for it.
    """

    @property
    def device(self) -> str:
        """The device's name, as users pass it."""

    @property
    def xp(self) -> Any:
        """The array module: NumPy, or a module like it for the device's arrays."""

    def here(self) -> AbstractContextManager[object]:
        """Make the device the current one in a block; operations of `xp` and on arrays must be within such a block."""

    def array(self, host: NDArray[Any]) -> Any:
        """Return a contiguous NumPy array on the device: a copy, so that `host` may change, except on the CPU."""

    def numpy(self, array: Any) -> NDArray[Any]:
        """Return an array of the device as a NumPy array, once it is computed."""

    def each(self, run: Run, pieces: Iterable[Ragged]) -> Generator[NDArray[Any]]:
        """Yield the result of `run` for each piece, on the host and in order.

        The next pieces may be taken before a result is ready. `run` is called with the device as the current one.
        """

    def weights_of(self, gru: GRU, *, training: bool) -> PackedWeights:
        """Return the packed weights that a GRU keeps for the device."""

    @property
    def Weights(self) -> Callable[..., PackedWeights]: ...  # noqa: N802
    @property
    def Adam(self) -> Callable[[float, float, float, float], Optimizer]: ...  # noqa: N802
    def linear(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def linear_backward(self, x: Any, weight: Any, dy: Any) -> tuple[Any, Any, Any]: ...
    def mean_over_time(self, y: Any, offsets: NDArray[np.int64]) -> Any: ...
    def max_over_time(self, y: Any, offsets: NDArray[np.int64]) -> Any:
        """Return the largest values over the steps of each sequence (N, K), of y (S, K); 0 for an empty sequence."""

    def activate(self, x: Any, activation: Any) -> Any: ...
    def normalise(self, x: Any, epsilon: float) -> tuple[Any, Any]: ...
    def normalise_backward(self, dy: Any, y: Any, scales: Any) -> Any: ...
    def softmax(self, logits: Any) -> Any: ...
    def cross_entropy(self, logits: Any, targets: Any) -> tuple[Any, Any]: ...
    def mean_squared_error(self, prediction: Any, target: Any) -> tuple[Any, Any]: ...
