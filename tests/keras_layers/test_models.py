"""`rgru.keras.convert` and files of models, on the backend of KERAS_BACKEND; test_on_jax.py runs this on JAX too."""

import os
import subprocess
import sys

import numpy as np
import pytest

import rgru

pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")
rgru_keras = pytest.importorskip("rgru.keras")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

X = np.random.default_rng(0).normal(size=(4, 9, 5)).astype("float32")


def tagger():
    """A functional model: a nested model, a wrapper, a layer that is used twice."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    encoder = keras.Sequential([keras.Input((None, 5)), layers.Bidirectional(layers.GRU(6, return_sequences=True))])
    inputs = keras.Input((None, 5))
    twice = layers.GRU(12, return_sequences=True)
    model = keras.Model(inputs, layers.Dense(2)(layers.GRU(4, reset_after=False)(twice(twice(encoder(inputs))))))
    model.compile("sgd", "mse")
    return model


def grus(model):
    """The classes of all GRUs, wrapped and nested ones too."""
    return [type(one) for one in model._flatten_layers() if isinstance(one, keras.layers.GRU)]


def test_all_grus_of_a_model_are_converted_and_back():
    model = tagger()
    expected = model.predict(X, verbose=0)
    converted = rgru_keras.convert(model)
    count = len(grus(model))
    assert count >= 4
    assert grus(model) == [keras.layers.GRU] * count
    assert grus(converted) == [rgru_keras.GRU] * count
    assert np.abs(converted.predict(X, verbose=0) - expected).max() < 2e-6
    reverted = rgru_keras.revert(converted)
    assert grus(reverted) == [keras.layers.GRU] * count
    assert np.array_equal(reverted.predict(X, verbose=0), expected)


def test_a_converted_model_is_compiled_and_learns_alike():
    y = np.ones((4, 2), "float32")
    model = tagger()
    converted = rgru_keras.convert(model)
    losses = [np.ravel([one.train_on_batch(X, y) for _ in range(3)]) for one in (model, converted)]
    assert np.abs(losses[0] - losses[1]).max() < 1e-5
    for one, other in zip(model.get_weights(), converted.get_weights(), strict=True):
        assert np.abs(one - other).max() < 1e-5


def test_other_layers_are_copied_as_they_are():
    class Own(keras.layers.GRU):
        pass

    cells = keras.layers.RNN(keras.layers.GRUCell(3), return_sequences=True)
    model = keras.Sequential([keras.Input((None, 5)), Own(4, return_sequences=True), cells, keras.layers.GRU(2)])
    converted = rgru_keras.convert(model)
    assert [type(layer) for layer in converted.layers] == [Own, keras.layers.RNN, rgru_keras.GRU]


def test_what_cannot_be_converted_is_refused_by_name():
    class Subclassed(keras.Model):
        pass

    for model in (Subclassed(), keras.layers.GRU(3)):
        with pytest.raises(TypeError, match="model: expected a Sequential or functional"):
            rgru_keras.convert(model)
    model = keras.Sequential([keras.Input((None, 5)), keras.layers.GRU(4, recurrent_dropout=0.1, name="coder")])
    with pytest.raises(ValueError, match="coder: expected recurrent_dropout=0"):
        rgru_keras.convert(model)


def test_a_layer_within_a_subclassed_model_of_any_batch():
    """Keras finds the shapes of such a model by a call with tensors that have no numbers."""

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.gru = rgru_keras.GRU(4, return_sequences=True)

        def call(self, x):
            return self.gru(x)

    model = Own()
    assert model(keras.Input((9, 5))).shape == (None, 9, 4)
    assert model(X).shape == (4, 9, 4)


def test_a_saved_model_loads_with_the_same_bits(tmp_path):
    model = rgru_keras.convert(tagger())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert grus(loaded) == grus(model)
    assert np.array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_weights_are_those_of_keras(tmp_path):
    """In both directions; and a reverted model loads where rgru is not imported."""
    model = tagger()
    converted = rgru_keras.convert(model)
    converted.set_weights([2 * one for one in converted.get_weights()])
    converted.save_weights(tmp_path / "w.weights.h5")
    model.load_weights(tmp_path / "w.weights.h5")
    for one, other in zip(model.get_weights(), converted.get_weights(), strict=True):
        assert np.array_equal(one, other)
    rgru_keras.revert(converted).save(tmp_path / "reverted.keras")
    code = "import keras, sys; keras.models.load_model(sys.argv[1]); assert 'rgru' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, tmp_path / "reverted.keras"], check=True, env=os.environ)


def test_from_keras_reads_the_layer_and_its_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, 5)), rgru_keras.GRU(7, return_sequences=True)])
    expected = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        assert np.abs(rgru.from_keras(source)(X)[0] - expected).max() < 1e-6
