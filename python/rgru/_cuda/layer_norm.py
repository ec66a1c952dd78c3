"""Layer normalisation of a layer's sums: what `kernels/layer_norm.cuh` does before the recurrence, in it and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rgru._cuda.dtypes import number_type, sum_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rgru._cuda.dtypes import Array
    from rgru._cuda.kernel_config import Steps
    from rgru._cuda.layer_weights import LayerWeights
    from rgru._cuda.sequences import Sequences

_THREADS = 256
"""Threads of a block, which has one row."""


@dataclass(frozen=True)
class NormTape:
    """What the backward pass reads of the sums of one kind.

    Attributes
    ----------
    normalised : array, shape (S, D*3H)
        Zero in the padding.
    scales : array of the type of sums, shape (S, D)
        1 / sqrt(variance + epsilon).
    """

    normalised: Array
    scales: Array

    @classmethod
    def empty(cls, weights: LayerWeights, sequences: Sequences) -> NormTape:
        """Allocate a tape."""
        xp, directions = weights.device.xp, weights.directions
        shape = (sequences.rows, directions * 3 * weights.hidden)
        normalised = (xp.empty if sequences.whole else xp.zeros)(shape, number_type(weights.precision))
        return cls(normalised, xp.empty((sequences.rows, directions), sum_type(weights.precision)))


class LayerNorm:
    """The normalisation in a forward pass of a layer, and in the backward pass that follows.

    Parameters
    ----------
    weights : LayerWeights
        Of a cell with layer normalisation.
    sequences : Sequences
    keep : bool
        Whether to keep what the backward pass reads.

    Attributes
    ----------
    separate : bool
        Whether W x and U h are normalised each by itself, instead of their sum.
    """

    def __init__(self, weights: LayerWeights, sequences: Sequences, *, keep: bool) -> None:
        self.separate = weights.g_hh is not None
        self._weights, self._sequences = weights, sequences
        self._of_inputs = NormTape.empty(weights, sequences) if keep and self.separate else None
        self._of_steps = NormTape.empty(weights, sequences) if keep else None  # of U h, or of the sum

    def inputs(self, form: Steps, gx: Array) -> None:
        """Normalise W x (S, D*3H) of all steps in place, in the separate form."""
        if self.separate:
            arguments = (gx, self._weights.g, *_arrays(self._of_inputs), self._weights.directions)
            self._launch(form, "normalise_rows", gx.shape[0] * self._weights.directions, arguments)

    def step(
        self, form: Steps, products: Array, gx: Array, *, running: int, done: Array, offset: int, direction: int
    ) -> None:
        """Make of U h of a step (N, 3H) the recurrent part of a plain cell; for the sum of both, W x becomes 0."""
        weights = self._weights
        added, g, b = (None, weights.g_hh, None) if self.separate else (gx, weights.g, weights.b)
        end = (done, offset, self._sequences.count, weights.directions, direction)
        arguments = (products, added, g, b, *self._where(), *_arrays(self._of_steps), *end)
        self._launch(form, "step_normalise", running, arguments)

    def step_back(
        self, form: Steps, read: Array, du: Array, *, running: int, done: Array, offset: int, total: int, direction: int
    ) -> None:
        """Make of the gradients of the gates of a step (N, 3H) those of U h, which are also written to du (S, D*3H)."""
        weights = self._weights
        g = weights.g_hh if self.separate else weights.g
        end = (done, offset, total, self._sequences.count, weights.directions, direction)
        self._launch(
            form, "step_normalise_backward", running, (read, du, g, *_arrays(self._of_steps), *self._where(), *end)
        )

    def inputs_back(self, form: Steps, da: Array, du: Array) -> Array:
        """Return the gradients of W x (S, D*3H), from those of the gates, which are overwritten, and of U h."""
        if not self.separate:
            return du
        arguments = (da, self._weights.g, *_arrays(self._of_inputs), self._weights.directions)
        self._launch(form, "normalise_rows_backward", da.shape[0] * self._weights.directions, arguments)
        return da

    def gradients(self, direction: int, da: Array, da_own: Array, into: Mapping[str, Array]) -> None:
        """Write the gradients of the gains and biases of a direction, from those of the gates."""
        xp, hidden, sums = self._weights.device.xp, self._weights.hidden, sum_type(self._weights.precision)
        gates = slice(direction * 3 * hidden, (direction + 1) * 3 * hidden)
        of_inputs, own = da[:, gates], da_own[:, direction * hidden : (direction + 1) * hidden]
        of_steps = xp.concatenate([of_inputs[:, : 2 * hidden], own], axis=1)
        assert self._of_steps is not None
        gain, bias, of_biases = ("g_hh", "b_hh", own) if self.separate else ("g", "b", of_steps)
        of_gains = [(gain, of_steps, self._of_steps)]
        if self._of_inputs is not None:
            of_gains.append(("g", of_inputs, self._of_inputs))
        for name, gradient, tape in of_gains:
            factor = tape.normalised[:, gates].astype(sums)
            into[name][...] = (gradient.astype(sums) * factor).sum(axis=0)
        if "b" in into:
            into["b"][...] = of_inputs.sum(axis=0, dtype=sums)
            into[bias][...] = of_biases.sum(axis=0, dtype=sums)

    def _where(self) -> tuple[Array, Array, Array]:
        return self._sequences.first, self._sequences.length, self._sequences.order

    def _launch(self, form: Steps, name: str, rows: int, arguments: tuple[Array | int | None, ...]) -> None:
        if rows:
            shared = _THREADS * sum_type(self._weights.precision).itemsize
            self._weights.device.launch(form, name, rows, _THREADS, arguments, shared_bytes=shared)


def _arrays(tape: NormTape | None) -> tuple[Array | None, Array | None]:
    return (None, None) if tape is None else (tape.normalised, tape.scales)
