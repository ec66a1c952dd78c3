"""Heads, losses and optimisers of models over any array module, with the interface of the CPU core.

Repeated calls return the same bits: there are no atomics and no random order. No call waits for the device: losses and
norms are 0-d arrays of the module.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._backends.cuda.adam import Adam

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAN = 8
"""How many rows `mean_over_time` adds at a time. It needs at most this many times the memory, and log_8 T rounds."""


class Operations:
    """The functions of `_core` for heads, losses and Adam, over arrays of `xp`.

    Shapes are validated. The values of targets are not, since reading them would wait for the device: a class out of
    range makes the loss NaN.

    Parameters
    ----------
    xp : module
        NumPy, or a module with the same functions: CuPy.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru._backends.cuda.array_ops import Operations
    >>> Operations(np).softmax(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.Adam = partial(Adam, xp)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        """Return x W^T + b, shape (M, O), from x (M, K), weight (O, K) and bias (O,)."""
        _expect("weight", (bias.shape[0], x.shape[1]), weight)
        return x @ weight.T + bias

    def linear_backward(self, x: Any, weight: Any, dy: Any) -> tuple[Any, Any, Any]:
        """Return the gradients of x (M, K), weight (O, K) and bias (O,) from the gradient of the output, dy (M, O)."""
        _expect("dy", (x.shape[0], weight.shape[0]), dy)
        _expect("weight", (dy.shape[1], x.shape[1]), weight)
        return dy @ weight, dy.T @ x, dy.sum(axis=0)

    def mean_over_time(self, y: Any, offsets: NDArray[np.int64]) -> Any:
        """Return the mean over the steps of each sequence, shape (N, K), of y (S, K); 0 for an empty sequence.

        The sum is a tree: rows of the same sequence are added eight at a time, until each sequence has one. So the
        order of the additions depends on the sequence alone, and rounding grows with the tree's height.
        """
        xp = self.xp
        counts = xp.asarray(np.maximum(np.diff(offsets), 1).astype(y.dtype)[:, None])
        return self._reduce(y, offsets, 0.0, xp.sum) / counts

    def max_over_time(self, y: Any, offsets: NDArray[np.int64]) -> Any:
        """Return the largest values over the steps of each sequence, shape (N, K), of y (S, K); 0 for an empty one."""
        largest = self._reduce(y, offsets, -np.inf, self.xp.max)
        return self.xp.where(self.xp.asarray(np.diff(offsets) > 0)[:, None], largest, y.dtype.type(0))

    def _reduce(self, y: Any, offsets: NDArray[np.int64], empty: float, reduction: Any) -> Any:
        """Reduce the rows of each sequence to one, `_FAN` at a time; the value for no rows is `empty`."""
        if offsets[-1] != y.shape[0]:
            raise ValueError(f"offsets: expected {y.shape[0]} at the end (the rows of y), got {offsets[-1]}")
        xp, lengths = self.xp, np.diff(offsets)
        while True:
            starts, sizes = _groups(lengths)
            if y.shape[0] == 0:
                y = xp.full((len(starts), y.shape[1]), empty, y.dtype)
            else:
                places = xp.arange(_FAN)
                inside = places < xp.asarray(sizes)[:, None]
                rows = xp.minimum(xp.asarray(starts)[:, None] + places, y.shape[0] - 1)
                y = reduction(xp.where(inside[:, :, None], y[rows], y.dtype.type(empty)), axis=1)
            lengths = np.maximum(-(-lengths // _FAN), 1)  # an empty sequence has one row now
            if y.shape[0] == len(lengths):
                return y

    def activate(self, x: Any, activation: Any) -> Any:  # noqa: PLR0911 - one for each kind
        """Return an activation of each number; the name, or the name and its parameters, are those of `rgru.GRU`."""
        xp, number = self.xp, x.dtype.type
        kind, *given = (activation,) if isinstance(activation, str) else activation
        parameters = [number(parameter) for parameter in given]
        match kind:
            case "tanh":
                return xp.tanh(x)
            case "relu":
                return xp.maximum(x, number(0))
            case "linear":
                return x.copy()
            case "softsign":
                return x / (1 + abs(x))
            case "sigmoid":
                return number(0.5) * xp.tanh(number(0.5) * x) + number(0.5)
            case "elu":
                return xp.where(x > 0, x, parameters[0] * xp.expm1(xp.minimum(x, number(0))))
            case _:  # hard_sigmoid
                return xp.clip(parameters[0] * x + parameters[1], number(0), number(1))

    def normalise(self, x: Any, epsilon: float) -> tuple[Any, Any]:
        """Return the rows of x (M, K) with mean 0 and variance 1, and 1 / sqrt(variance + epsilon) (M,)."""
        moved = x - x.mean(axis=1, keepdims=True)
        scales = 1 / self.xp.sqrt((moved * moved).mean(axis=1) + x.dtype.type(epsilon))
        return moved * scales[:, None], scales

    def normalise_backward(self, dy: Any, y: Any, scales: Any) -> Any:
        """Return the gradient by x of `normalise`, for that by y, its first result."""
        slope = (dy * y).mean(axis=1, keepdims=True)
        return (dy - dy.mean(axis=1, keepdims=True) - y * slope) * scales[:, None]

    def softmax(self, logits: Any) -> Any:
        """Return the probabilities of each row of logits (M, C)."""
        exponentials = self.xp.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def cross_entropy(self, logits: Any, targets: Any) -> tuple[Any, Any]:
        """Return the mean cross-entropy in nats of logits (M, C) for classes (M,) int64, and its gradient (M, C)."""
        xp, (rows, classes), number = self.xp, logits.shape, logits.dtype.type
        _expect("targets", (rows,), targets)
        shifted = logits - logits.max(axis=1, keepdims=True)
        exponentials = xp.exp(shifted)
        sums = exponentials.sum(axis=1, keepdims=True)
        chosen = xp.arange(classes) == targets[:, None]
        # A target out of range matches no class.
        scores = xp.where(chosen.any(axis=1), xp.where(chosen, shifted, number(0)).sum(axis=1), number(np.nan))
        loss = (xp.log(sums[:, 0]) - scores).sum(dtype=np.float64) / max(rows, 1)
        return loss, (exponentials / sums - chosen) / max(rows, 1)

    def mean_squared_error(self, prediction: Any, target: Any) -> tuple[Any, Any]:
        """Return the mean squared error over all numbers of prediction and target (M, O), and its gradient (M, O)."""
        _expect("target", prediction.shape, target)
        error = prediction - target
        count = max(error.size, 1)
        return self.xp.square(error, dtype=np.float64).sum() / count, error * (2.0 / count)


def _groups(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split concatenated sequences into groups of `_FAN` rows, the last of each shorter; an empty one is a group too.

    Returns the first row of each group, and its number of rows.
    """
    groups = np.maximum(-(-lengths // _FAN), 1)
    firsts = np.cumsum(groups) - groups  # the first group of each sequence
    within = (np.arange(groups.sum()) - np.repeat(firsts, groups)) * _FAN
    starts = np.repeat(np.cumsum(lengths) - lengths, groups) + within
    return starts, np.minimum(np.repeat(lengths, groups) - within, _FAN)


def _expect(name: str, shape: tuple[int, ...], array: Any) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
