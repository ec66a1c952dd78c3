"""The training loop: batches, validation, early stopping, failures, and a task that needs memory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rgru import GRU, Ragged, _core
from rgru.model import Dropout, Linear, Model, Pool
from rgru.train._batches import Data, batches_by_length, split_validation
from rgru.train._history import History
from rgru.train._loop import train
from rgru.train._schedule import Schedule

Adam = _core.Adam  # tests replace it


def make_model(seed=0, *, dropout=0.0, hidden_size=8, input_size=2):
    head = Linear(hidden_size, 1, seed=seed)
    return Model([GRU(input_size, hidden_size, seed=seed), Pool("last"), Dropout(dropout), head], seed=seed)


def make_data(count=60, seed=0):
    """Make sequences of 0 to 9 steps, with the mean of the first feature as target."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 10, count)
    x = Ragged(rng.normal(size=(lengths.sum(), 2)).astype(np.float32), np.cumsum([0, *lengths]))
    return Data(x, np.array([[one[:, 0].mean() if len(one) else 0.0] for one in x], np.float32))


def schedule(**changes):
    usual = {"learning_rate": 0.01, "batch_size": 8, "max_epochs": 4, "patience": None, "max_grad_norm": 1.0}
    return Schedule(**{**usual, **changes})


def run(model, data, rng=0, **options):
    changes = {name: options.pop(name) for name in list(options) if name in Schedule.__dataclass_fields__}
    options.setdefault("score", lambda outputs, targets: -float(np.mean((outputs - targets) ** 2)))
    return train(model, data, _core.mean_squared_error, schedule(**changes), np.random.default_rng(rng), **options)


def weights(model):
    return np.concatenate([array.ravel().copy() for array in model._parameters()])


def validation_loss(model, data):
    return _core.mean_squared_error(model._predict(data.x), data.rows)[0]


# -- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "batch_size"), [(1, 4), (4, 4), (100, 7), (1000, 16)])
def test_batches_hold_each_sequence_once(count, batch_size):
    lengths = np.random.default_rng(0).integers(0, 50, count)
    batches = batches_by_length(lengths, batch_size, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)


def test_batches_have_similar_lengths_and_a_random_order():
    lengths = np.random.default_rng(0).integers(1, 1000, 2048)
    batches = batches_by_length(lengths, 16, np.random.default_rng(1))
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 0.25 * np.ptp(lengths)
    firsts = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(firsts, np.arange(len(firsts)))[0, 1]) < 0.3


def test_batches_differ_from_epoch_to_epoch():
    rng = np.random.default_rng(0)
    first, second = (batches_by_length(np.arange(64), 8, rng) for _ in range(2))
    assert any(set(batch) not in [set(other) for other in second] for batch in first)


# -- validation split ----------------------------------------------------------------------------------------------


def test_split_is_stratified():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    kept, held = split_validation(160, 0.2, np.random.default_rng(0), labels)
    assert sorted([*kept, *held]) == list(range(160))
    assert np.bincount(labels[held]).tolist() == [20, 10, 2]


def test_split_leaves_each_class_something_to_train_on():
    labels = np.array([0] * 20 + [1, 2, 2])
    for seed in range(20):
        kept, held = split_validation(23, 0.9, np.random.default_rng(seed), labels)
        assert set(labels[kept]) == {0, 1, 2}
        assert len(held) > 0


def test_split_without_labels():
    kept, held = split_validation(10, 0.25, np.random.default_rng(0))
    assert (len(kept), len(held)) == (7, 3)


@pytest.mark.parametrize("labels", [None, [0, 1] * 5, [0, 1, 2, 3, 4] * 2, [0, 1, 2, 2]], ids=str)
def test_split_never_leaves_a_part_empty(labels):
    count = 3 if labels is None else len(labels)
    codes = None if labels is None else np.array(labels)
    for seed in range(50):
        kept, held = split_validation(count, 0.1, np.random.default_rng(seed), codes)
        assert len(held) >= 1
        assert labels is None or set(codes[kept]) == set(labels)


@pytest.mark.parametrize(
    ("count", "labels", "message"),
    [(1, None, "two sequences to .* got 1"), (3, np.arange(3), "two sequences of a class to .* got one of each")],
)
def test_split_refuses_too_few_sequences(count, labels, message):
    with pytest.raises(ValueError, match=rf"^early_stopping: expected at least {message}$"):
        split_validation(count, 0.9, np.random.default_rng(0), labels)


# -- training ------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_keeps_a_history():
    model, data = make_model(), make_data()
    history = run(model, data, max_epochs=12, validation=make_data(20, seed=1))
    for name in ("train_loss", "validation_loss", "validation_score", "sequences_per_second"):
        assert len(getattr(history, name)) == 12, name
    assert history.train_loss[-1] < 0.5 * history.train_loss[0]
    assert history.validation_score == pytest.approx([-loss for loss in history.validation_loss], rel=1e-5)
    assert min(history.sequences_per_second) > 0


def test_the_seeds_determine_every_bit():
    def trained(seed, threads):
        _core.set_num_threads(threads)
        model = make_model(seed, dropout=0.3)
        run(model, make_data(), rng=seed)
        return weights(model)

    try:
        first = trained(0, 1)
        np.testing.assert_array_equal(trained(0, 1), first)
        np.testing.assert_array_equal(trained(0, 2), first)
        assert not np.array_equal(trained(1, 1), first)
    finally:
        _core.set_num_threads(None)


