"""The values of a graph on numbered arrays of two sizes: rows of places between layers, and what shapes tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.convert._places import PROBES, Place, Places
from rgru.convert.onnx._operators import constant

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rgru.convert.onnx._graph import Graph

VALUES = 2**25
"""Numbers that all values together have at most."""

TO_THE_END = 2**31 - 1
"""Limits of a Slice from here on stand for the end of an axis."""

_FEATURES = 11
"""Of an input that leaves them open."""


class Rows:
    """The values of a graph that are made of rows of places.

    Parameters
    ----------
    graph : Graph

    Attributes
    ----------
    names : set of str
        These values.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._values: tuple[dict[str, NDArray[Any]], ...] = tuple({} for _ in PROBES)
        self.names: set[str] = set()
        self.places = Places()

    def of(self, name: str) -> list[NDArray[Any]]:
        """Return a value for each of the sizes."""
        if name not in self.names:
            raise ValueError(f"a value that is no rows of one layer's outputs, {name!r}")
        return [values[name] for values in self._values]

    def axes(self, name: str) -> int:
        """Return the number of axes of a value."""
        return self.of(name)[0].ndim

    def put(self, name: str, arrays: Sequence[NDArray[Any]]) -> None:
        """Set a value."""
        for values, array in zip(self._values, arrays, strict=True):
            values[name] = array
        self.names.add(name)

    def put_input(self, name: str) -> None:
        """Give numbers to an input of the graph: ids (N, T) or features (N, T, K), or with both axes swapped."""
        from onnx import helper

        kind = helper.tensor_dtype_to_np_dtype(self._graph.inputs[name].type.tensor_type.elem_type).kind
        shape = self._graph.shapes.get(name, (None, None, None))
        if len(shape) != 3 and not (len(shape) == 2 and kind in "iu"):
            raise ValueError(f"an input {name!r} of {len(shape)} axes, which is no batch of sequences")
        usual = [(*sizes, 1 if kind in "iu" else _FEATURES) for sizes in PROBES]
        shapes = [tuple(size or other for size, other in zip(shape, some, strict=False)) for some in usual]
        place = self.places.add([(*some, 1)[:3] for some in shapes], kind)
        self.put(name, [array.reshape(some) for array, some in zip(place.arrays, shapes, strict=True)])

    def find(self, name: str) -> tuple[Place, list[NDArray[np.int64]]]:
        """Return the place whose rows are along the last axis of a value, and which rows these are."""
        found = self.places.find(self.of(name))
        if found is None:
            raise ValueError(f"a value that is no rows of one layer's outputs, {name!r}")
        return found

    def find_numbers(self, name: str) -> tuple[Place, list[NDArray[np.int64]], bool]:
        """Return the same, and whether rows of one number lack their axis, which only layers for numbers may read."""
        found = self.places.find(self.of(name))
        squeezed = None if found else self.places.find([array[..., None] for array in self.of(name)])
        if squeezed is not None and squeezed[0].features == 1:
            return (*squeezed, True)
        return (*self.find(name), False)

    def put_layer(
        self,
        name: str,
        found: tuple[Place, Any],
        layers: Sequence[Any],
        size: int,
        *,
        takes: str = "",
        squeezed: bool = False,
    ) -> None:
        """Set a value to the outputs, of `size` features, of a layer for the single rows that were found."""
        place, indices = found
        shapes = [(*array.shape[:-1], size) for array in place.arrays]
        after = self.places.add(shapes, layers=tuple(layers), takes=takes)
        arrays = [array.reshape(-1, size)[rows] for array, rows in zip(after.arrays, indices, strict=True)]
        self.put(name, [array[..., 0] for array in arrays] if squeezed else arrays)

    def evaluate(self, node: Any) -> None:
        """Run a node."""
        for values in self._values:
            self._graph.evaluate([one for one in node.output if one], values)
        if sum(array.size for values in self._values for array in values.values()) > VALUES:
            raise ValueError("arrays that are too large to follow")

    def move(self, node: Any) -> None:
        """Run a node that moves rows, or numbers of them."""
        if node.op_type == "Slice" and node.input[0] in self.names:
            self._check_slice(node)
        try:
            self.evaluate(node)
        except ValueError as error:
            why = " ".join(str(error.__cause__ or error).split())
            raise ValueError(f"sizes that cannot be followed ({why})") from error
        self.names |= set(node.output)

    def _check_slice(self, node: Any) -> None:
        """Refuse limits that cut an axis only where it is longer than ours are."""
        first, second = (array.shape for array in self.of(node.input[0]))
        given = [self._constants(node, i) for i in (1, 2, 3)]
        axes = given[2] or list(range(len(given[0])))
        for limits in given[:2]:
            for limit, axis in zip(limits, axes, strict=False):
                if first[axis] != second[axis] and max(first[axis], second[axis]) <= abs(limit) < TO_THE_END:
                    raise ValueError(f"a cut at {limit} of an axis that may be longer")

    def _constants(self, node: Any, index: int) -> list[int]:
        """Return the numbers of an input, or nothing if it is none or no constant."""
        known = set(node.input[index : index + 1]) <= self._graph.constants
        array = constant(self._graph, node, index) if known else None
        return [] if array is None else [int(one) for one in array.ravel()]
