"""A GRU with a linear head: ragged sequences in, one row of numbers for each sequence (or each step) out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np

from rgru import _core
from rgru.ragged import Ragged
from rgru.scalars import as_int, as_probability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rgru.gru import GRU

Pooling: TypeAlias = Literal["last", "mean", "every"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

Loss: TypeAlias = "Callable[[NDArray[Any], NDArray[Any]], tuple[float, NDArray[Any]]]"
"""Of outputs (M, O) and targets: the mean loss, and its gradient by the outputs (M, O)."""

_NUMBERS_PER_PIECE = 2**23
"""Prediction runs over pieces of a batch whose GRU outputs hold about so many numbers, to bound the memory."""


class Model:
    """A GRU, pooling over time, and a linear head.

    Parameters
    ----------
    gru : GRU
        Kept, not copied: training changes it.
    output_size : int
        O, at least 1.
    pooling : {"last", "mean", "every"}
        What the head sees: the state after the last step of each sequence, the mean over its steps, or every step by
        itself. The directions of a bidirectional GRU are concatenated: K = D * H features. For a sequence without
        steps they are 0, so that the head's bias comes out.
    dropout : float, default 0.0
        The share of features, from 0 to below 1, hidden from the head in each training step.
    seed : int, default 0
        Of the head's initial weights, uniform within +-1/sqrt(K), and of the dropout.

    Attributes
    ----------
    head_weight : ndarray, shape (O, K), of the GRU's dtype
    head_bias : ndarray, shape (O,)
        Initially 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    def __init__(self, gru: GRU, output_size: int, *, pooling: Pooling, dropout: float = 0.0, seed: int = 0) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: expected one of {', '.join(map(repr, POOLINGS))}, got {pooling!r}")
        self.gru = gru
        self.output_size = as_int("output_size", output_size, 1)
        self.pooling = pooling
        self.dropout = as_probability("dropout", dropout)
        self._rng = np.random.default_rng(seed)
        features = gru.hidden_size * (2 if gru.bidirectional else 1)
        # Not zeros: no gradient goes through a zero head to the GRU in the first step, and Adam scales the tiny ones of
        # the next step up to full size.
        bound = features**-0.5
        self.head_weight = self._rng.uniform(-bound, bound, (output_size, features)).astype(gru.dtype)
        self.head_bias = np.zeros(output_size, gru.dtype)

    def parameters(self) -> list[NDArray[Any]]:
        """Give what training changes: the GRU's flat parameters (P,), the head's weight (O, K) and bias (O,).

        They are the arrays themselves; call `changed` after writing to them.
        """
        return [self.gru._flat, self.head_weight, self.head_bias]

    def changed(self) -> None:
        """Tell the GRU that its parameters were changed in place."""
        self.gru._changed()

    def predict(self, x: Ragged) -> NDArray[Any]:
        """Compute the outputs.

        Parameters
        ----------
        x : Ragged
            N sequences, S steps, I features, of the GRU's dtype.

        Returns
        -------
        ndarray, shape (N, O), or (S, O) for pooling "every"
            The bits of a row depend on its sequence alone, not on the others in `x`.
        """
        outputs = [self._predict_piece(piece) for piece in self._pieces(x)]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def loss_and_gradients(self, x: Ragged, targets: NDArray[Any], loss: Loss) -> tuple[float, list[NDArray[Any]]]:
        """Run one training batch forward and backward, with dropout.

        Parameters
        ----------
        x : Ragged
            N sequences, S steps, I features, of the GRU's dtype.
        targets : ndarray
            What `loss` takes, a row for each row of the outputs: N, or S for pooling "every".
        loss : callable
            ``loss(outputs, targets) -> (mean loss, gradient by the outputs)``.

        Returns
        -------
        loss : float
        gradients : list of ndarray
            In the order and shapes of `parameters`.
        """
        y, h_n, tape = self.gru.forward(x)
        features = self._pool(y, h_n)
        mask = self._dropout_mask(features)
        if mask is not None:
            features = features * mask
        outputs = _core.linear(features, self.head_weight, self.head_bias)
        value, d_outputs = loss(outputs, targets)
        d_features, d_weight, d_bias = _core.linear_backward(features, self.head_weight, d_outputs)
        if mask is not None:
            d_features *= mask
        gradients = tape.backward(*self._unpool(d_features, x))
        return value, [gradients.flat, d_weight, d_bias]

    def _predict_piece(self, x: Ragged) -> NDArray[Any]:
        features = self._pool(*self.gru(x))
        return cast("NDArray[Any]", _core.linear(features, self.head_weight, self.head_bias))

    def _pieces(self, x: Ragged) -> Iterator[Ragged]:
        """Cut `x` between sequences into pieces of bounded size; a longer sequence is a piece of its own."""
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

    def _pool(self, y: Ragged, h_n: NDArray[Any]) -> NDArray[Any]:
        """Features of the head, (N, K) or (S, K)."""
        if self.pooling == "every":
            return y.values
        if self.pooling == "mean":
            return cast("NDArray[Any]", _core.mean_over_time(y.values, y.offsets))
        # h_n (L*D, N, H): the last layer's directions are the last D.
        last = h_n[-2:] if self.gru.bidirectional else h_n[-1:]
        return np.concatenate(list(last), axis=1)

    def _unpool(self, d_features: NDArray[Any], x: Ragged) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """The gradient by the features as gradients by y (S, K) and by h_n (L*D, N, H)."""
        if self.pooling == "every":
            return d_features, None
        if self.pooling == "mean":
            lengths = x.lengths
            shares = d_features / np.maximum(lengths, 1)[:, None].astype(d_features.dtype)
            return np.repeat(shares, lengths, axis=0), None
        directions = 2 if self.gru.bidirectional else 1
        d_h_n = np.zeros((self.gru.num_layers * directions, len(x), self.gru.hidden_size), d_features.dtype)
        d_h_n[-directions:] = d_features.reshape(len(x), directions, -1).transpose(1, 0, 2)
        return None, d_h_n

    def _dropout_mask(self, features: NDArray[Any]) -> NDArray[Any] | None:
        """0 where hidden, else 1 / (1 - dropout), so that the expected features stay the same."""
        if self.dropout == 0.0:
            return None
        kept = self._rng.random(features.shape, np.float32) >= self.dropout
        mask: NDArray[Any] = kept.astype(features.dtype) / features.dtype.type(1.0 - self.dropout)
        return mask
