"""Keras itself, where it is installed: layers, models and their files in both directions, and equal outputs."""

import os

import numpy as np
import pytest

import rgru

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own
]

X = np.random.default_rng(0).normal(size=(3, 6, 5)).astype(np.float32)


@pytest.fixture
def keras(monkeypatch):
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        pytest.importorskip("torch")
    return pytest.importorskip("keras")


def outputs(keras, layer):
    return keras.ops.convert_to_numpy(layer(X))


def fill(model):
    random = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights([random.normal(scale=0.4, size=array.shape) for array in layer.get_weights()])


def assert_close(found, expected, tolerance=2e-6):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
def test_a_layer(keras, reset_after, bidirectional):
    layer = keras.layers.GRU(7, reset_after=reset_after, return_sequences=True, recurrent_activation="hard_sigmoid")
    layer = keras.layers.Bidirectional(layer) if bidirectional else layer
    expected = outputs(keras, layer)
    gru = rgru.from_keras(layer)
    assert (gru.reset_after, gru.bidirectional) == (reset_after, bidirectional)
    assert_close(gru(X)[0], expected)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "merge": "mean"}, {"reverse": True}], ids=str)
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("suffix", [None, "keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_to_keras_and_back(keras, tmp_path, suffix, reset_after, options):
    """The same bits, also by way of a file; and Keras computes the same."""
    layers = 1 if options.get("reverse") else 3
    gru = rgru.GRU(5, 7, layers, reset_after=reset_after, dropout=0.25 * (layers > 1), seed=0, **options)
    random = np.random.default_rng(2)
    gru.params.update({name: random.normal(scale=0.4, size=a.shape).astype("f4") for name, a in gru.params.items()})
    model = rgru.convert.keras.to_keras(gru)
    y = outputs(keras, model)
    assert_close(gru(X)[0], y[:, ::-1] if gru.reverse else y)
    if suffix:
        model.save(tmp_path / f"model.{suffix}")
    back = rgru.from_keras(tmp_path / f"model.{suffix}" if suffix else model)
    assert repr(back) == repr(gru)
    assert np.array_equal(back.params.flat, gru.params.flat)


def test_float64(keras):
    gru = rgru.GRU(5, 7, reset_after=True, dtype="float64", seed=0)
    model = rgru.convert.keras.to_keras(gru)
    assert np.array_equal(rgru.from_keras(model).params.flat, gru.params.flat)
    x = X.astype("float64")
    y = keras.ops.convert_to_numpy(model(x))
    assert y.dtype == np.float64
    assert_close(gru(x)[0], y, 1e-14)


def test_half_precision_becomes_float32(keras):
    layer = keras.layers.GRU(7, dtype="float16", recurrent_initializer="zeros")  # the usual one has no float16
    layer.build(X.shape)
    gru = rgru.from_keras(layer)
    assert gru.dtype == np.float32
    h = np.asarray(layer.get_weights()[0])[:, -7:].astype(np.float32)
    assert np.array_equal(gru.params["layers.0.fwd.W"][-7:], h.T)


def test_models(keras):
    """Functional models, models within models, and which layer is meant."""
    layers = keras.layers
    inputs = keras.Input((None, 5))
    inner = keras.Sequential(
        [keras.Input((None, 5)), layers.GRU(7, return_sequences=True, name="inside")], name="inner"
    )
    hidden = layers.Dropout(0.5)(inner(inputs))
    first = layers.GRU(7, return_sequences=True, name="first")(hidden)
    second = layers.GRU(7, return_sequences=True, name="second")(first)
    model = keras.Model(inputs, layers.Dense(2)(second))
    fill(model)
    with pytest.raises(ValueError, match=r"^expected layers in a row .*; layer= converts a GRU by itself"):
        rgru.from_keras(model)  # a model within a model
    y = X
    for name in ("inside", "first", "second"):
        y = rgru.from_keras(model, name)(y)[0]
    assert_close(y, outputs(keras, keras.Model(inputs, second)))

    stack = keras.Model(inputs, layers.GRU(7)(layers.GRU(7, return_sequences=True)(inputs)))
    fill(stack)
    assert_close(rgru.from_keras(stack)(X)[1][-1], outputs(keras, stack))
    left, right = (layers.GRU(7, return_sequences=True)(inputs) for _ in range(2))
    with pytest.raises(ValueError, match="expected layers in a row"):
        rgru.from_keras(keras.Model(inputs, left + right))
    stated = layers.GRU(7)(left, initial_state=right[:, -1])
    with pytest.raises(ValueError, match=r"no stack|expected layers in a row"):
        rgru.from_keras(keras.Model(inputs, stated))


def test_sources_of_other_kinds(keras):
    with pytest.raises(
        TypeError, match=r"^source: expected keras\.layers\.GRU or Bidirectional, or a model, got .*LSTM"
    ):
        rgru.from_keras(keras.layers.LSTM(7))
    with pytest.raises(ValueError, match=r"^layer: expected None with a layer as source, got 'gru'"):
        rgru.from_keras(keras.layers.GRU(7), "gru")

    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match=r"^source: expected a Sequential or functional model, got Own"):
        rgru.from_keras(Own())
    with pytest.raises(ValueError, match=r"^gru: expected clip=None"):
        rgru.convert.keras.to_keras(rgru.GRU(5, 7, clip=1.0))
