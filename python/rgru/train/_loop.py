"""The training loop: Adam, early stopping, history."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from rgru import _core
from rgru.train._batches import Data, batches_by_length
from rgru.train._history import History
from rgru.train._loss_accumulator import LossAccumulator, finite
from rgru.train._progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from rgru._backends.base import Optimizer
    from rgru.model._model import Loss, Model
    from rgru.train._schedule import Schedule


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
        One of the losses of the model's backend, for `Model._loss_and_gradients`.
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
    adam = model._backend.Adam(schedule.learning_rate, 0.9, 0.999, 1e-8)
    best_loss = math.inf
    best_weights: list[Any] | None = None
    reports = Progress(schedule.max_epochs) if progress else None
    with model._on_device():
        try:
            for epoch in range(schedule.max_epochs):
                started = time.perf_counter()
                watched = train_loss = _run_epoch(model, adam, data, loss=loss, schedule=schedule, rng=rng, epoch=epoch)
                rate = len(data.x) / (time.perf_counter() - started)
                if validation is not None and score is not None:
                    outputs = model._predict(validation.x)
                    watched = finite(_loss(model, loss, outputs, validation.rows), "validation loss", epoch)
                    history.validation_score.append(score(outputs, validation.rows))
                    history.validation_loss.append(watched)
                history.train_loss.append(train_loss)
                history.sequences_per_second.append(rate)
                if watched < best_loss:
                    best_loss, history.best_epoch = watched, epoch
                    if validation is not None:
                        best_weights = [array.copy() for array in model._parameters()]
                if reports is not None:
                    reports.report(history)
                if schedule.patience is not None and epoch - history.best_epoch >= schedule.patience:
                    break
        finally:
            if reports is not None:
                reports.close()
            if best_weights is not None:
                for array, best in zip(model._parameters(), best_weights, strict=True):
                    array[...] = best
    return history


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
    backend = model._backend
    tally = LossAccumulator(backend, epoch)
    parameters = model._parameters()
    batches = batches_by_length(data.x.lengths, schedule.batch_size, rng)
    for i, indices in enumerate(batches):
        batch = data.take(indices)
        rows = batch.rows
        if not len(rows):  # each step has a target, and all sequences of the batch are empty
            continue
        value, gradients = model._loss_and_gradients(batch.x, rows, loss)
        tally.add_loss(value, len(rows))
        done = (epoch + i / len(batches)) / schedule.max_epochs
        adam.lr = schedule.learning_rate * _core.cosine_decay(done)
        norm = adam.step(parameters, gradients, schedule.max_grad_norm)
        model._changed()
        tally.add_norm(norm)
    mean = tally.mean_loss()
    for array in parameters:  # the last step may have diverged
        finite(float(backend.numpy(backend.xp.abs(array).max())), "size of the parameters", epoch)
    return mean


def _loss(model: Model, loss: Loss, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Compute the loss of outputs that are on the host."""
    backend = model._backend
    value, _ = loss(backend.array(outputs), backend.array(targets))
    return float(backend.numpy(value))
