"""What models and training compute beside the GRU, over any array module: the device's twin of `head.rs` and `loss.rs`.

Every call gives the same bits when repeated: no atomics, no random order. None waits for the device: losses and norms
are 0-d arrays of the module.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._backends.cuda.adam import Adam

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAN = 8
"""How many rows `mean_over_time` adds at a time: memory for at most so many times the rows, log_8 T rounds."""


class Operations:
    """The calls of `_core` for heads, losses and Adam, with the same contracts, over arrays of `xp`.

    Sizes are checked, the values of targets are not: that would mean to wait for them. A class out of range makes the
    loss NaN.

    Parameters
    ----------
    xp : module
        NumPy, or a module with its functions: CuPy.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.Adam = partial(Adam, xp)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        """Give x W^T + b (M, O) of x (M, K), weight (O, K) and bias (O,)."""
        _expect("weight", (bias.shape[0], x.shape[1]), weight)
        return x @ weight.T + bias

    def linear_backward(self, x: Any, weight: Any, dy: Any) -> tuple[Any, Any, Any]:
        """Give the gradients by x (M, K), weight (O, K) and bias (O,) for that by the output, dy (M, O)."""
        _expect("dy", (x.shape[0], weight.shape[0]), dy)
        _expect("weight", (dy.shape[1], x.shape[1]), weight)
        return dy @ weight, dy.T @ x, dy.sum(axis=0)

    def mean_over_time(self, y: Any, offsets: NDArray[np.int64]) -> Any:
        """Give the mean over the steps of each sequence (N, K) of y (S, K), and 0 for an empty sequence.

        The sum is a tree: rows of the same sequence are added eight at a time, until each sequence has one. So what is
        added to what depends on the sequence alone, and rounding grows with the tree's height.
        """
        if offsets[-1] != y.shape[0]:
            raise ValueError(f"offsets: expected {y.shape[0]} at the end (the rows of y), got {offsets[-1]}")
        xp, lengths = self.xp, np.diff(offsets)
        counts = xp.asarray(np.maximum(lengths, 1).astype(y.dtype)[:, None])
        while True:
            starts, sizes = _groups(lengths)
            y = self._sums(y, starts, sizes)
            lengths = np.maximum(-(-lengths // _FAN), 1)  # an empty sequence has a row now: of zeros
            if y.shape[0] == len(lengths):
                return y / counts

    def _sums(self, y: Any, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Any:
        """Sums (G, K) of the rows starts[g] to starts[g] + sizes[g] - 1 of y; no size is above `_FAN`."""
        xp = self.xp
        if y.shape[0] == 0:
            return xp.zeros((len(starts), y.shape[1]), y.dtype)
        places = xp.arange(_FAN)
        inside = places < xp.asarray(sizes)[:, None]
        rows = xp.minimum(xp.asarray(starts)[:, None] + places, y.shape[0] - 1)
        return xp.where(inside[:, :, None], y[rows], y.dtype.type(0)).sum(axis=1)

    def softmax(self, logits: Any) -> Any:
        """Give the probabilities of each row of logits (M, C)."""
        exponentials = self.xp.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def cross_entropy(self, logits: Any, targets: Any) -> tuple[Any, Any]:
        """Give the mean cross-entropy in nats of logits (M, C) against classes (M,) int64, and its gradient (M, C)."""
        xp, (rows, classes), number = self.xp, logits.shape, logits.dtype.type
        _expect("targets", (rows,), targets)
        shifted = logits - logits.max(axis=1, keepdims=True)
        exponentials = xp.exp(shifted)
        sums = exponentials.sum(axis=1, keepdims=True)
        chosen = xp.arange(classes) == targets[:, None]
        # A target that is no class chooses none.
        scores = xp.where(chosen.any(axis=1), xp.where(chosen, shifted, number(0)).sum(axis=1), number(np.nan))
        loss = (xp.log(sums[:, 0]) - scores).sum(dtype=np.float64) / max(rows, 1)
        return loss, (exponentials / sums - chosen) / max(rows, 1)

    def mean_squared_error(self, prediction: Any, target: Any) -> tuple[Any, Any]:
        """Give the mean squared error over all numbers of prediction and target (M, O), and its gradient (M, O)."""
        _expect("target", prediction.shape, target)
        error = prediction - target
        count = max(error.size, 1)
        return self.xp.square(error, dtype=np.float64).sum() / count, error * (2.0 / count)


def _groups(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut sequences laid end to end into groups of `_FAN` rows, the last of each shorter; an empty one is a group too.

    Gives where each group starts, and its rows.
    """
    groups = np.maximum(-(-lengths // _FAN), 1)
    firsts = np.cumsum(groups) - groups  # the first group of each sequence
    within = (np.arange(groups.sum()) - np.repeat(firsts, groups)) * _FAN
    starts = np.repeat(np.cumsum(lengths) - lengths, groups) + within
    return starts, np.minimum(np.repeat(lengths, groups) - within, _FAN)


def _expect(name: str, shape: tuple[int, ...], array: Any) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
