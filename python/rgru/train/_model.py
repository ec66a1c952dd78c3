"""A GRU with a linear head: ragged sequences in, one row of numbers for each sequence (or each step) out."""

from __future__ import annotations

import math
from collections import deque
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from rgru._backends import CPU
from rgru._data.ragged import Ragged
from rgru._validation.arrays import own
from rgru._validation.scalars import as_int, as_probability
from rgru.nn._merge import last_features, last_features_backward
from rgru.train._device_parameters import DeviceParameters

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

    from rgru._backends.base import Backend, PackedWeights
    from rgru.nn._gru import GRU

Pooling: TypeAlias = Literal["last", "mean", "every"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

Loss: TypeAlias = "Callable[[Any, Any], tuple[Any, Any]]"
"""A function of outputs (M, O) and targets, on a device, to the mean loss and its gradient by the outputs (M, O)."""

_NUMBERS_PER_PIECE = 2**23
"""The approximate number of GRU outputs computed at once in predictions, which bounds their memory."""


class Model:
    """A GRU, pooling over time, and a linear head.

    Parameters
    ----------
    gru : GRU
        The GRU, which is not copied: training changes it.
    output_size : int
        O, at least 1.
    pooling : {"last", "mean", "every"}
        The head's input: the state after the last step of each sequence, the mean over its steps, or every step's
        state. The directions of a bidirectional GRU are merged as its outputs are, by default to K = D * H features.
        For a sequence without steps the mean is 0, and the last state is the initial one.
    dropout : float, default 0.0
        The share of features, from 0 to below 1, that are hidden from the head in each training step.
    seed : int, default 0
        The seed of the dropout and of the head's initial weights, which are uniform within +-1/sqrt(K).

    Attributes
    ----------
    head_weight : ndarray, shape (O, K), of the GRU's dtype
    head_bias : ndarray, shape (O,)
        Initially 0.
    backend : rgru._backends.base.Backend
        The backend of the device that computes; initially, and after unpickling, the CPU's. It may be set between
        calls.
    """

    def __init__(self, gru: GRU, output_size: int, *, pooling: Pooling, dropout: float = 0.0, seed: int = 0) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: expected one of {', '.join(map(repr, POOLINGS))}, got {pooling!r}")
        self.gru = gru
        self.output_size = as_int("output_size", output_size, 1)
        self.pooling = pooling
        self.dropout = as_probability("dropout", dropout)
        self._rng = np.random.default_rng(seed)
        features = gru.output_size
        # Not zeros: through a zero head no gradient reaches the GRU in the first step, and Adam scales the tiny
        # gradients of the next step up to full size.
        # Only exactly rounded operations, so that a seed gives the same numbers everywhere: no power, and not
        # `uniform`, whose product and sum some compilers fuse.
        signs = 2.0 * self._rng.random((output_size, features)) - 1.0
        self.head_weight = (signs / math.sqrt(features)).astype(gru.dtype)
        self.head_bias = np.zeros(output_size, gru.dtype)
        self.backend: Backend = CPU
        self._resident: DeviceParameters | None = None  # the current parameters, within `on_device`

    def host_parameters(self) -> list[NDArray[Any]]:
        """Return the model's own parameters: the GRU's flat array (P,), the head's weight (O, K) and bias (O,).

        Call `changed` after writing to them.
        """
        return [self.gru._flat, self.head_weight, self.head_bias]

    def parameters(self) -> list[Any]:
        """Return the arrays that training updates, in the order of `host_parameters`.

        Within `on_device` they are arrays of the device, otherwise the model's own. Call `changed` after writing to
        them.
        """
        return self.host_parameters() if self._resident is None else self._resident.arrays

    def changed(self) -> None:
        """Invalidate packed weights after parameters were changed in place."""
        if self._resident is not None:
            self._resident.changed()
        self.gru._changed()

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Keep the parameters on the device within a block, to train them there.

        At the block's end, also after an error, they are copied into the model's own arrays; on the CPU they are
        these arrays. The device is the current one in the block. Not thread-safe.
        """
        with self.backend.here():
            self._resident = resident = DeviceParameters(self.backend, self.host_parameters(), self.gru)
            try:
                yield
            finally:
                self._resident = None
                try:
                    resident.bring_back()
                finally:
                    # Ctrl-C may have interrupted between a change of parameters and the call of `changed`.
                    self.gru._changed()

    def predict(self, x: Ragged, *, softmax: bool = False) -> NDArray[Any]:
        """Compute the outputs.

        Parameters
        ----------
        x : Ragged
            N sequences, S steps, I features, of the GRU's dtype.
        softmax : bool, default False
            Whether to return the softmax of each row.

        Returns
        -------
        ndarray, shape (N, O), or (S, O) for pooling "every"
            On the CPU the bits of a row depend on its sequence alone, not on the others in `x`.
        """
        [outputs] = self.predict_each([x], softmax=softmax)
        return outputs

    def predict_each(self, batches: Iterable[Ragged], *, softmax: bool = False) -> Generator[NDArray[Any]]:
        """Compute the outputs of each of several batches; a GPU computes while the host prepares the next one.

        Parameters
        ----------
        batches : iterable of Ragged
            Batches as `predict` takes them. On a CPU they are taken one by one, else one or two ahead of the results.
        softmax : bool, default False
            Whether to return the softmax of each row.

        Yields
        ------
        ndarray
            The result of `predict` for each batch, in order.
        """
        backend = self.backend
        with backend.here():
            weights, head_weight, head_bias = self._on_device(training=False)
        counts: deque[int] = deque()  # the number of pieces of each batch in flight

        def run(values: Any, offsets: NDArray[np.int64]) -> Any:
            if self.pooling == "last":
                h_n = weights.final_states(values, None, None, offsets)
                features = last_features(self.gru, h_n, backend.xp)
            else:
                features = self._pool(backend, *weights.forward(values, None, None, offsets), offsets)
            rows = backend.linear(features, head_weight, head_bias)
            return backend.softmax(rows) if softmax else rows

        def pieces() -> Iterator[Ragged]:
            for x in batches:
                cut = list(self._pieces(x))
                counts.append(len(cut))
                yield from cut

        outputs: list[NDArray[Any]] = []
        with closing(backend.each(run, pieces())) as results:
            for output in results:
                outputs.append(output)
                if len(outputs) == counts[0]:
                    whole = output if len(outputs) == 1 else np.concatenate(outputs)
                    outputs = []
                    counts.popleft()
                    yield whole

    def loss_and_gradients(self, x: Ragged, targets: NDArray[Any], loss: Loss) -> tuple[Any, list[Any]]:
        """Compute the loss and the gradients of a training batch, with dropout.

        Parameters
        ----------
        x : Ragged
            N sequences, S steps, I features, of the GRU's dtype.
        targets : ndarray
            Targets for `loss`, one row for each row of the outputs: N, or S for pooling "every".
        loss : callable
            ``loss(outputs, targets) -> (mean loss, gradient by the outputs)``, over arrays of the device.

        Returns
        -------
        loss : float, or 0-d array of the device
        gradients : list of array of the device
            In the order and shapes of `parameters`.
        """
        backend = self.backend
        with backend.here():
            weights, head_weight, head_bias = self._on_device(training=True)
            y, h_n, tape = weights.forward_tape(
                backend.array(x.values), None, None, x.offsets, self.gru.dropout, self.gru._mask_seed(), None
            )
            features = self._pool(backend, y, h_n, x.offsets)
            mask = self._dropout_mask(backend, features)
            if mask is not None:
                features = features * mask
            outputs = backend.linear(features, head_weight, head_bias)
            value, d_outputs = loss(outputs, backend.array(targets))
            d_features, d_weight, d_bias = backend.linear_backward(features, head_weight, d_outputs)
            if mask is not None:
                d_features *= mask
            _, _, d_flat = tape.backward(*self._unpool(backend, d_features, h_n, x))
            return value, [d_flat, d_weight, d_bias]

    def _on_device(self, *, training: bool) -> tuple[PackedWeights, Any, Any]:
        """Return the GRU's packed weights, the head's weight and its bias on the device, which is the current one."""
        if self._resident is not None:
            _, weight, bias = self._resident.arrays
            return self._resident.weights(), weight, bias
        backend = self.backend
        weights = backend.weights_of(self.gru, training=training)
        return weights, backend.array(self.head_weight), backend.array(self.head_bias)

    def _pieces(self, x: Ragged) -> Iterator[Ragged]:
        """Split `x` between sequences into pieces whose GRU outputs have a bounded size.

        A sequence beyond that size is a piece of its own.
        """
        limit = max(1, _NUMBERS_PER_PIECE // self.head_weight.shape[1])
        offsets = x.offsets
        first = 0
        while True:
            last = int(np.searchsorted(offsets, offsets[first] + limit, side="right")) - 1
            last = min(max(last, first + 1), len(x))
            if first == 0 and last == len(x):
                yield x
            else:
                start, end = offsets[first], offsets[last]
                yield Ragged._over(x.values[start:end], offsets[first : last + 1] - start)
            if last == len(x):
                return
            first = last

    def _pool(self, backend: Backend, y: Any, h_n: Any, offsets: NDArray[np.int64]) -> Any:
        """Compute the head's features, (N, K) or (S, K), from y (S, K) and h_n (L*D, N, H)."""
        if self.pooling == "every":
            return y
        if self.pooling == "mean":
            return backend.mean_over_time(y, offsets)
        return last_features(self.gru, h_n, backend.xp)

    def _unpool(self, backend: Backend, d_features: Any, h_n: Any, x: Ragged) -> tuple[Any, Any]:
        """Convert the gradient by the features to gradients by y (S, K) and by h_n (L*D, N, H)."""
        count = len(x)
        if self.pooling == "every":
            return d_features, None
        if self.pooling == "mean":
            lengths = x.lengths
            shares = d_features / backend.array(np.maximum(lengths, 1).astype(d_features.dtype)[:, None])
            return shares[backend.array(np.repeat(np.arange(count), lengths))], None
        return None, last_features_backward(self.gru, h_n, d_features, backend.xp)

    def _dropout_mask(self, backend: Backend, features: Any) -> Any:
        """Draw a mask, or return None without dropout.

        It is 0 where hidden, else 1 / (1 - dropout), which preserves the expected features. It is drawn on the host, so
        that it is the same for every device.
        """
        if self.dropout == 0.0:
            return None
        kept = backend.array(self._rng.random(features.shape, np.float32) >= self.dropout)
        return kept.astype(features.dtype) / features.dtype.type(1.0 - self.dropout)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "backend": None, "_resident": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        heads = {name: own(state[name]) for name in ("head_weight", "head_bias")}
        self.__dict__.update({**state, **heads}, backend=CPU)
