"""The history of a training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """The history of a training: lists with one entry per epoch.

    Attributes
    ----------
    train_loss : list of float
        The mean over the epoch, while the weights changed, with dropout.
    validation_loss, validation_score : list of float
        Computed after the epoch, without dropout; empty if there was no validation.
    sequences_per_second : list of float
        The throughput of training, without validation. It describes the machine, not the model: files do not store it
        and comparisons ignore it.
    best_epoch : int
        The epoch (from 0) with the lowest monitored loss, whose weights are kept if there was validation; -1 before
        the first.

    Examples
    --------
    >>> import numpy as np, rgru
    >>> X = np.random.default_rng(0).normal(size=(64, 10, 2))
    >>> history = rgru.GRURegressor(max_epochs=3, random_state=0).fit(X, X.sum(axis=(1, 2))).history_
    >>> len(history.train_loss), history.validation_loss
    (3, [])
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_score: list[float] = field(default_factory=list)
    sequences_per_second: list[float] = field(default_factory=list, compare=False)
    best_epoch: int = -1

    def check(self) -> None:
        """Refuse lists of different lengths, and a best epoch out of range, as a damaged file may have.

        Raises
        ------
        TypeError, ValueError
            If the history is inconsistent.
        """
        epochs = len(self.train_loss)
        lengths = [len(self.validation_loss), len(self.validation_score)]
        if lengths not in ([0, 0], [epochs, epochs]) or not -1 <= self.best_epoch < epochs:
            raise ValueError(f"history: expected lists over {epochs} epochs, got {lengths}, best {self.best_epoch}")
