"""Batches of PyTorch as the core takes them, and back: batch first, time first, or packed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.torch._devices import as_array, as_tensor, backend_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru._backends.base import Backend


class Batch:
    """Tensors (N, T, F), as the core has them; and the base of the other layouts."""

    offsets: NDArray[np.int64] | None = None
    """Where the sequences start in the array of steps, if they are not padded."""

    def enter(self, tensor: Any, dtype: Any) -> Any:
        """Return the steps as the core takes them, without a copy where that is possible."""
        return as_array(tensor, dtype)

    def leave(self, array: Any, dtype: Any) -> Any:
        """Return the steps as a contiguous tensor, without a copy where that is possible."""
        return as_tensor(array, dtype)


class OneStep(Batch):
    """Tensors (N, F)."""

    def enter(self, tensor: Any, dtype: Any) -> Any:
        """Return the steps (N, 1, F)."""
        return as_array(tensor, dtype)[:, None]

    def leave(self, array: Any, dtype: Any) -> Any:
        """Return the tensor (N, F)."""
        return as_tensor(array[:, 0], dtype)


class TimeFirst(Batch):
    """Tensors (T, N, F).

    NumPy copies, on one thread: those of PyTorch would spin on for a while and slow down rgru's.
    """

    def enter(self, tensor: Any, dtype: Any) -> Any:
        """Return the steps (N, T, F)."""
        return as_array(tensor.transpose(0, 1), dtype)

    def leave(self, array: Any, dtype: Any) -> Any:
        """Return the tensor (T, N, F)."""
        return as_tensor(array.transpose(1, 0, 2).copy(), dtype)  # of one sequence, too: the tape refers to `array`


class Packed(Batch):
    """The data (S, F) of a `torch.nn.utils.rnn.PackedSequence`: step by step, each of the sequences still running.

    Parameters
    ----------
    sizes : numpy.ndarray of int64, shape (T,)
        The number of sequences that have each step; descending.
    backend : Backend
        Of the device of the data.
    """

    def __init__(self, sizes: NDArray[np.int64], backend: Backend) -> None:
        numbers = np.arange(sizes[0])
        places = (np.cumsum(sizes) - sizes) + numbers[:, None]  # (N, T)
        there = numbers[:, None] < sizes
        self._xp, self._rows = backend.xp, backend.array(places[there])  # of the data, sequence after sequence
        self.offsets = np.append(0, np.cumsum(there.sum(1)))

    def enter(self, tensor: Any, dtype: Any) -> Any:
        """Return the steps (S, F), sequence after sequence."""
        return as_array(tensor, dtype)[self._rows]

    def leave(self, array: Any, dtype: Any) -> Any:
        """Return the data (S, F)."""
        data = self._xp.empty_like(array)
        data[self._rows] = array
        return as_tensor(data, dtype)


def batch_of(x: Any, batch_sizes: Any | None, batch_first: bool) -> Batch:
    """Return the layout of a tensor: packed with these sizes, one step, or with three dimensions."""
    if batch_sizes is not None:
        return Packed(batch_sizes.numpy(), backend_of(x))
    if x.dim() == 2:
        return OneStep()
    return Batch() if batch_first else TimeFirst()


def as_states(tensor: Any, dtype: Any) -> Any:
    """Return states (L*D, N, H) of a tensor of this shape, or (N, H) of a single cell."""
    array = as_array(tensor, dtype)
    return array if array.ndim == 3 else array[None]
