"""The model of GRU, pooling and head: outputs, and gradients against central differences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import rgru
from rgru import GRU, Ragged, _core
from rgru._backends import CPU
from rgru._backends.cuda.array_ops import Operations
from rgru.model import Activation, Dropout, LayerNorm, Linear, Model, Pool

POOLINGS = ("last", "mean", "max", "every")
LENGTHS = [4, 0, 1, 7]
STEP = 1e-5


def make_model(pooling, *, output_size=3, dtype="float64", **options):
    gru = GRU(2, 5, seed=1, dtype=dtype, **options)
    pooled = [] if pooling == "every" else [Pool(pooling)]
    return Model([gru, *pooled, Linear(gru.output_size, output_size, dtype=dtype, seed=2)])


def make_batch(dtype="float64", lengths=LENGTHS):
    rng = np.random.default_rng(3)
    return Ragged(rng.normal(size=(sum(lengths), 2)).astype(dtype), np.cumsum([0, *lengths]))


def rows_of(pooling, x):
    return len(x.values) if pooling == "every" else len(x)


def central_differences(model, x, targets, loss):
    gradients = []
    for array in model._parameters():
        gradient = np.empty(array.size)
        for i in range(array.size):
            kept = array.flat[i]
            values = []
            for value in (kept + STEP, kept - STEP):
                array.flat[i] = value
                model._changed()
                values.append(loss(model._predict(x), targets)[0])
            array.flat[i] = kept
            gradient[i] = (values[0] - values[1]) / (2 * STEP)
        gradients.append(gradient.reshape(array.shape))
    model._changed()
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
    for array in model._parameters():
        np.add(array, 0.1 * rng.normal(size=array.shape), out=array)
    model._changed()
    rows = rows_of(pooling, x)
    targets = rng.integers(0, 3, rows) if loss == "cross_entropy" else rng.normal(size=(rows, 3))
    function = getattr(_core, loss)
    value, gradients = model._loss_and_gradients(x, targets, function)
    assert value == pytest.approx(function(model._predict(x), targets)[0], rel=1e-12)
    for gradient, expected in zip(gradients, central_differences(model, x, targets, function), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_outputs_are_the_head_of_the_outputs_of_the_gru(pooling, bidirectional):
    model, x = make_model(pooling, bidirectional=bidirectional, num_layers=2), make_batch()
    gru, *_, head = model.layers
    y, h_n = gru(x)
    features = {
        "every": y.values,
        "last": np.hstack([h_n[2], h_n[3]] if bidirectional else [h_n[1]]),
        "mean": np.stack([one.mean(axis=0) if len(one) else np.zeros(one.shape[1]) for one in y]),
        "max": np.stack([one.max(axis=0) if len(one) else np.zeros(one.shape[1]) for one in y]),
    }[pooling]
    np.testing.assert_allclose(model._predict(x), features @ head.weight.T + head.bias, rtol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_the_output_of_a_sequence_without_steps_is_the_bias(pooling):
    model = make_model(pooling, bidirectional=True)
    model.layers[-1].bias[:] = [1.0, 2.0, 3.0]
    assert model._predict(make_batch()).tolist()[1] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_splitting_large_batches_does_not_change_the_outputs(pooling, dtype, monkeypatch):
    model, x = make_model(pooling, dtype=dtype), make_batch(dtype, lengths=[3, 0, 0, 50, 1, 2, 9, 0])
    whole = model._predict(x)
    for numbers in (1, 5, 20, 60, 300):
        monkeypatch.setattr("rgru.model._model._NUMBERS_PER_PIECE", numbers)
        assert len(list(model._pieces(x))) > 1
        np.testing.assert_array_equal(model._predict(x), whole)


def test_an_empty_batch():
    model = make_model("last")
    assert model._predict(make_batch(lengths=[])).shape == (0, 3)
    assert make_model("every")._predict(make_batch(lengths=[0, 0])).shape == (0, 3)


def test_dropout_acts_in_training_only_and_keeps_the_scale():
    model = Model([GRU(2, 400, seed=1), Pool("last"), Dropout(0.75), Linear(400, 1, seed=0)])
    x = make_batch("float32")
    np.testing.assert_array_equal(model._predict(x), model._predict(x))
    ones, rng = np.ones((50, 400), np.float32), np.random.default_rng(0)
    hidden, _ = Dropout(0.75)._record_rows(CPU, ones, [], rng)
    assert set(np.unique(hidden)) == {0.0, 4.0}
    assert hidden.mean() == pytest.approx(1.0, abs=0.05)
    losses = {model._loss_and_gradients(x, np.ones((4, 1), np.float32), _core.mean_squared_error)[0] for _ in range(5)}
    assert len(losses) == 5


LAYERS = {
    "before": lambda dtype: [Linear(2, 4, dtype=dtype, seed=0), Activation("tanh"), GRU(4, 5, dtype=dtype, seed=1)],
    "norms": lambda dtype: [
        LayerNorm(2, dtype=dtype),
        GRU(2, 5, dtype=dtype, seed=1),
        LayerNorm(5, epsilon=0.1, dtype=dtype),
        Pool("mean"),
        LayerNorm(5, dtype=dtype),
    ],
    "two GRUs": lambda dtype: [
        GRU(2, 5, bidirectional=True, merge="product", dtype=dtype, seed=1),
        LayerNorm(5, dtype=dtype),
        GRU(5, 3, reset_after=True, dtype=dtype, seed=2),
        Pool("last"),
        Linear(3, 4, bias=False, dtype=dtype, seed=3),
        Activation("silu"),
        Activation(("clip", None, 0.9)),
        Linear(4, 2, dtype=dtype, seed=4),
        Activation("softmax"),
    ],
    "steps between": lambda dtype: [
        GRU(2, 4, dtype=dtype, seed=1),
        Linear(4, 3, dtype=dtype, seed=2),
        Activation(("leaky_relu", 0.25)),
        GRU(3, 4, dtype=dtype, seed=3),
        Pool("max"),
    ],
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_through_any_layers(name):
    model, x = Model(LAYERS[name]("float64")), make_batch(lengths=[4, 1, 7])
    rng = np.random.default_rng(4)
    for array in model._parameters():
        np.add(array, 0.1 * rng.normal(size=array.shape), out=array)
    model._changed()
    targets = rng.normal(size=model._predict(x).shape)
    value, gradients = model._loss_and_gradients(x, targets, _core.mean_squared_error)
    assert value == pytest.approx(_core.mean_squared_error(model._predict(x), targets)[0], rel=1e-12)
    expected = central_differences(model, x, targets, _core.mean_squared_error)
    assert len(gradients) == len(expected)
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_do_not_depend_on_the_batch(name, dtype, tmp_path):
    model = Model(LAYERS[name](dtype))
    rng = np.random.default_rng(5)
    lengths = np.array([3, 7, 0, 1])
    padded = rng.normal(size=(4, 7, 2)).astype(dtype)
    whole = model(padded, lengths=lengths)
    for i, length in enumerate(lengths):
        alone = model(padded[i : i + 1, :length])
        np.testing.assert_array_equal(whole[i : i + 1, :length] if model.every else whole[i : i + 1], alone)
    ragged = model(Ragged.from_padded(padded, lengths))
    np.testing.assert_array_equal(ragged.to_padded(7)[0] if model.every else ragged, whole)
    model.save(tmp_path / "model.safetensors")
    again = rgru.load(tmp_path / "model.safetensors")
    assert repr(again) == repr(model)
    np.testing.assert_array_equal(again(padded, lengths=lengths), whole)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(padded, lengths=lengths), whole)


ACTIVATIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "softsign": lambda x: x / (1 + np.abs(x)),
    ("elu", 0.5): lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)),
    ("hard_sigmoid", 0.2, 0.5): lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    ("leaky_relu", 0.1): lambda x: np.where(x > 0, x, 0.1 * x),
    ("clip", -0.5, 2.0): lambda x: np.minimum(np.maximum(x, -0.5), 2.0),
    ("clip", 0.25, None): lambda x: np.maximum(x, 0.25),
    ("clip", None, 1.0): lambda x: np.minimum(x, 1.0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),
}


@pytest.mark.parametrize("operations", [CPU, Operations(np)], ids=["cpu", "gpu's"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activations(activation, operations):
    layer, x = Activation(activation), np.random.default_rng(0).normal(size=(6, 5)) * 3
    np.testing.assert_allclose(layer._apply(operations, x, []), ACTIVATIONS[activation](x), rtol=1e-13, atol=1e-15)
    dy = np.random.default_rng(1).normal(size=x.shape)
    _, saved = layer._record_rows(operations, x, [], None)
    dx, _ = layer._backward_rows(operations, saved, dy, [])
    for i in np.ndindex(*x.shape):
        moved = np.zeros_like(x)
        moved[i] = STEP
        up, down = (layer._apply(operations, x + sign * moved, []) for sign in (1, -1))
        assert dx[i] == pytest.approx(((up - down) * dy).sum() / (2 * STEP), rel=1e-6, abs=1e-8)


def test_operations_of_a_gpu_agree_with_those_of_the_cpu():
    x, ours = np.random.default_rng(0).normal(size=(12, 5)), Operations(np)
    offsets = np.array([0, 4, 4, 12])
    np.testing.assert_array_equal(ours.max_over_time(x, offsets), CPU.max_over_time(x, offsets))
    np.testing.assert_allclose(ours.mean_over_time(x, offsets), CPU.mean_over_time(x, offsets), rtol=1e-13)
    (y, scales), (normal, roots) = ours.normalise(x, 1e-3), CPU.normalise(x, 1e-3)
    np.testing.assert_allclose(y, normal, rtol=1e-12)
    np.testing.assert_allclose(scales, roots, rtol=1e-13)
    np.testing.assert_allclose(
        ours.normalise_backward(x + 1, y, scales), CPU.normalise_backward(x + 1, normal, roots), rtol=1e-9, atol=1e-12
    )


def test_the_seed_determines_the_weights():
    first, again, other = (Linear(3, 2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.weight, again.weight)
    assert not np.array_equal(first.weight, other.weight)
    assert np.abs(first.weight).max() <= 3**-0.5
    assert not np.array_equal(Linear(3, 2).weight, Linear(3, 2).weight)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: 3, "layers: expected a list of layers, got int"),
        (list, r"layers: expected at least one GRU, got \[\]"),
        (lambda: [Linear(2, 3)], r"layers: expected at least one GRU, got \[Linear\(2, 3\)\]"),
        (lambda: [GRU(2, 3), "tanh"], r"layers\[1\]: expected one of GRU, Linear.*got str"),
        (lambda: [GRU(2, 3), Linear(4, 1)], r"layers\[1\]: expected Linear\(4, 1\) to follow 4 features, got 3"),
        (lambda: [GRU(2, 3), Linear(3, 1, dtype="float64")], r"layers\[1\]: expected float32 .* got float64"),
        (lambda: [GRU(2, 3), Pool("mean"), GRU(3, 3)], r"layers\[2\]: expected a layer for single rows after Pool"),
        (lambda: [GRU(2, 3), Pool("mean"), Pool("last")], r"layers\[2\]: expected a layer for single rows"),
        (lambda: [GRU(2, 3), LayerNorm(3), Pool("last")], r"layers\[2\]: expected a GRU right before Pool\('last'\)"),
        (lambda: [Pool("mean"), GRU(2, 3)], r"layers\[1\]: expected a layer for single rows after Pool"),
        (
            lambda: [Linear(2, 1), GRU(1, 3, vocabulary=4, embedding_size=2)],
            r"layers\[1\]: expected a GRU that reads ids as the first layer",
        ),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        Model(layers())


def test_bad_arguments_are_named():
    model = Model([GRU(2, 3), Linear(3, 1)])
    for call, message in (
        (lambda: Pool("sum"), r"kind: expected one of 'last', 'mean', 'max', got 'sum'"),
        (lambda: Linear(3, 0), "output_size: expected an integer from 1"),
        (lambda: Dropout(1.0), "rate: expected a number from 0 to below 1, got 1.0"),
        (lambda: LayerNorm(3, epsilon=0), "epsilon: expected a number above 0, got 0"),
        (lambda: Activation("gelu"), "activation: expected one of .*'softmax', 'silu'.*got 'gelu'"),
        (lambda: Activation(("clip", 1, 0)), r"activation: expected one or two finite limits of clip.*got \(1, 0\)"),
        (
            lambda: Activation(("clip", None, None)),
            r"activation: expected one or two finite limits of clip.*got \(None, None\)",
        ),
        (lambda: Activation(("clip", 0, float("inf"))), "activation: expected one or two finite limits of clip"),
        (lambda: Activation(("leaky_relu", -1)), "activation: expected a slope from 0, got -1"),
        (lambda: setattr(model.layers[1], "weight", [[1.0]]), r"weight: expected shape \(1, 3\), got \(1, 1\)"),
        (lambda: model(np.zeros((2, 5, 4), np.float32)), r"x: expected 2 features \(input_size\), got 4"),
        (lambda: model(np.zeros((2, 5, 2), np.float32), lengths=[1, 6]), "lengths"),
        (lambda: model(make_batch("float32"), lengths=[1]), "lengths: expected None with a Ragged"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            call()