def test_early_stopping_restores_the_best_weights():
    rng = np.random.default_rng(0)
    data, validation = make_data(16), make_data(16, seed=1)
    noise = Data(validation.x, rng.normal(size=validation.rows.shape).astype(np.float32))
    model = make_model(hidden_size=32)
    history = run(model, data, validation=noise, max_epochs=200, patience=5, learning_rate=0.05)
    epochs = len(history.train_loss)
    assert epochs < 200
    assert history.best_epoch == int(np.argmin(history.validation_loss)) == epochs - 6
    assert validation_loss(model, noise) == pytest.approx(min(history.validation_loss), rel=1e-6)


def test_without_validation_the_training_loss_is_monitored_and_the_last_weights_stay():
    model = make_model()
    history = run(model, make_data(), learning_rate=1e-12, max_epochs=50, patience=3)
    assert len(history.train_loss) < 50
    assert history.best_epoch == len(history.train_loss) - 4
    assert history.validation_loss == []


def test_the_learning_rate_falls_to_zero_along_a_cosine(monkeypatch):
    rates = []

    class Recorder:
        lr = 0.0

        def __init__(self, *settings):
            self.adam = Adam(*settings)

        def step(self, *arguments):
            rates.append(self.lr)
            self.adam.lr = self.lr
            return self.adam.step(*arguments)

    monkeypatch.setattr("rgru._backends.CPU.Adam", Recorder)
    run(make_model(), make_data(32), max_epochs=5, learning_rate=0.2)
    expected = [0.1 * (1 + math.cos(math.pi * i / 20)) for i in range(20)]
    assert rates == pytest.approx(expected)


def test_clipping_bounds_the_step():
    """With all gradients scaled to almost zero, Adam's epsilon dominates."""
    free, clipped, start = make_model(), make_model(), weights(make_model())
    run(free, make_data(), max_grad_norm=None, max_epochs=1)
    run(clipped, make_data(), max_grad_norm=1e-12, max_epochs=1)
    assert np.abs(weights(free) - start).max() > 1e-2
    assert np.abs(weights(clipped) - start).max() < 1e-4


def test_targets_for_every_step():
    data = make_data()
    steps = Data(data.x, Ragged(np.cumsum(data.x.values[:, :1], axis=0) * 0.01, data.x.offsets))
    model = Model([GRU(2, 8, seed=0), Linear(8, 1, seed=0)])
    # One sequence per batch: those without a step must be skipped.
    history = run(model, steps, batch_size=1, max_epochs=3)
    assert 0 in data.x.lengths
    assert history.train_loss[-1] < history.train_loss[0]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_an_error(poison):
    data = make_data()
    rows = data.rows.copy()
    rows[5] = poison
    with pytest.raises(
        FloatingPointError, match=r"finite loss, got (nan|inf) in epoch 1; likely causes: learning_rate"
    ):
        run(make_model(), Data(data.x, rows))


def test_divergence_of_the_validation_is_an_error():
    validation = make_data(8)
    rows = np.full_like(validation.rows, np.nan)
    with pytest.raises(FloatingPointError, match=r"finite validation loss, got nan in epoch 1"):
        run(make_model(), make_data(), validation=Data(validation.x, rows))


def test_ctrl_c_leaves_the_best_weights():
    model, validation, history, seen = make_model(), make_data(20, seed=1), History(), []

    def interrupting(outputs, targets):
        seen.append(validation_loss(model, validation))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        run(model, make_data(), validation=validation, score=interrupting, history=history, max_epochs=50)
    assert history.validation_loss == pytest.approx(seen[:3])
    assert validation_loss(model, validation) == pytest.approx(min(seen[:3]))


def test_ctrl_c_in_a_step_leaves_weights_and_outputs_in_agreement(monkeypatch):
    class Interrupting:
        lr = 0.0

        def __init__(self, *settings):
            self.adam = Adam(*settings)

        def step(self, *arguments):
            self.adam.lr = 0.1
            self.adam.step(*arguments)
            raise KeyboardInterrupt

    monkeypatch.setattr("rgru._backends.CPU.Adam", Interrupting)
    model, data = make_model(), make_data()
    before = model._predict(data.x)
    with pytest.raises(KeyboardInterrupt):
        run(model, data)
    after = model._predict(data.x)
    assert not np.array_equal(after, before)
    model._changed()
    np.testing.assert_array_equal(model._predict(data.x), after)


@pytest.mark.slow
def test_the_adding_problem():
    """Hochreiter & Schmidhuber 1997: add the two marked numbers of a hundred; the mean has a loss of 0.167."""
    steps, batch_size, batches = 100, 64, 1000

    def adding(count, rng):
        x = np.zeros((count, steps, 2), np.float32)
        x[:, :, 0] = rng.random((count, steps))
        for half in (0, 1):
            x[np.arange(count), rng.integers(0, steps // 2, count) + half * steps // 2, 1] = 1.0
        sums = (x[:, :, 0] * x[:, :, 1]).sum(axis=1, keepdims=True)
        return Data(Ragged(x.reshape(-1, 2), np.arange(count + 1) * steps), sums)

    rng = np.random.default_rng(0)
    model = make_model(hidden_size=64)
    run(model, adding(batches * batch_size, rng), batch_size=batch_size, max_epochs=1, learning_rate=0.01)
    assert validation_loss(model, adding(2000, rng)) <= 0.01
