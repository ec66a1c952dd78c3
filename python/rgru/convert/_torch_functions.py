"""Functions and methods of tensors in the graph of a PyTorch module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert._layers import affine, vector
from rgru.convert._torch_layers import ACTIVATIONS, array
from rgru.convert._torch_values import arguments, cannot, check_index, name_of, shown
from rgru.model import Activation, Dropout

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from rgru.convert._torch_grus import Grus
    from rgru.convert._torch_values import Values

_MOVES = frozenset(
    (
        *("cat", "chunk", "clone", "concat", "contiguous", "cpu", "cuda", "detach", "double", "expand", "flatten"),
        *("float", "getattr", "getitem", "long", "movedim", "permute", "requires_grad", "reshape", "select", "squeeze"),
        *("stack", "swapaxes", "swapdims", "t", "to", "transpose", "type_as", "unbind", "unsqueeze", "view"),
    )
)
"""Functions that only move numbers, whatever the sizes are."""

_SHAPES = frozenset(("dim", "new_zeros", "size", "zeros_like"))
"""Functions of a value that do not depend on its numbers."""

_ATTRIBUTES = frozenset(("device", "dtype", "ndim", "shape"))

_CONSTANTS = _MOVES | _SHAPES | {"add", "div", "mul", "neg", "ones", "repeat", "sqrt", "sub", "truediv", "zeros"}
"""Functions of constants and sizes."""

_POOLS = {"mean": "mean", "amax": "max", "max": "max"}
_ADAPTIVE = {"adaptive_avg_pool1d": "mean", "adaptive_max_pool1d": "max"}


class Functions:
    """Follows the functions of a graph."""

    def __init__(self, values: Values, grus: Grus, dtype: DTypeLike, *, training: bool) -> None:
        self._values, self._grus, self._dtype, self._training = values, grus, dtype, training
        self.second: set[Any] = set()
        """A second input, which may be lengths, on any device and in any form."""
        self._pairs: set[Any] = set()
        """The nodes of largest values with their places."""

    def follow(self, node: Any) -> None:
        """Follow one node."""
        if not self._lengths(node):
            self._call(node)

    def _lengths(self, node: Any) -> bool:
        """Follow lengths, and the packing of sequences by them; tell whether the node is such."""
        name, reads = name_of(node), set(node.all_input_nodes)
        if name == "pack_padded_sequence":
            self._grus.pack(node)
        elif name == "pad_packed_sequence":
            self._grus.pad(node)
        elif reads & self.second:
            if not reads <= self.second or name not in _MOVES | {"int", "tolist"}:
                raise cannot(node, f"a second input, with {name}{shown(node)}")
            self.second.add(node)
        else:
            return False
        return True

    def _call(self, node: Any) -> None:
        values, name = self._values, name_of(node)
        numbered = any(one in values.numbered for one in node.all_input_nodes)
        method = getattr(self, f"_do_{name}", None) if numbered else None
        shapes = name in _SHAPES or (name == "getattr" and node.args[1] in _ATTRIBUTES)
        if shapes or (not numbered and name in _CONSTANTS):
            values.run(node)
        elif method is not None:
            method(node)
        elif numbered and name in _POOLS:
            self._pool_over(node, _POOLS[name])
        elif numbered and name in _ADAPTIVE:
            x, size = arguments(node, "input", ("output_size", None))
            self._grus.pool_all(node, x, _ADAPTIVE[name], size)
        elif numbered and name in ACTIVATIONS:
            parameters, activation = ACTIVATIONS[name]
            x, *given = arguments(node, "input", *parameters, ("inplace", False))
            try:
                layer = Activation(activation(*given[:-1]))
            except (TypeError, ValueError) as error:
                raise cannot(node, f"{name}{shown(node)} ({error})") from error
            self._values.follow(node, x, layer, numbers=True)
        elif numbered and name in _MOVES:
            values.move(node)
        else:
            raise cannot(node, f"{name}{shown(node)}")

    def _do_getattr(self, node: Any) -> None:
        if node.args[0] not in self._pairs or node.args[1] != "values":
            raise cannot(node, f"the attribute {node.args[1]}")
        self._values.put_numbered(node, [array(one[0]) for one in self._values.given(node.args[0])])

    def _do_getitem(self, node: Any) -> None:
        given, indices = self._values.given(node.args[0]), self._values.given(node.args[1])
        if hasattr(given[0], "ndim"):
            check_index(node, given, indices)
        elif node.args[0] in self._pairs and indices[0] != 0:
            raise cannot(node, "the places of the largest values")
        else:
            self._grus.getitem(node, indices[0])
        self._values.move(node)

    def _do_cat(self, node: Any) -> None:
        self._values.move(node)
        states = self._grus.ends(self._values.arrays(node, node))
        if states is not None:
            self._values.put_numbered(node, states.arrays)

    def _do_softmax(self, node: Any) -> None:
        x, axis, *_ = arguments(node, "input", ("dim", None), ("_stacklevel", 3), ("dtype", None))
        self._values.check_last_axis(node, x, axis)
        self._values.follow(node, x, Activation("softmax"))

    def _do_dropout(self, node: Any) -> None:
        x, rate, training, _ = arguments(node, "input", ("p", 0.5), ("training", True), ("inplace", False))
        if training and not self._training:
            raise cannot(node, "dropout that acts outside of training")
        self._values.follow(node, x, Dropout(rate), numbers=True)

    def _do_add(self, node: Any) -> None:
        both = arguments(node, "input", ("other", None))
        if set(both) <= self._values.numbered:  # of two directions
            arrays = [self._values.arrays(node, one) for one in both]
            pairs = [
                [np.concatenate(pair, axis=-1) for pair in zip(*some, strict=True)] for some in (arrays, arrays[::-1])
            ]
            found = next(filter(None, map(self._grus.summed, pairs)), None)
            if found is None:
                raise cannot(node, f"add{shown(node)}")
            place, indices, layers = found
            self._values.put_layer(node, (place, indices), layers, place.features // 2)
            return
        self._affine(node, lambda one: (1.0, one), lambda one: (1.0, one))

    def _do_sub(self, node: Any) -> None:
        self._affine(node, lambda one: (1.0, -one), lambda one: (-1.0, one))

    def _do_mul(self, node: Any) -> None:
        self._affine(node, lambda one: (one, 0.0), lambda one: (one, 0.0))

    def _do_truediv(self, node: Any) -> None:
        self._affine(node, lambda one: (1.0 / one, 0.0), None)

    _do_div = _do_itruediv = _do_truediv
    _do_iadd, _do_isub, _do_imul = _do_add, _do_sub, _do_mul

    def _affine(self, node: Any, after: Any, before: Any) -> None:
        """Follow an operation with a constant after or before the value, of which a function makes gain and bias."""
        first, second = arguments(node, "input", ("other", None))
        x, other, form = (first, second, after) if first in self._values.numbered else (second, first, before)
        place, _, squeezed = self._values.rows(node, x)
        given = [np.asarray(one) for one in self._values.given(other)]
        if other in self._values.numbered or form is None or not np.array_equal(given[0], given[-1]):
            raise cannot(node, f"{name_of(node)}{shown(node)}")
        try:
            numbers = vector(given[0], place.features, self._values.arrays(node, x)[0].ndim + squeezed)
        except ValueError as error:
            raise cannot(node, str(error)) from error
        gain, bias = form(numbers.astype(np.float64))
        self._values.follow(node, x, affine(gain, bias, place.features, self._dtype), numbers=True)

    def _pool_over(self, node: Any, kind: str) -> None:
        """Follow a pooling over the axis that an argument tells."""
        x, axis, kept = arguments(node, "input", ("dim", None), ("keepdim", False))
        axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        if len(axes) != 1 or not isinstance(axes[0], int):
            raise cannot(node, f"{name_of(node)}{shown(node)}")
        self._grus.pool(node, x, kind, axes[0], kept=bool(kept))
        if name_of(node) == "max":
            self._pairs.add(node)
            self._values.put(node, [(one, one) for one in self._values.given(node)])
