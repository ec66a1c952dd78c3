"""What models compute with: the few calls that every device offers, as protocols.

Arrays that a backend gives and takes are its device's own; what crosses between host and device does so by `array`,
`numpy` and `each` alone. The places of sequences (`offsets`) are NumPy arrays everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from rgru._data.ragged import Ragged

Run: TypeAlias = "Callable[[Any, NDArray[np.int64]], Any]"
"""Of the steps (S, I) of some sequences, on the device, and their offsets (N + 1,): an array on the device."""


class BackwardTape(Protocol):
    """What `PackedWeights.forward_tape` keeps; as `_core.Tape`."""

    def backward(self, dy: Any, dh_n: Any) -> tuple[Any, Any, Any]:
        """Give dx, dh0 and dparams (P,), for gradients by y and h_n of which one may be None."""


class PackedWeights(Protocol):
    """Immutable snapshot of a GRU's parameters; as `_core.Weights`, over arrays of the device."""

    @property
    def training(self) -> bool:
        """Whether `forward_tape` can be called."""

    def forward(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> tuple[Any, Any]:
        """Give y and h_n."""

    def final_states(self, x: Any, h0: Any, lengths: Any, offsets: Any) -> Any:
        """Give h_n alone, which may take less memory and time."""

    def forward_tape(  # noqa: PLR0917 - as the core has it
        self, x: Any, h0: Any, lengths: Any, offsets: Any, dropout: float, seed: int, checkpoint: int | None
    ) -> tuple[Any, Any, BackwardTape]:
        """Give y, h_n and the way back."""


class Optimizer(Protocol):
    """As `_core.Adam`, over arrays of the device."""

    lr: float

    def step(self, params: list[Any], grads: list[Any], max_norm: float | None) -> Any:
        """Change `params` in place; give the gradients' norm before clipping, a float or a 0-d array on the device."""


class Backend(Protocol):
    """A device and its calls.

    Those named as in `_core` take and give what is said there, in arrays of the device. A device may give a loss or a
    norm as a 0-d float64 array instead of a float, so that nobody has to wait for it.
    """

    @property
    def device(self) -> str:
        """Its name, as users give it."""

    @property
    def xp(self) -> Any:
        """The array module: NumPy, or one like it for the device's arrays."""

    def here(self) -> AbstractContextManager[object]:
        """Make the device the current one; operations of `xp` and of arrays have to stand in such a block."""

    def array(self, host: NDArray[Any]) -> Any:
        """Give a contiguous NumPy array on the device; but for the CPU a copy, so that `host` may change afterwards."""

    def numpy(self, array: Any) -> NDArray[Any]:
        """Give the numbers of an array of the device as a NumPy array, once they are computed."""

    def each(self, run: Run, pieces: Iterable[Ragged]) -> Generator[NDArray[Any]]:
        """Give what `run` makes of each piece, on the host and in order; a later piece may be taken meanwhile.

        `run` is called where the device is the current one.
        """

    @property
    def Weights(self) -> Callable[..., PackedWeights]: ...  # noqa: N802
    @property
    def Adam(self) -> Callable[[float, float, float, float], Optimizer]: ...  # noqa: N802
    def linear(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def linear_backward(self, x: Any, weight: Any, dy: Any) -> tuple[Any, Any, Any]: ...
    def mean_over_time(self, y: Any, offsets: NDArray[np.int64]) -> Any: ...
    def softmax(self, logits: Any) -> Any: ...
    def cross_entropy(self, logits: Any, targets: Any) -> tuple[Any, Any]: ...
    def mean_squared_error(self, prediction: Any, target: Any) -> tuple[Any, Any]: ...
