"""Sequences with their targets: batches of an epoch, a validation set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._data.ragged import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCHES_PER_CHUNK = 8


@dataclass(frozen=True)
class Data:
    """Sequences and their targets.

    Attributes
    ----------
    x : Ragged
        N sequences.
    targets : ndarray or Ragged
        N rows, or a Ragged over the same offsets: a row for each step.
    """

    x: Ragged
    targets: NDArray[Any] | Ragged

    def take(self, indices: NDArray[np.int64]) -> Data:
        """Select sequences with their targets."""
        targets = self.targets.take(indices) if isinstance(self.targets, Ragged) else self.targets[indices]
        return Data(self.x.take(indices), targets)

    @property
    def rows(self) -> NDArray[Any]:
        """The targets in the order of the rows of the model's outputs."""
        return self.targets.values if isinstance(self.targets, Ragged) else self.targets


def batches_by_length(lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw the batches of one epoch.

    The sequences of a batch have similar lengths: each time step is computed for all sequences that have not ended, so
    that the last steps of a single long one would leave the machine mostly idle. To keep the batches random, the data
    are shuffled, sorted in chunks of a few batches (a quarter of the data at most), and the batches are shuffled again.

    Parameters
    ----------
    lengths : ndarray of int64, shape (N,)
    batch_size : int
    rng : numpy.random.Generator

    Returns
    -------
    list of ndarray of int64
        Each index from 0 to N - 1 once, `batch_size` at a time; one batch may be smaller.
    """
    order = rng.permutation(len(lengths))
    chunk = batch_size * min(_BATCHES_PER_CHUNK, max(1, len(order) // (4 * batch_size)))
    batches = []
    for start in range(0, len(order), chunk):
        part = order[start : start + chunk]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def split_validation(
    count: int, fraction: float, rng: np.random.Generator, labels: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a validation set.

    Parameters
    ----------
    count : int
        N.
    fraction : float
        The share of the N sequences to hold out, between 0 and 1.
    rng : numpy.random.Generator
    labels : ndarray of int64, shape (N,), optional
        Classes from 0, for a stratified split: `fraction` of each class is held out, rounded up or down at random, and
        at least one sequence of it is left for training. If that holds out none, one of the largest class is held out.

    Returns
    -------
    train, validation : ndarray of int64
        Ascending; neither is empty.

    Raises
    ------
    ValueError
        If no sequence can be held out: there is only one, or one of each class.
    """
    groups = [np.arange(count)]
    if labels is not None:
        groups = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    chosen = np.zeros(count, bool)
    for group in groups:
        share = math.floor(fraction * len(group) + (0.5 if labels is None else rng.random()))
        chosen[rng.permutation(group)[: min(share, len(group) - 1)]] = True
    if not chosen.any():
        largest = max(groups, key=len)
        if len(largest) < 2:
            needed, got = ("two sequences", count) if labels is None else ("two sequences of a class", "one of each")
            raise ValueError(f"early_stopping: expected at least {needed} to hold one out for validation, got {got}")
        chosen[rng.choice(largest)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
