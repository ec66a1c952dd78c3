"""The weights of `torch.nn.GRU` as rgru's packed weights, which are kept until a parameter changes."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.weak import WeakTensorKeyDictionary

from rgru import _core
from rgru.nn._params import named
from rgru.nn._settings import Settings
from rgru.torch._devices import as_array, as_tensor, backend_of
from rgru.torch._workers import limit_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rgru.nn._params import Layout

SMALL = 2048
"""Parameters of up to this many numbers, and biases, are compared with the packed ones as a whole."""

SAMPLES = 8
"""Of larger ones, this many rows and columns are, or a few more."""

EXACT = 1024
"""In calls of this many steps of all sequences together, all numbers are: that takes a few hundredths of the run."""

_kept: Any = WeakTensorKeyDictionary()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.clear)  # so that workers pack, and see to their threads


class PackedWeights:
    """The weights of a stack, packed for the kernels.

    Parameters
    ----------
    weights : sequence of torch.Tensor
        For each layer and direction weight_ih (3H, I), weight_hh (3H, H) and, with biases, bias_ih and bias_hh (3H,),
        all of one floating-point type, on one device.
    cell : tuple of bool
        Whether there are biases, two directions, and whether the cell is reset-after.
    """

    def __init__(self, weights: Sequence[Any], cell: tuple[bool, bool, bool]) -> None:
        _check(weights)
        limit_threads()
        bias, bidirectional, self._reset_after = self._cell = cell
        self._count = 4 if bias else 2
        layers = len(weights) // (self._count * (1 + bidirectional))
        dtype = torch.promote_types(weights[0].dtype, torch.float32)
        self.dtype = dtype
        inputs, hidden = weights[0].shape[1], weights[1].shape[1]
        self._sizes, self._layout = _layout(inputs, hidden, layers, cell, str(dtype).removeprefix("torch."))
        # The views hold the storages, so that no other weights can come to lie at the same addresses.
        self._state = _state(weights)
        self._backend = backend_of(weights[0])
        # On a GPU a comparison would wait for it.
        self._samples = [_sample(weight) for weight in weights] if weights[0].is_cpu else []
        self._sampled = self._bytes()
        self._type = weights[0].dtype
        self._flat = self._rows_in([as_array(weight, dtype) for weight in weights])
        self._matrices = [
            (weights[at + k].detach(), one[name])
            for at, one in zip(range(0, len(weights), self._count), self._cells(self._flat), strict=True)
            for k, name in enumerate("WU" if self._samples else "")
        ]
        self._cores: dict[bool, Any] = {}

    def holds(self, weights: Sequence[Any], cell: tuple[bool, bool, bool], steps: int) -> bool:
        """Return whether these are the same weights, unchanged.

        Writes through `Tensor.data` leave the version of a parameter as it is. So its numbers are compared on the CPU:
        some, or all where a run of so many `steps` takes much longer.
        """
        same = self._cell == cell and self._state == _state(weights) and self._sampled == self._bytes()
        return same and (steps < EXACT or all(self._agree(*pair) for pair in self._matrices))

    def core(self, training: bool) -> Any:
        """Return the weights of the core; those for training serve inference too."""
        core = self._cores.get(training) or self._cores.get(True)
        if core is None:
            core = self._cores[training] = self._backend.Weights(self._flat, self._sizes, training=training)
        return core

    def params(self) -> dict[str, NDArray[Any]]:
        """Return rgru's parameters by name, on the host."""
        host: NDArray[Any] = self._backend.numpy(self._flat)
        return named(host, self._layout)

    def split(self, gradient: NDArray[Any]) -> list[Any]:
        """Return the gradients of the weights from that of the core's parameters (P,), whose memory they take over."""
        cells = self._cells(gradient)
        found = []
        for one in cells:
            hidden = one["U"].shape[1]
            one["W"][hidden : 2 * hidden] *= -1
            one["U"][hidden : 2 * hidden] *= -1
            found += [one["W"], one["U"]]
            if "b" in one:
                one["b"][hidden : 2 * hidden] *= -1
                recurrent = one["b"].copy()
                if self._reset_after:
                    recurrent[2 * hidden :] = one["b_hh"]
                found += [one["b"], recurrent]
        return [as_tensor(array, self._type) for array in found]

    def _rows_in(self, arrays: list[Any]) -> Any:
        """Return rgru's parameters (P,); PyTorch's gates r, z, n are rgru's r, -z, h~."""
        xp = self._backend.xp
        flat = xp.empty(sum(math.prod(shape) for shape, _ in self._layout.values()), arrays[0].dtype)
        for one, at in zip(self._cells(flat), range(0, len(arrays), self._count), strict=True):
            weight_ih, weight_hh, *biases = arrays[at : at + self._count]
            hidden = len(weight_ih) // 3
            one["W"][...] = weight_ih
            one["U"][...] = weight_hh
            if biases:
                xp.add(biases[0], biases[1], out=one["b"])
                if self._reset_after:
                    one["b"][2 * hidden :] = biases[0][2 * hidden :]
                    one["b_hh"][...] = biases[1][2 * hidden :]
            for name in {"W", "U", "b"} & set(one):
                one[name][hidden : 2 * hidden] *= -1
        return flat

    def _cells(self, flat: NDArray[Any]) -> list[dict[str, NDArray[Any]]]:
        """Return views of the parameters by cell and by name."""
        cells: dict[str, dict[str, NDArray[Any]]] = {}
        for name, view in named(flat, self._layout).items():
            cell, _, tensor = name.rpartition(".")
            cells.setdefault(cell, {})[tensor] = view
        return list(cells.values())

    def _agree(self, weight: Any, packed: NDArray[Any]) -> bool:
        """Return whether a matrix has the numbers that were packed."""
        if weight.numel() <= SMALL:  # all of it is sampled
            return True
        ours, theirs = packed.reshape(3, -1), weight.to(self.dtype).numpy().reshape(3, -1)
        return all(np.array_equal(-ours[k] if k == 1 else ours[k], theirs[k]) for k in range(3))

    def _bytes(self) -> list[bytes]:
        return [sample.tobytes() for sample in self._samples]


