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
        if offsets[-1] != y.shape[0]:
            raise ValueError(f"offsets: expected {y.shape[0]} at the end (the rows of y), got {offsets[-1]}")
        xp, lengths = self.xp, np.diff(offsets)
        counts = xp.asarray(np.maximum(lengths, 1).astype(y.dtype)[:, None])
        while True:
            starts, sizes = _groups(lengths)
            y = self._sums(y, starts, sizes)
            lengths = np.maximum(-(-lengths // _FAN), 1)  # an empty sequence has one row of zeros now
            if y.shape[0] == len(lengths):
                return y / counts

    def _sums(self, y: Any, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Any:
        """Return the sums (G, K) of the rows starts[g] to starts[g] + sizes[g] - 1 of y; no size is above `_FAN`."""
        xp = self.xp
        if y.shape[0] == 0:
            return xp.zeros((len(starts), y.shape[1]), y.dtype)
        places = xp.arange(_FAN)
        inside = places < xp.asarray(sizes)[:, None]
        rows = xp.minimum(xp.asarray(starts)[:, None] + places, y.shape[0] - 1)
        return xp.where(inside[:, :, None], y[rows], y.dtype.type(0)).sum(axis=1)

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
