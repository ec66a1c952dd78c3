"""The training loop: batches grouped by length, Adam, early stopping, history."""

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


@dataclass(frozen=True)
class Schedule:
    """The options of the training loop.

    Attributes
    ----------
    learning_rate : float
        Adam's initial step size, which falls along half a cosine to 0 at the end of `max_epochs` [1]_.
    batch_size : int
        Sequences per step of Adam.
    max_epochs : int
    patience : int or None
        Stop after this number of epochs without a lower monitored loss; None never stops. The monitored loss is that
        of the validation data, or, without these, of the training data.
    max_grad_norm : float or None
        The largest global L2 norm of a batch's gradients; larger ones are scaled down. None sets no limit.

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
        The model. It ends with the weights of the best epoch if there is validation, else with those of the last step;
        also if Ctrl-C ends the training early. During the training they are on the model's device.
    data : Data
        The training data, of the model's dtype.
    loss : callable
        One of the losses of the model's backend, for `Model.loss_and_gradients`.
    schedule : Schedule
    rng : numpy.random.Generator
        The generator that draws the order of the batches.
    validation : Data, optional
        Data to compute the monitored loss from after each epoch.
    score : callable, optional
        ``score(outputs, targets) -> float`` on the validation data, for the history; required with `validation`.
    history : History, optional
        The history to fill, epoch by epoch, so that it can be read after an interruption.
    progress : bool, default False
        Whether to report each epoch on stderr; see `rgru.train._progress`.

    Returns
    -------
    History

    Raises
    ------
    FloatingPointError
        If the loss or the gradients become NaN or infinite. Without validation the weights are then unusable.
    ValueError
        If there are no targets: each step has one, and all sequences are empty.
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
            needed = "two sequences" if labels is None else "two sequences of a class"
            raise ValueError(f"early_stopping: expected at least {needed} to hold one out for validation, got {count}")
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
    """Run a step of Adam for each batch, and return the mean loss over all rows."""
    backend = model.backend
    tally = Tally(backend, epoch)
    parameters = model.parameters()
    batches = batches_by_length(data.x.lengths, schedule.batch_size, rng)
    for i, indices in enumerate(batches):
        batch = data.take(indices)
        rows = batch.rows
        if not len(rows):  # each step has a target, and all sequences of the batch are empty
            continue
        value, gradients = model.loss_and_gradients(batch.x, rows, loss)
        tally.add_loss(value, len(rows))
        done = (epoch + i / len(batches)) / schedule.max_epochs
        adam.lr = schedule.learning_rate * _core.cosine_decay(done)
        norm = adam.step(parameters, gradients, schedule.max_grad_norm)
        model.changed()
        tally.add_norm(norm)
    mean = tally.mean_loss()
    for array in parameters:  # the last step may have diverged
        finite(float(backend.numpy(backend.xp.abs(array).max())), "size of the parameters", epoch)
    return mean


def _loss(model: Model, loss: Loss, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Compute the loss of outputs that are on the host."""
    backend = model.backend
    value, _ = loss(backend.array(outputs), backend.array(targets))
    return float(backend.numpy(value))
