"""The values of a graph of torch.fx on numbered arrays of two sizes, and the arguments of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.convert._places import PROBES, Place, Places

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class Values:
    """What the nodes of a graph compute, for each of the sizes.

    Attributes
    ----------
    numbered : set of torch.fx.Node
        The nodes whose numbers depend on the input.
    places : Places
    chosen : torch.fx.Node, optional
        The last node that chose some of the steps.
    """

    def __init__(self) -> None:
        self._values: dict[Any, list[Any]] = {}
        self.numbered: set[Any] = set()
        self.places = Places("float64")
        self.chosen: Any = None

    def given(self, argument: Any) -> list[Any]:
        """Return an argument of a node for each of the sizes: a node's value, or a structure with nodes in it."""
        from torch.fx.node import map_arg

        return [map_arg(argument, lambda node, k=k: self._values[node][k]) for k in range(len(PROBES))]

    def put(self, node: Any, values: Sequence[Any]) -> None:
        """Set what a node computes."""
        self._values[node] = list(values)

    def put_numbered(self, node: Any, arrays: Sequence[Any]) -> None:
        """Set a node to numbered arrays, or to tuples of them."""
        import torch

        self.numbered.add(node)
        self.put(
            node, [tuple(map(torch.tensor, one)) if isinstance(one, tuple) else torch.tensor(one) for one in arrays]
        )

    def arrays(self, node: Any, x: Any) -> list[NDArray[Any]]:
        """Return the numbers of an argument of a node, which must be a tensor that depends on the input."""
        values: list[Any] = self.given(x) if x in self.numbered else [None]
        if not all(hasattr(one, "detach") for one in values):
            raise cannot(node, f"the argument {x!r}")
        return [one.detach().cpu().numpy() for one in values]

    def rows(self, node: Any, x: Any) -> tuple[Place, list[NDArray[np.int64]], bool]:
        """Return the place whose rows are along the last axis of an argument, which ones, and whether it is squeezed.

        A row of one number may lack its axis.
        """
        arrays = self.arrays(node, x)
        found = self.places.find(arrays)
        if found is not None:
            return (*found, False)
        found = self.places.find([one[..., None] for one in arrays])
        if found is not None and found[0].features == 1:
            return (*found, True)
        raise cannot(x, f"{_name(x)}{shown(x)}, which are no rows of one layer's outputs,")

    def put_layer(
        self, node: Any, found: tuple[Place, Any], layers: Sequence[Any], size: int, *, squeezed: bool = False
    ) -> None:
        """Set a node to the outputs of all layers, of `size` features, for the rows that were found."""
        place, indices = found
        after = self.places.add([(*one.shape[:-1], size) for one in place.arrays], layers=tuple(layers))
        rows = [one.reshape(-1, size)[index] for one, index in zip(after.arrays, indices, strict=True)]
        self.put_numbered(node, [one[..., 0] for one in rows] if squeezed else rows)

    def follow(self, node: Any, x: Any, *layers: Any, numbers: bool = False) -> None:
        """Set a node to the outputs of more layers, whether for rows or, with `numbers`, for each number by itself."""
        place, indices, squeezed = self.rows(node, x)
        size = place.features
        if squeezed and not numbers:
            raise cannot(node, "a layer for rows of features that were squeezed")
        for layer in layers:
            try:
                size = layer._output_size(size) or size
            except ValueError as error:
                raise cannot(node, f"{layer!r}, which expects {error}") from error
        self.put_layer(node, (place, indices), (*place.layers, *layers), size, squeezed=squeezed)

    def check_last_axis(self, node: Any, x: Any, axis: Any) -> None:
        """Refuse a softmax over another axis than that of features."""
        if axis not in (-1, self.arrays(node, x)[0].ndim - 1):
            raise cannot(node, f"softmax{shown(node)} over another axis than that of features")

    def run(self, node: Any) -> None:
        """Run a node as it is."""
        try:
            values = []
            for args, kwargs in zip(self.given(node.args), self.given(node.kwargs), strict=True):
                called = getattr(args[0], node.target) if node.op == "call_method" else node.target
                values.append(called(*args[1 if node.op == "call_method" else 0 :], **kwargs))
        except Exception as error:  # whatever PyTorch raises for sizes that the module does not take
            raise cannot(node, f"{_name(node)}{shown(node)} ({error})") from error
        self.put(node, values)

    def move(self, node: Any) -> None:
        """Run a node that only moves numbers of the input."""
        self.run(node)
        self.numbered.add(node)
        values = self.given(node)
        found = self.places.find([one.numpy() for one in values]) if hasattr(values[0], "numpy") else None
        if found is not None and not found[0].orders([index.squeeze() for index in found[1]]) & {"NT", "TN", "N"}:
            self.chosen = node


def check_index(node: Any, arrays: Sequence[Any], indices: Sequence[Any]) -> None:
    """Refuse limits that cut an axis only where it is longer than ours are."""
    for given, array in zip(indices, arrays, strict=True):
        parts = [one for one in (given if isinstance(given, tuple) else (given,)) if one is not None]
        if ... in parts:
            at = parts.index(...)
            parts[at : at + 1] = [slice(None)] * (array.ndim - len(parts) + 1)
        for axis, part in enumerate(parts):
            limits = (part.start, part.stop) if isinstance(part, slice) else ()
            sizes = [one.shape[axis] for one in arrays]
            fixed = [limit for limit in limits if isinstance(limit, int)]
            if sizes[0] != sizes[1] and any(max(sizes) <= abs(one) for one in fixed if indices[0] == indices[1]):
                raise cannot(node, f"the index {node.args[1]!r}, a cut of an axis that may be longer,")


def name_of(node: Any) -> str:
    """Return the name of a function or a method, without the underscores of operators and operations in place."""
    return _name(node).strip("_")


def _name(node: Any) -> str:
    return str(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target))


def arguments(node: Any, first: str, *others: tuple[str, Any]) -> list[Any]:
    """Return a call's arguments in order, by position or name."""
    names = [first, *(name for name, _ in others)]
    found = {**dict(others), **dict(zip(names, node.args, strict=False)), **node.kwargs}
    if "axis" in found and "dim" in found:
        found["dim"] = found.pop("axis")
    if set(found) - set(names) or len(node.args) > len(names):
        raise cannot(node, f"the arguments {shown(node)}")
    return [found[name] for name in names]


def shown(node: Any) -> str:
    """Return the arguments of a call after the first, for errors."""
    given = [str(one) for one in node.args[1:]] + [f"{name}={one}" for name, one in node.kwargs.items()]
    return f"({', '.join(['...', *given])})"


def cannot(node: Any, what: str) -> ValueError:
    """Return the error of a node that is no layer of a model."""
    place = f" at {node.target!r}" if node.op == "call_module" else f" at {node.name!r}"
    return ValueError(
        "source: expected layers in a row (Embedding, GRU, Linear, LayerNorm, Dropout, activations, pooling over "
        f"time), got {what}{place}; prefix= converts a GRU by itself"
    )
