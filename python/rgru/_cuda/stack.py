"""A stack of layers on a device, with the interfaces of `_core.Weights` and `_core.Tape`."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rgru import _core
from rgru._cuda import layer as layers
from rgru._cuda.cell_options import CellOptions
from rgru._cuda.dtypes import number_type, precision_of, sum_type
from rgru._cuda.kernel_config import Precision
from rgru._cuda.layer_weights import LayerWeights
from rgru._cuda.masks import dropped, recurrent_masks, zoneout_factors
from rgru._cuda.merge import merged, merged_backward
from rgru._cuda.precision import precision_of_float32
from rgru._cuda.sequences import Sequences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array
    from rgru._cuda.layer_tape import LayerTape

Made = TypeVar("Made")

_CACHED_SHAPES = 8
"""How many shapes of batches are cached: in practice few alternate, as a data set's last batch with the others."""

_SETTINGS = {"input_size", "hidden_size", "num_layers", "bidirectional", "reset_after", "bias", "merge", "learned_h0"}
_SETTINGS |= {"recurrent_dropout", *CellOptions.__dataclass_fields__}
"""All others are refused: whoever adds one to the core is to think of GPUs."""


class Weights:
    """Immutable snapshot of all parameters of a GRU on a device, packed at first use for each precision and shape.

    Parameters
    ----------
    device : Device
    params : array of float32 or float64, shape (P,)
        On the device; all tensors of `_core.layout`, concatenated. Not copied.
    sizes : mapping
        The settings of the GRU, as `_core.layout` takes them.

    Attributes
    ----------
    training : bool
        Always True: what the backward pass reads is packed at its first use.
    unchecked_bytes : int
        Up to this size projections are allocated without asking how much memory is free.

    Raises
    ------
    ValueError
        For a setting that is not known here.
    """

    training = True
    unchecked_bytes = 1 << 30

    def __init__(
        self,
        device: Device,
        params: Array,
        sizes: Mapping[str, Any],
    ) -> None:
        self._marks: dict[tuple[int, int], Any] = {}  # the last call on each stream, if there are several
        for name in sorted(set(sizes) - _SETTINGS):
            raise ValueError(f"{name}: expected no such setting on a GPU, got {sizes[name]!r}")
        self._recurrent_dropout = sizes["recurrent_dropout"]
        self._makers = {device.line()}  # the streams that own memory of this object
        self.device, self._params = device, device.made(params)
        self.input_size, self.hidden_size = sizes["input_size"], sizes["hidden_size"]
        self.num_layers, self.directions = sizes["num_layers"], 1 + sizes["bidirectional"]
        self.reset_after, self._options = sizes["reset_after"], CellOptions.of(sizes)
        self._merge = sizes["merge"]
        self.output_size = self.hidden_size * (self.directions if self._merge == "concat" else 1)
        self._layout = _core.layout(dict(sizes))
        self._layers: dict[Precision, Callable[[], list[LayerWeights]]] = {}
        self._equal: dict[tuple[int, int], Callable[[], Sequences]] = {}  # by the number of sequences and of steps
        self._held: list[Any] = []  # memory of captured graphs that use these weights

    def forward(
        self, x: Array, h0: Array | None, lengths: Array | None, offsets: NDArray[np.int64] | None
    ) -> tuple[Array, Array]:
        """Run the stack on a batch.

        Parameters
        ----------
        x : array, shape (N, T, I), or (S, I) with offsets
            Its dtype decides the precision.
        h0 : array of x's dtype, shape (L*D, N, H), optional
            By default the learned initial states, or zero.
        lengths : array of integers, shape (N,), optional
            On the host or the device; for a padded x. On the device they are not validated, but clipped to 0..T.
        offsets : ndarray of int64, shape (N + 1,), optional
            On the host; for a ragged x.

        Returns
        -------
        y : array of x's dtype, shape (N, T, K) or (S, K)
            K is D*H, or H if two directions are merged.
        h_n : array of x's dtype, shape (L*D, N, H)

        Raises
        ------
        ValueError
            If a shape does not fit; the message names the argument.
        MemoryError
            If the device has not enough memory.
        """
        with self._at_work():
            count, shape = self._check(x, h0, lengths, offsets)
            weights = self._weights_for(x.dtype)
            y = (self.device.xp.empty if lengths is None else self.device.xp.zeros)(shape, x.dtype)
            h_n = self.device.xp.empty((self.num_layers * self.directions, count, self.hidden_size), x.dtype)
            at_once = self._at_once(weights[0], count, math.prod(x.shape[:-1]))
            for n in range(0, count, at_once):
                part = slice(n, n + at_once)
                rows = part if offsets is None else slice(offsets[n], offsets[min(n + at_once, count)])
                sequences = self._sequences(
                    x[rows],
                    None if lengths is None else lengths[part],
                    None if offsets is None else offsets[n : n + at_once + 1],
                )
                given = None if h0 is None else h0[:, part]
                self._through(weights, x[rows], given, sequences, y=y[rows], h_n=h_n[:, part])
            return y, h_n

    def final_states(
        self, x: Array, h0: Array | None, lengths: Array | None, offsets: NDArray[np.int64] | None
    ) -> Array:
        """Run the stack on a batch and return h_n; as `forward`, which computes y too."""
        return self.forward(x, h0, lengths, offsets)[1]

    def forward_tape(  # noqa: PLR0917 - the interface of the core
        self,
        x: Array,
        h0: Array | None,
        lengths: Array | None,
        offsets: NDArray[np.int64] | None,
        dropout: float,
        seed: int | None,
        checkpoint: int | None,
    ) -> tuple[Array, Array, Tape]:
        """Run the stack on a batch and record a tape for the backward pass.

        Parameters
        ----------
        x, h0, lengths, offsets
            As in `forward`. If all rows belong to sequences, the tape refers to x itself.
        dropout : float
            The probability that an output of a layer is dropped before the next layer.
        seed : int or None
            Seed of all masks; None for none. They equal the CPU's.
        checkpoint : None
            Not supported on a GPU.

        Returns
        -------
        y, h_n
            As `forward`.
        tape : Tape

        Raises
        ------
        ValueError
            As `forward`, and if `checkpoint` is not None.
        """
        if checkpoint is not None:
            raise ValueError(f"checkpoint: expected None on a GPU, got {checkpoint}")
        with self._at_work():
            _, shape = self._check(x, h0, lengths, offsets)
            sequences = self._sequences(x, lengths, offsets)
            weights = self._weights_for(x.dtype)
            rows = x.reshape(sequences.rows, self.input_size)
            if not sequences.whole:  # the padding, NaN perhaps, must not enter sums over all rows
                xp = self.device.xp
                rows = xp.where(sequences.valid(self.device), rows, xp.zeros((), rows.dtype))
                rows = rows.astype(x.dtype, copy=False)  # CuPy's `where` promotes bfloat16
            tapes: list[LayerTape] = []
            h_n = self.device.xp.empty((self.num_layers * self.directions, sequences.count, self.hidden_size), x.dtype)
            for k, one in enumerate(weights):
                states = slice(k * self.directions, (k + 1) * self.directions)
                given = None if h0 is None else h0[states]
                read = dropped(one, sequences, rows, k, dropout, seed or 0) if k and dropout else rows
                factors = masks = None
                if seed is not None and self._options.zoneout:
                    factors = zoneout_factors(one, sequences, k, self._options.zoneout, seed)
                if seed is not None and self._recurrent_dropout:
                    masks = recurrent_masks(one, sequences.count, k, self._recurrent_dropout, seed)
                drawn = {"factors": factors, "masks": masks}
                rows, _, tape = layers.forward(one, read, sequences, h0=given, keep=True, h_n=h_n[states], **drawn)
                assert tape is not None
                tapes.append(tape)
                if self._merge != "concat":
                    rows = merged(one, self._merge, rows)
            return (
                rows.reshape(shape),
                h_n,
                Tape(self, weights, tapes, sequences, shape=x.shape, dropout=(dropout, seed or 0)),
            )

    def __del__(self) -> None:
        if self._marks:
            things = self._params, self._layers, self._equal, self._held
            self.device.keep(things, list(self._marks.values()))

    @property
    def captured(self) -> bool:
        """Whether graphs were captured that use these weights."""
        return bool(self._held)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Keep the weights alive until the work of this block is done, on whatever stream."""
        with self.device.current(self._held):
            try:
                yield
            finally:
                if self._makers != {self.device.line()}:
                    self.device.mark(self._marks)

    def _made(self, value: Made) -> Callable[[], Made]:
        self._makers.add(self.device.line())
        return self.device.made(value)

    def _check(
        self, x: Array, h0: Array | None, lengths: Array | None, offsets: NDArray[np.int64] | None
    ) -> tuple[int, tuple[int, ...]]:
        """Validate the shapes; return N and the shape of y."""
        width, count = x.shape[-1], x.shape[0] if offsets is None else len(offsets) - 1
        if width != self.input_size:
            raise ValueError(
                f"x: expected last dimension {self.input_size} (input_size), got {width} in shape {x.shape}"
            )
        if lengths is not None:
            check_lengths(lengths, *x.shape[:2])
        states = (self.num_layers * self.directions, count, self.hidden_size)
        if h0 is not None and h0.shape != states:
            raise ValueError(f"h0: expected shape {states}, got {h0.shape}")
        return count, (*x.shape[:-1], self.output_size)

    def _sequences(self, x: Array, lengths: Array | None, offsets: NDArray[np.int64] | None) -> Sequences:
        if offsets is not None:
            return Sequences.ragged(self.device, offsets)
        if lengths is None:
            return self._equally_long(x.shape[0], x.shape[1])
        return Sequences.padded(self.device, x.shape[0], x.shape[1], lengths)

    def _equally_long(self, count: int, steps: int) -> Sequences:
        """Return the sequences of a batch of equal lengths; cached for the first few shapes."""
        cached = self._equal.get((count, steps))
        if cached is not None:
            return cached()
        sequences = Sequences.equal(self.device, count, steps)
        # No entry is ever replaced: calls on other streams, and graphs, may still read it.
        if len(self._equal) < _CACHED_SHAPES and not self.device.capturing:
            self._equal[count, steps] = self._made(sequences)
        return sequences

    def _at_once(self, weights: LayerWeights, count: int, rows: int) -> int:
        """Return for how many sequences there is memory for the projections, and the states between layers."""
        numbers = self.directions * self.hidden_size * (3 + (self.num_layers > 1 or self._merge != "concat"))
        needed = rows * numbers * sum_type(weights.precision).itemsize
        room = self.unchecked_bytes
        if needed > room:
            room = max(room, self.device.free_bytes() // 2)
        return max(1, count if needed <= room else count * room // needed)

    def _weights_for(self, dtype: np.dtype[Any]) -> list[LayerWeights]:
        precision = precision_of(dtype)
        assert precision is not None  # `arrays.py` has validated the dtype
        if precision is Precision.FLOAT32 and self.device.chip.capability >= 80:
            precision = precision_of_float32()
        if precision not in self._layers:
            tensors = named(self._layout, self._params())
            made = [LayerWeights(self.device, precision, self.reset_after, cells, self._options) for cells in tensors]
            self._layers[precision] = self._made(made)
        return self._layers[precision]()

    def _through(
        self,
        weights: list[LayerWeights],
        x: Array,
        h0: Array | None,
        sequences: Sequences,
        *,
        y: Array,
        h_n: Array,
    ) -> None:
        """Write y and h_n, for some sequences of a batch."""
        rows = x.reshape(sequences.rows, self.input_size)
        for k, one in enumerate(weights):
            states = slice(k * self.directions, (k + 1) * self.directions)
            given = None if h0 is None else self.device.xp.ascontiguousarray(h0[states])
            into = y.reshape(sequences.rows, self.output_size) if k + 1 == self.num_layers else None
            last = h_n[states] if h_n[states].flags.c_contiguous else None  # not so for a part of a batch
            if self._merge == "concat":
                rows, found, _ = layers.forward(one, rows, sequences, h0=given, keep=False, y=into, h_n=last)
            else:
                both, found, _ = layers.forward(one, rows, sequences, h0=given, keep=False, h_n=last)
                rows = merged(one, self._merge, both, into)
            if last is None:
                h_n[states] = found


class Tape:
    """What the backward pass reads of one `Weights.forward_tape`."""

    def __init__(
        self,
        weights: Weights,
        layers_: list[LayerWeights],
        tapes: list[LayerTape],
        sequences: Sequences,
        *,
        shape: tuple[int, ...],
        dropout: tuple[float, int],
    ) -> None:
        self._weights, self._layers, self._tapes = weights, layers_, tapes
        self._sequences, self._shape, self._dropout = sequences, shape, dropout

    def backward(self, dy: Array | None, dh_n: Array | None) -> tuple[Array, Array, Array]:
        """Run the backward pass.

        Parameters
        ----------
        dy : array of the dtype and shape of y, optional
            Its padding has no effect.
        dh_n : array of the dtype of y, shape (L*D, N, H), optional

        Returns
        -------
        dx : array of x's dtype and shape
        dh0 : array of x's dtype, shape (L*D, N, H)
        dparams : array of the parameters' dtype, shape (P,)

        Raises
        ------
        ValueError
            If a shape does not fit; the message names the argument.
        """
        weights, sequences = self._weights, self._sequences
        device, directions = weights.device, weights.directions
        states = (weights.num_layers * directions, sequences.count, weights.hidden_size)
        outputs = (*self._shape[:-1], weights.output_size)
        if dy is not None and dy.shape != outputs:
            raise ValueError(f"dy: expected shape {outputs}, got {dy.shape}")
        if dh_n is not None and dh_n.shape != states:
            raise ValueError(f"dh_n: expected shape {states}, got {dh_n.shape}")
        with weights._at_work():
            flat = device.xp.empty_like(weights._params())
            tensors = named(weights._layout, flat)
            gradient: Any = None if dy is None else dy.reshape(sequences.rows, outputs[-1])
            dh0 = device.xp.empty(states, number_type(self._layers[0].precision))
            for k in reversed(range(weights.num_layers)):
                cells = slice(k * directions, (k + 1) * directions)
                given = None if dh_n is None else dh_n[cells]
                if gradient is not None and weights._merge != "concat":
                    gradient = merged_backward(self._layers[k], weights._merge, self._tapes[k].y, gradient)
                gradient, _ = layers.backward(
                    *(self._layers[k], self._tapes[k], sequences),
                    **{"dy": gradient, "dh_n": given, "gradients": tensors[k], "dh0": dh0[cells]},
                )
                rate, seed = self._dropout
                if k and rate:
                    gradient = dropped(self._layers[k], sequences, gradient, k, rate, seed)
            return gradient.reshape(self._shape), dh0, flat

    def layers(self) -> list[tuple[list[Array], Array]]:
        """Return the records of the cells by layer: the gates r, z and h~ (S, 3H) of each, and all states (S, D*H)."""
        width = 3 * self._weights.hidden_size
        places = [slice(direction * width, (direction + 1) * width) for direction in range(self._weights.directions)]
        return [([tape.gates[:, place] for place in places], tape.y) for tape in self._tapes]


def named(layout: list[tuple[str, tuple[int, ...], int]], flat: Array) -> list[list[Mapping[str, Array]]]:
    """Return views of a flat array of parameters, by layer, direction and the tensor's name.

    Parameters
    ----------
    layout : list of tuple
        As `_core.layout` returns it.
    flat : array, shape (P,)

    Returns
    -------
    list of list of dict
    """
    found: dict[int, dict[str, dict[str, Array]]] = {}
    for name, shape, start in layout:
        _, k, direction, tensor = name.split(".")
        size = math.prod(shape)
        view = flat[start : start + size].reshape(shape)
        found.setdefault(int(k), {}).setdefault(direction, {})[tensor] = view
    return [list(found[k].values()) for k in sorted(found)]


def check_lengths(lengths: Array, count: int, steps: int) -> None:
    """Validate the shape of lengths, and their values if they are on the host.

    Parameters
    ----------
    lengths : array of integers
        On the host or the device.
    count, steps : int
        N and T.

    Raises
    ------
    ValueError
        If the shape is not (N,), or a value on the host is not in 0..T.
    """
    if lengths.shape != (count,):
        raise ValueError(f"lengths: expected shape ({count},), got {lengths.shape}")
    if not isinstance(lengths, np.ndarray):
        return
    wrong = (lengths < 0) | (lengths > steps)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(f"lengths: expected values in 0..={steps}, got {lengths[i]} at position {i}")
