"""The fit loop: batches grouped by length, Adam, early stopping, history."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._data.ragged import Ragged
from rgru.train._loss_accumulator import Tally, finite
from rgru.train._progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rgru._backends.base import Optimizer
    from rgru.train._model import Loss, Model

_BATCHES_PER_CHUNK = 8


@dataclass(frozen=True)
class Data:
    """Sequences and what is to be learnt of them.

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


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes
    ----------
    learning_rate : float
        Adam's step size at the start. It falls along half a cosine to 0 at the end of `max_epochs` [1]_: the last
        epochs settle what the first have found.
    batch_size : int
        Sequences per step of Adam.
    max_epochs : int
    patience : int or None
        Stop after so many epochs without a lower watched loss; None never stops. Watched is the validation loss, or,
        without validation data, the training loss.
    max_grad_norm : float or None
        The gradients of a batch are scaled down to this global L2 norm if theirs is larger; None leaves them.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter. SGDR: Stochastic gradient descent with warm restarts. ICLR 2017.
    """

    learning_rate: float
    batch_size: int
    max_epochs: int
    patience: int | None
    max_grad_norm: float | None


@dataclass
class History:
    """What happened in each epoch: lists with one entry per epoch.

    Attributes
    ----------
    train_loss : list of float
        Mean over the epoch, while the weights moved and with dropout.
    validation_loss, validation_score : list of float
        After the epoch, without dropout; empty if there was no validation.
    sequences_per_second : list of float
        Of training alone. Of the machine, not of the model: files do not keep it, and comparisons leave it out.
    best_epoch : int
        The epoch (from 0) with the lowest watched loss, whose weights are kept if there was validation; -1 before any.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_score: list[float] = field(default_factory=list)
    sequences_per_second: list[float] = field(default_factory=list, compare=False)
    best_epoch: int = -1

    def check(self) -> None:
        """Refuse lists of different lengths and an epoch that is not there.

        Raises
        ------
        TypeError, ValueError
            As a damaged file may cause.
        """
        epochs = len(self.train_loss)
        lengths = [len(self.validation_loss), len(self.validation_score)]
        if lengths not in ([0, 0], [epochs, epochs]) or not -1 <= self.best_epoch < epochs:
            raise ValueError(f"history: expected lists over {epochs} epochs, got {lengths}, best {self.best_epoch}")


def train(
    model: Model,
    data: Data,
    loss: Loss,
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    validation: Data | None = None,
    score: Callable[[NDArray[Any], NDArray[Any]], float] | None = None,
    history: History | None = None,
    progress: bool = False,
) -> History:
    """Train `model` in place.

    Parameters
    ----------
    model : Model
        Ends with the weights of the best epoch if there is validation, else with those of the last step; also when
        Ctrl-C ends the training early. Meanwhile they live on its device.
    data : Data
        Of the model's dtype.
    loss : callable
        As `Model.loss_and_gradients` takes it: one of the model's backend.
    schedule : Schedule
    rng : numpy.random.Generator
        Of the order of the batches.
    validation : Data, optional
        Watched after each epoch.
    score : callable, optional
        ``score(outputs, targets) -> float`` on the validation data, for the history; needed with `validation`.
    history : History, optional
        Filled epoch by epoch, so that it can be read after an interruption.
    progress : bool, default False
        Report each epoch on stderr; see `rgru.train._progress`.

    Returns
    -------
    History

    Raises
    ------
    FloatingPointError
        If the loss or the gradients become NaN or infinite. Without validation the weights are then of no use.
    ValueError
        If there is nothing to learn: all sequences are empty, and each step has a target.
    """
    for what, part in (("data", data), ("validation", validation)):
        if part is not None and not len(part.rows):
            raise ValueError(f"{what}: expected at least one target, got none: all its sequences are empty")
    history = History() if history is None else history
    adam = model.backend.Adam(schedule.learning_rate, 0.9, 0.999, 1e-8)
    best_loss = math.inf
    best_weights: list[Any] | None = None
    reports = Progress(schedule.max_epochs) if progress else None
    with model.on_device():
        try:
            for epoch in range(schedule.max_epochs):
                started = time.perf_counter()
                watched = train_loss = _run_epoch(model, adam, data, loss=loss, schedule=schedule, rng=rng, epoch=epoch)
                rate = len(data.x) / (time.perf_counter() - started)
                if validation is not None and score is not None:
                    outputs = model.predict(validation.x)
                    watched = finite(_loss(model, loss, outputs, validation.rows), "validation loss", epoch)
                    history.validation_score.append(score(outputs, validation.rows))
                    history.validation_loss.append(watched)
                history.train_loss.append(train_loss)
                history.sequences_per_second.append(rate)
                if watched < best_loss:
                    best_loss, history.best_epoch = watched, epoch
                    if validation is not None:
                        best_weights = [array.copy() for array in model.parameters()]
                if reports is not None:
                    reports.report(history)
                if schedule.patience is not None and epoch - history.best_epoch >= schedule.patience:
                    break
        finally:
            if reports is not None:
                reports.close()
            if best_weights is not None:
                for array, best in zip(model.parameters(), best_weights, strict=True):
                    array[...] = best
    return history


def batches_by_length(lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw the batches of one epoch.

    The sequences of a batch are alike in length: the recurrence does a step for all sequences that still run, so that a
    lone long one would walk its last steps with the machine all but idle. To keep the batches random, only a shuffled
    chunk of a few batches, a quarter of the data at most, is sorted at a time, and the batches are shuffled in the end.

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
        Of the N sequences, between 0 and 1.
    rng : numpy.random.Generator
    labels : ndarray of int64, shape (N,), optional
        Classes from 0: each gives its share, rounded up or down by chance, and keeps a sequence for training. Where no
        class gives any, the largest one gives a sequence.

    Returns
    -------
    train, validation : ndarray of int64
        Ascending; neither is empty.

    Raises
    ------
    ValueError
        If there is no sequence to spare: only one, or only one of each class.
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
            needed = "two sequences" if labels is None else "two sequences of a class"
            raise ValueError(f"early_stopping: expected at least {needed} to set one aside for validation, got {count}")
        chosen[rng.choice(largest)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _run_epoch(
    model: Model,
    adam: Optimizer,
    data: Data,
    *,
    loss: Loss,
    schedule: Schedule,
    rng: np.random.Generator,
    epoch: int,
) -> float:
    """Take a step for each batch; gives the mean loss over all rows."""
    backend = model.backend
    tally = Tally(backend, epoch)
    parameters = model.parameters()
    batches = batches_by_length(data.x.lengths, schedule.batch_size, rng)
    for i, indices in enumerate(batches):
        batch = data.take(indices)
        rows = batch.rows
        if not len(rows):  # targets per step, and no sequence of the batch has a step
            continue
        value, gradients = model.loss_and_gradients(batch.x, rows, loss)
        tally.add_loss(value, len(rows))
        done = (epoch + i / len(batches)) / schedule.max_epochs
        adam.lr = schedule.learning_rate * _core.cosine_decay(done)
        norm = adam.step(parameters, gradients, schedule.max_grad_norm)
        model.changed()
        tally.add_norm(norm)
    mean = tally.mean_loss()
    for array in parameters:  # the last step, too, may have led astray
        finite(float(backend.numpy(backend.xp.abs(array).max())), "size of the parameters", epoch)
    return mean


def _loss(model: Model, loss: Loss, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """The loss of outputs that are on the host."""
    backend = model.backend
    value, _ = loss(backend.array(outputs), backend.array(targets))
    return float(backend.numpy(value))
