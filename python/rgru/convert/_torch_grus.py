"""The GRUs within the graph of a PyTorch module: their outputs and states, and packed sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert._torch_layers import array
from rgru.convert._torch_values import arguments, cannot, name_of, shown
from rgru.model import Pool
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rgru.convert._places import Place
    from rgru.convert._torch_values import Values


class Grus:
    """The GRUs of a graph.

    Parameters
    ----------
    values : Values
    gru_from : callable
        Makes a GRU of a `torch.nn.GRU`.

    Attributes
    ----------
    ragged : bool
        Whether sequences are packed: then steps after the last one of a sequence are none.
    """

    def __init__(self, values: Values, gru_from: Callable[[Any], GRU]) -> None:
        self._values, self._gru_from = values, gru_from
        self.ragged = False
        self._packed: set[Any] = set()
        """Nodes of packed sequences, or of a GRU of these. Their numbers are those of (N, T, K)."""
        self._ends: list[tuple[Place, Place]] = []
        """The steps of GRUs of two directions, and their states."""

    def follow(self, node: Any, part: Any, x: Any, h0: Any) -> None:
        """Follow a GRU that reads the value `x`, from the states `h0` or None."""
        values, packed = self._values, x in self._packed
        if packed != self.ragged:
            raise cannot(node, "sequences that are packed for some GRUs only")
        first = packed or part.batch_first
        place, indices, _ = values.rows(node, x)
        known = any(isinstance(layer, GRU) for layer in place.layers)
        if not place.orders(indices) & ({"NT" if first else "TN"} if known else {"NT", "TN"}):
            raise cannot(node, f"other inputs than all steps in their order, with batch_first={part.batch_first},")
        gru = self._gru_from(part)
        gru = gru if h0 is None else self._with_states(node, gru, h0)
        layers, sizes = (*place.layers, gru), [one.shape[:: 1 if first else -1] for one in indices]
        steps = values.places.add([(*size, gru.output_size) for size in sizes], layers=layers)
        states = values.places.add([(n, gru.output_size) for n, _ in sizes], layers=(*layers, Pool("last")))
        directions = 1 + gru.bidirectional
        if gru.bidirectional:
            self._ends.append((steps, states))
        h_n = [one.reshape(len(one), directions, -1).swapaxes(0, 1) for one in states.arrays]
        below = (gru.num_layers - 1) * directions
        if below:
            lower = values.places.add([(below, n, gru.hidden_size) for n, _ in sizes], layers=(_Lower(gru),))
            h_n = [np.concatenate(both) for both in zip(lower.arrays, h_n, strict=True)]
        y = [one if first else one.swapaxes(0, 1) for one in steps.arrays]
        values.put_numbered(node, list(zip(y, h_n, strict=True)))
        if packed:
            self._packed.add(node)

    def _with_states(self, node: Any, gru: GRU, h0: Any) -> GRU:
        """Return a GRU with initial states, which must be the same for all sequences."""
        states = self._values.given(h0)
        if h0 in self._values.numbered or not all(getattr(one, "ndim", 0) == 3 for one in states):
            raise cannot(node, "initial states that are no constants (L*D, N, H)")
        first = array(states[0])[:, :1]
        if not all(np.array_equal(array(one), np.broadcast_to(first, one.shape)) for one in states):
            raise cannot(node, "initial states that are not the same for all sequences")
        if not first.any():
            return gru
        places = [(k, d) for k in range(gru.num_layers) for d in ("fwd", "rev")[: 1 + gru.bidirectional]]
        learned = {f"layers.{k}.{d}.h0": row[0].astype(gru.dtype) for (k, d), row in zip(places, first, strict=True)}
        return GRU._from_saved({**gru._config, "learned_h0": True}, {**gru.params, **learned})

    # -- packed sequences ------------------------------------------------------------------------------------------

    def pack(self, node: Any) -> None:
        """Follow ``pack_padded_sequence``."""
        x, _, first, _ = arguments(node, "input", ("lengths", None), ("batch_first", False), ("enforce_sorted", True))
        place, _, _ = self._values.rows(node, x)
        if not self.ragged and any(isinstance(layer, GRU) for layer in place.layers):
            raise cannot(node, "sequences that are packed for some GRUs only")
        self.ragged = True
        arrays = self._values.arrays(node, x)
        self._values.put_numbered(node, arrays if first else [one.swapaxes(0, 1) for one in arrays])
        self._packed.add(node)

    def pad(self, node: Any) -> None:
        """Follow ``pad_packed_sequence``."""
        packed, first, padding, _ = arguments(
            node, "sequence", ("batch_first", False), ("padding_value", 0.0), ("total_length", None)
        )
        if packed not in self._packed or padding != 0:
            raise cannot(node, "padding of other values, or by others than zeros")
        arrays = self._values.arrays(node, packed)
        self._values.put_numbered(node, [(one if first else one.swapaxes(0, 1),) for one in arrays])

    def getitem(self, node: Any, index: Any) -> None:
        """Note that the first output of a GRU of packed sequences is packed, too."""
        if node.args[0] in self._packed and index == 0:
            self._packed.add(node)

    # -- states ----------------------------------------------------------------------------------------------------

    def ends(self, arrays: Sequence[NDArray[Any]]) -> Place | None:
        """Return the place of the states that arrays are as slices of all steps, of two directions, or None.

        These are the last step forwards beside the first one backwards.
        """
        for steps, states in self._ends if not self.ragged else ():
            half = steps.features // 2
            ends = [np.concatenate([one[:, -1, :half], one[:, 0, half:]], axis=1) for one in steps.arrays]
            if all(map(np.array_equal, ends, arrays)):
                return states
        return None

    def summed(self, arrays: Sequence[NDArray[Any]]) -> tuple[Place, Any, tuple[Any, ...]] | None:
        """Return the place and the rows of both directions side by side, and the layers of their sum, or None."""
        found = self._values.places.find(arrays)
        layers = found[0].layers if found else ()
        at = len(layers) - 1 - (bool(layers) and isinstance(layers[-1], Pool))
        gru = layers[at] if layers else None
        if not found or not isinstance(gru, GRU) or not gru.bidirectional or gru.num_layers > 1:
            return None
        merged = GRU._from_saved({**gru._config, "merge": "sum"}, dict(gru.params))
        return (*found, (*layers[:at], merged, *layers[at + 1 :]))

    # -- pooling ---------------------------------------------------------------------------------------------------

    def pool(self, node: Any, x: Any, kind: str, axis: int, *, kept: bool) -> None:
        """Follow a mean or maximum over an axis, which must be that of the steps of a GRU's outputs."""
        moved = [np.moveaxis(one, axis, -1) for one in self._values.arrays(node, x)]
        found = self._values.places.find_steps(moved)
        if self.ragged:
            raise cannot(node, "pooling that takes in the steps after the last one of a packed sequence")
        if found is None or not any(isinstance(layer, GRU) for layer in found[0].layers):
            raise cannot(node, f"{name_of(node)}{shown(node)} over other axes than the steps of a GRU's outputs,")
        place, indices = found
        after = self._values.places.add([one.shape[::2] for one in place.arrays], layers=(*place.layers, Pool(kind)))
        rows = [one[index] for one, index in zip(after.arrays, indices, strict=True)]
        self._values.put_numbered(node, [np.expand_dims(one, axis) if kept else one for one in rows])

    def pool_all(self, node: Any, x: Any, kind: str, size: Any) -> None:
        """Follow a pooling of the last axis to so many values."""
        if size not in (1, (1,), [1]):
            raise cannot(node, f"a pooling to {size} steps")
        self.pool(node, x, kind, -1, kept=True)


def check_state(node: Any, place: Place) -> None:
    """Refuse states that a model does not return."""
    for layer in place.layers:
        if isinstance(layer, _Lower):
            raise cannot(node, f"the states of {layer.gru!r} that are not of its last layer")


@dataclass(frozen=True)
class _Lower:
    """The layers of a GRU below its last one."""

    gru: GRU
