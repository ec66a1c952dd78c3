"""`rgru.keras.GRU` against `keras.layers.GRU`, on the backend of KERAS_BACKEND; test_on_jax.py runs this on JAX too."""

import os

import numpy as np
import pytest

pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")
rgru_keras = pytest.importorskip("rgru.keras")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

RANDOM = np.random.default_rng(0)
N, T, F, H = 6, 6, 5, 7
X = RANDOM.normal(size=(N, T, F)).astype("float32")
H0 = RANDOM.normal(size=(N, H)).astype("float32")
PADDED = np.arange(T) < np.array([6, 0, 1, 3, 5, 6])[:, None]
MASK = PADDED.copy()  # and with holes, at the start and the end too
MASK[3, 0], MASK[4, :2], MASK[5, [1, 2, 5]] = False, False, False
SETTINGS = {
    "reset-after": {},
    "reset-before": {"reset_after": False},
    "no bias": {"use_bias": False},
    "backwards": {"go_backwards": True},
    "activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
}


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def pair(**settings):
    """A layer of Keras and ours, with the same weights."""
    settings = {"return_sequences": True, "return_state": True, **settings}
    theirs, ours = keras.layers.GRU(H, **settings), rgru_keras.GRU(H, **settings)
    shape = (N, T, F) if settings.get("stateful") else (None, None, F)
    for layer in (theirs, ours):
        layer.build(shape)
        random = np.random.default_rng(1)
        layer.set_weights([random.normal(size=one.shape) / 2 for one in layer.get_weights()])
    return theirs, ours


def assert_alike(ours, theirs, tolerance=2e-6):
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert np.abs(numbers(one) - numbers(other)).max() <= tolerance


