"""Places between the layers of a model, and which of their rows a value of the graph holds.

At each place every number of the rows has its own value, for arrays of two sizes. A value that is made of them by
anything that only moves numbers tells by its numbers which rows it holds, and in which order.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

PROBES = ((5, 7), (3, 2))
"""Steps and sequences of the arrays, where the model does not fix them: different ones, for shapes that are fixed."""

FIRST = 2**12
"""The first number. With a half added it is no float16, bfloat16 or integer: what rounds the numbers changes them."""

NUMBERS = 2**22
"""Numbers that are given out at most in float32, where up to twice as many are exact."""


@dataclass(frozen=True)
class Place:
    """A place between layers.

    Attributes
    ----------
    arrays : tuple of ndarray, shape (N, T, K) or (N, K)
        The numbered rows, for each of the sizes.
    layers : tuple
        The layers before, from the input on.
    nodes : tuple
        Those of ONNX for the last layer, if it is a GRU.
    takes : str
        What the last layer still takes of a node of ONNX after it: "gain", "bias" or nothing.
    """

    arrays: tuple[NDArray[Any], ...]
    layers: tuple[Any, ...] = ()
    nodes: tuple[Any, ...] = ()
    takes: str = ""

    @property
    def features(self) -> int:
        """K."""
        return int(self.arrays[0].shape[-1])

    def orders(self, indices: Sequence[NDArray[np.int64]]) -> set[str]:
        """Return what a value is that has the rows `indices`.

        "NT" and "TN" are all steps in this order of axes, "last" the last step of each sequence, and "N" the rows of a
        place without steps. Where sizes are fixed to 1 it may be several.
        """
        found: set[str] | None = None
        for array, index in zip(self.arrays, indices, strict=True):
            grid = np.arange(math.prod(array.shape[:-1])).reshape(array.shape[:-1])
            forms = {"N": grid} if grid.ndim == 1 else {"NT": grid, "TN": grid.T, "last": grid[:, -1]}
            now = {name for name, form in forms.items() if np.array_equal(index, form)}
            found = now if found is None else found & now
        return found or set()


class TooManyNumbersError(ValueError):
    """The rows of a place have more numbers than can be told apart."""


class Places:
    """All places of a model.

    Parameters
    ----------
    dtype : dtype_like, default "float32"
        The type of the numbers. float64 tells more of them apart, which only memory bounds.
    """

    def __init__(self, dtype: DTypeLike = np.float32) -> None:
        self._dtype, self._limit = np.dtype(dtype), NUMBERS if dtype == np.float32 else 16 * NUMBERS
        self._places: list[Place] = []
        self._starts: list[int] = []
        self._next = FIRST

    def add(self, shapes: Sequence[tuple[int, ...]], kind: str = "f", **details: Any) -> Place:
        """Return a new place with rows of these shapes, one for each of the sizes, and of this kind of numbers."""
        start, arrays = self._next, []
        for shape in shapes:
            end = self._next + math.prod(shape)
            if end > self._limit:
                raise TooManyNumbersError(f"arrays as large as {shape}, which are too many numbers to follow")
            numbers = np.arange(self._next, end).reshape(shape)
            arrays.append(numbers if kind in "iu" else (numbers + 0.5).astype(self._dtype))
            self._next = end
        place = Place(tuple(arrays), **details)
        self._places.append(place)
        self._starts.append(start)
        return place

    def find(self, values: Sequence[NDArray[Any]]) -> tuple[Place, list[NDArray[np.int64]]] | None:
        """Return the place whose rows are along the last axis of a value, and which rows; None if there is none."""
        place = self._of(values)
        if place is None:
            return None
        indices = []
        for array, value in zip(place.arrays, values, strict=True):
            rows = array.reshape(-1, place.features)
            index = (value[..., 0] - rows[0, 0]).astype(np.int64) // place.features
            known = value.shape[-1] == place.features and index.min() >= 0 and index.max() < len(rows)
            if not known or not np.array_equal(rows[index], value):
                return None
            indices.append(index)
        return place, indices

    def find_steps(self, values: Sequence[NDArray[Any]]) -> tuple[Place, list[tuple[Any, ...]]] | None:
        """Return the place whose steps, in any order, are along the last axis, and which sequence and feature each is.

        None if there is no such place, or some of its steps are missing.
        """
        place = self._of(values)
        if place is None or place.arrays[0].ndim < 3:
            return None
        indices: list[tuple[Any, ...]] = []
        for array, value in zip(place.arrays, values, strict=True):
            steps, ordered = array.swapaxes(1, 2), np.sort(value, axis=-1)
            first = (ordered[..., 0] - steps[0, 0, 0]).astype(np.int64)
            if ordered.shape[-1] != array.shape[1] or first.min() < 0 or first.max() >= array.size:
                return None
            sequence, _, feature = np.unravel_index(first, array.shape)
            if not np.array_equal(steps[sequence, feature], ordered):
                return None
            indices.append((sequence, feature))
        return place, indices

    def _of(self, values: Sequence[NDArray[Any]]) -> Place | None:
        """Return the place of the first number."""
        if any(value.size == 0 or value.ndim == 0 for value in values):
            return None
        at = bisect_right(self._starts, values[0].flat[0]) - 1
        return self._places[at] if at >= 0 else None