def packed_weights(weights: Sequence[Any], cell: tuple[bool, bool, bool], steps: int) -> PackedWeights:
    """Return the packed weights for a run of so many steps, from an earlier call where they have not changed.

    See `PackedWeights`.
    """
    packed = _kept.get(weights[0])
    if packed is None or not packed.holds(weights, cell, steps):
        packed = _kept[weights[0]] = PackedWeights(weights, cell)
    return packed  # type: ignore[no-any-return]


def forget(weights: Sequence[Any]) -> None:
    """Discard the packed weights."""
    _kept.pop(weights[0], None)


@lru_cache
def _layout(
    inputs: int, hidden: int, layers: int, cell: tuple[bool, bool, bool], dtype: str
) -> tuple[dict[str, Any], Layout]:
    bias, bidirectional, reset_after = cell
    settings = Settings(
        inputs,
        hidden,
        layers,
        bidirectional=bidirectional,
        reset_after=reset_after,
        bias=bias,
        dropout=0.0,
        dtype=dtype,
    )
    sizes = settings._core_sizes
    return sizes, {name: (tuple(shape), start) for name, shape, start in _core.layout(sizes)}


def _check(weights: Sequence[Any]) -> None:
    first = weights[0]
    for weight in weights:
        if not weight.is_floating_point() or weight.dtype != first.dtype:
            raise ValueError(f"weights: expected one floating-point type, got {first.dtype} and {weight.dtype}")
        if weight.device != first.device:
            raise RuntimeError(f"weights: expected tensors on one device, got {first.device} and {weight.device}")


def _state(weights: Sequence[Any]) -> list[tuple[int, int]]:
    """Return where each weight is and how often it was written to, as far as it counts that."""
    try:
        return [(weight.data_ptr(), weight._version) for weight in weights]
    except RuntimeError:  # made in inference mode, where nothing counts
        return [(weight.data_ptr(), 0) for weight in weights]


def _sample(weight: Any) -> NDArray[Any]:
    """Return a view of some of a weight's numbers, or of all if they are few; as bits where NumPy lacks the type."""
    bits = weight.detach()
    array: NDArray[Any] = (bits.view(torch.int16) if bits.element_size() == 2 else bits).numpy()
    if array.size <= SMALL or array.ndim == 1:
        return array
    return array[tuple(slice(None, None, max(1, size // SAMPLES)) for size in array.shape)]