@pytest.mark.parametrize("masked", [None, "repeated", "zero"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_outputs(settings, masked):
    theirs, ours = pair(**settings, zero_output_for_mask=masked == "zero")
    arguments = {"mask": None if masked is None else MASK, "initial_state": keras.ops.convert_to_tensor(H0)}
    assert_alike(ours(X, **arguments), theirs(X, **arguments))


def test_the_last_output_alone():
    theirs, ours = pair(return_sequences=False, return_state=False)
    for mask in (None, MASK):
        assert_alike([ours(X, mask=mask)], [theirs(X, mask=mask)])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_training(settings):
    """Through inputs, states and all weights: layers below, a head, three steps of SGD."""
    trained = []
    for layer in pair(**settings):
        keras.utils.set_random_seed(0)
        inputs, mask = keras.Input((T, F)), keras.Input((T,), dtype="bool")
        start = keras.layers.Dense(H)(inputs[:, 0])
        y, h_n = layer(keras.layers.Dense(F)(inputs), mask=mask, initial_state=start)
        model = keras.Model([inputs, mask], [keras.layers.Dense(2)(y), h_n])
        model.compile(keras.optimizers.SGD(0.5), loss=["mse", "mse"])
        for _ in range(3):
            model.train_on_batch([X, MASK], [np.ones((N, T, 2), "float32"), np.zeros((N, H), "float32")])
        trained.append(model.get_weights())
    assert_alike(*reversed(trained), tolerance=1e-5)


def test_steps_after_padding_are_never_read():
    """NaN there changes nothing."""
    theirs, ours = pair()
    x = np.where(PADDED[:, :, None], X, np.nan)
    assert_alike(ours(x, mask=PADDED), theirs(X, mask=PADDED))


def test_a_mask_of_an_embedding():
    ids = np.array([[3, 1, 2, 0, 0], [4, 4, 0, 0, 0], [1, 2, 3, 4, 5]])
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Embedding(6, F, mask_zero=True), keras.layers.GRU(H, return_sequences=True)]
    theirs = keras.Sequential([keras.Input((None,)), *layers, keras.layers.GRU(H)])
    ours = rgru_keras.convert(theirs)
    assert_alike([ours.predict(ids, verbose=0)], [theirs.predict(ids, verbose=0)])


def test_both_directions_with_a_mask():
    theirs = keras.layers.Bidirectional(keras.layers.GRU(H, return_sequences=True))
    ours = keras.layers.Bidirectional(rgru_keras.GRU(H, return_sequences=True))
    for layer in (theirs, ours):
        layer.build((None, None, F))
    ours.set_weights(theirs.get_weights())
    assert_alike([ours(X, mask=MASK)], [theirs(X, mask=MASK)])


def test_stateful():
    theirs, ours = pair(stateful=True)
    for x in (X, 2 * X):
        assert_alike(ours(x), theirs(x))
    ours.reset_state()
    theirs.reset_state()
    assert_alike(ours(X), theirs(X))


@pytest.mark.skipif(os.environ["KERAS_BACKEND"] == "jax", reason="JAX overwrites no arrays")
def test_stateful_training():
    """The states that a run begins with are overwritten before its backward pass; Keras's own layer fails on PyTorch.

    So the layer of Keras has no states of its own here and is given those of the step before.
    """
    theirs, _ = pair()
    _, ours = pair(stateful=True, return_state=False)
    inputs, start = keras.Input((T, F)), keras.Input((H,))
    with_states = keras.Model([inputs, start], theirs(inputs, initial_state=start))
    with_states.compile(keras.optimizers.SGD(0.5), loss=["mse", None])
    model = keras.Sequential([keras.Input(batch_shape=(N, T, F)), ours])
    model.compile(keras.optimizers.SGD(0.5), loss="mse")
    states, targets = np.zeros((N, H), "float32"), np.ones((N, T, H), "float32")
    for k in range(3):
        _, following = with_states.predict([X + k, states], verbose=0)
        with_states.train_on_batch([X + k, states], [targets, following])
        states = following
        model.train_on_batch(X + k, targets)
    assert_alike(ours.get_weights(), theirs.get_weights(), tolerance=1e-5)
    assert_alike([ours.states[0].value], [keras.ops.convert_to_tensor(states)], tolerance=1e-5)


def test_dropout_is_that_of_keras():
    """The same seed drops the same inputs, in training alone."""
    theirs, ours = pair(dropout=0.5, seed=3)
    assert_alike(ours(X, training=False), theirs(X, training=False))
    expected = theirs(X, training=True)
    assert np.abs(numbers(expected[0]) - numbers(theirs(X)[0])).max() > 0.01
    theirs, ours = pair(dropout=0.5, seed=3)
    assert_alike(ours(X, training=True), theirs(X, training=True))


def test_half_precision():
    """Inputs, weights and outputs are rounded, and nothing between."""
    _, exact = pair()
    _, ours = pair(dtype="mixed_bfloat16")
    y, h_n = ours(X)
    assert str(y.dtype).endswith("bfloat16")
    assert str(h_n.dtype).endswith("bfloat16")
    found = numbers(keras.ops.cast(y, "float32"))
    assert np.abs(found - numbers(exact(X)[0])).max() < 0.03


@pytest.mark.skipif(os.environ["KERAS_BACKEND"] == "jax", reason="JAX has float64 by a setting of the process alone")
def test_float64():
    theirs, ours = pair(dtype="float64")
    assert_alike(ours(X.astype("float64")), theirs(X.astype("float64")), tolerance=1e-13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recurrent_dropout": 0.2}, r"coder: expected recurrent_dropout=0, got 0\.2"),
        ({"dropout": 0.2, "implementation": 1}, r"coder: expected dropout=0 without implementation=2"),
        ({"use_cudnn": True}, "coder: expected use_cudnn='auto' or False, got True"),
        ({"activation": "gelu"}, r"coder\['activation'\]: expected"),
        ({"recurrent_activation": "tanh"}, r"coder\['recurrent_activation'\]: expected"),
    ],
)
def test_settings_that_rgru_lacks_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        rgru_keras.GRU(H, name="coder", **settings)
