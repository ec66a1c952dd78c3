"""The model of GRU, pooling and head: outputs, and gradients against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from rgru import GRU, Ragged, _core
from rgru._backends import CPU
from rgru.train._model import POOLINGS, Model

LENGTHS = [4, 0, 1, 7]
STEP = 1e-5


def make_model(pooling, *, output_size=3, dtype="float64", **options):
    gru = GRU(2, 5, seed=1, dtype=dtype, **options)
    return Model(gru, output_size, pooling=pooling, seed=2)


def make_batch(dtype="float64", lengths=LENGTHS):
    rng = np.random.default_rng(3)
    return Ragged(rng.normal(size=(sum(lengths), 2)).astype(dtype), np.cumsum([0, *lengths]))


def rows_of(pooling, x):
    return len(x.values) if pooling == "every" else len(x)


def central_differences(model, x, targets, loss):
    gradients = []
    for array in model.parameters():
        gradient = np.empty(array.size)
        for i in range(array.size):
            kept = array.flat[i]
            values = []
            for value in (kept + STEP, kept - STEP):
                array.flat[i] = value
                model.changed()
                values.append(loss(model.predict(x), targets)[0])
            array.flat[i] = kept
            gradient[i] = (values[0] - values[1]) / (2 * STEP)
        gradients.append(gradient.reshape(array.shape))
    model.changed()
    return gradients


@pytest.mark.parametrize(
    "options",
    [{}, {"bidirectional": True, "num_layers": 2}, {"reset_after": True}, {"bidirectional": True, "reset_after": True}],
    ids=str,
)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_gradients_agree_with_central_differences(pooling, options, loss):
    model, x = make_model(pooling, **options), make_batch()
    rng = np.random.default_rng(4)
    # The biases are initially zero, where errors in their gradients might not show.
    for array in model.parameters():
        np.add(array, 0.1 * rng.normal(size=array.shape), out=array)
    model.changed()
    rows = rows_of(pooling, x)
    targets = rng.integers(0, 3, rows) if loss == "cross_entropy" else rng.normal(size=(rows, 3))
    function = getattr(_core, loss)
    value, gradients = model.loss_and_gradients(x, targets, function)
    assert value == pytest.approx(function(model.predict(x), targets)[0], rel=1e-12)
    for gradient, expected in zip(gradients, central_differences(model, x, targets, function), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_outputs_are_the_head_of_the_outputs_of_the_gru(pooling, bidirectional):
    model, x = make_model(pooling, bidirectional=bidirectional, num_layers=2), make_batch()
    y, h_n = model.gru(x)
    features = {
        "every": y.values,
        "last": np.hstack([h_n[2], h_n[3]] if bidirectional else [h_n[1]]),
        "mean": np.stack([one.mean(axis=0) if len(one) else np.zeros(one.shape[1]) for one in y]),
    }[pooling]
    np.testing.assert_allclose(model.predict(x), features @ model.head_weight.T + model.head_bias, rtol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_output_of_a_sequence_without_steps_is_the_bias(pooling):
    model = make_model(pooling, bidirectional=True)
    model.head_bias[:] = [1.0, 2.0, 3.0]
    assert model.predict(make_batch()).tolist()[1] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_splitting_large_batches_does_not_change_the_outputs(pooling, dtype, monkeypatch):
    model, x = make_model(pooling, dtype=dtype), make_batch(dtype, lengths=[3, 0, 0, 50, 1, 2, 9, 0])
    whole = model.predict(x)
    for numbers in (1, 5, 20, 60, 300):
        monkeypatch.setattr("rgru.train._model._NUMBERS_PER_PIECE", numbers)
        assert len(list(model._pieces(x))) > 1
        np.testing.assert_array_equal(model.predict(x), whole)


def test_an_empty_batch():
    model = make_model("last")
    assert model.predict(make_batch(lengths=[])).shape == (0, 3)
    assert make_model("every").predict(make_batch(lengths=[0, 0])).shape == (0, 3)


def test_dropout_acts_in_training_only_and_keeps_the_scale():
    gru = GRU(2, 400, seed=1)
    model = Model(gru, 1, pooling="last", dropout=0.75, seed=0)
    x = make_batch("float32")
    np.testing.assert_array_equal(model.predict(x), model.predict(x))
    mask = model._dropout_mask(CPU, np.ones((50, 400), np.float32))
    assert set(np.unique(mask)) == {0.0, 4.0}
    assert mask.mean() == pytest.approx(1.0, abs=0.05)
    losses = {model.loss_and_gradients(x, np.ones((4, 1), np.float32), _core.mean_squared_error)[0] for _ in range(5)}
    assert len(losses) == 5


def test_the_seed_determines_the_head():
    first, again, other = (Model(GRU(2, 3, seed=0), 2, pooling="last", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.head_weight, again.head_weight)
    assert not np.array_equal(first.head_weight, other.head_weight)
    assert np.abs(first.head_weight).max() <= 3**-0.5


def test_bad_arguments_are_named():
    gru = GRU(2, 3)
    with pytest.raises(ValueError, match=r"^pooling: expected one of 'last', 'mean', 'every', got 'max'"):
        Model(gru, 1, pooling="max")
    with pytest.raises(ValueError, match=r"^output_size: expected an integer from 1"):
        Model(gru, 0, pooling="last")
    with pytest.raises(ValueError, match=r"^dropout: expected a number from 0 to below 1, got 1.0"):
        Model(gru, 1, pooling="last", dropout=1.0)
