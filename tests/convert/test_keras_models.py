"""Whole models of Keras: their outputs, live and from files, and what is refused by name."""

from __future__ import annotations

import os

import numpy as np
import pytest

import rgru
from rgru.convert.keras import to_keras
from rgru.model import Activation, Linear

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),  # of Keras over PyTorch
]
layers = keras.layers
V, F, H = 20, 3, 8


def filled(model):
    rng = np.random.default_rng(0)
    for one in model.variables:
        values = rng.normal(scale=0.5, size=one.shape)
        if "seed" not in one.path:
            one.assign(abs(values) if "variance" in one.path else values)
    return model


def sequential(*others, ids=False):
    return filled(keras.Sequential([keras.Input((None,) if ids else (None, F)), *others]))


MODELS = {
    "classifier of words": lambda: sequential(
        layers.Embedding(V, 6),
        layers.LayerNormalization(),
        layers.Bidirectional(layers.GRU(H, return_sequences=True), merge_mode="sum"),
        layers.Dropout(0.2),
        layers.GRU(5, reset_after=False),
        layers.Dense(4, activation="softmax"),
        ids=True,
    ),
    "tagger": lambda: sequential(
        layers.Dense(6, activation="tanh"),
        layers.GRU(H, return_sequences=True, recurrent_activation="hard_sigmoid"),
        layers.Dense(2, use_bias=False),
        layers.LeakyReLU(negative_slope=0.25),
        layers.ReLU(max_value=0.5),
    ),
    "means": lambda: sequential(
        layers.GRU(H, return_sequences=True), layers.GlobalAveragePooling1D(), layers.ReLU(), layers.Dense(2)
    ),
    "largest": lambda: sequential(
        layers.GRU(H, return_sequences=True), layers.GlobalMaxPooling1D(), layers.Dense(3, "silu"), layers.Softmax()
    ),
    "normalised": lambda: sequential(
        layers.Normalization(mean=[0.5, 1.0, -2.0], variance=[0.5, 2.0, 1.0]),
        layers.TimeDistributed(layers.Dense(6, activation="tanh")),
        layers.BatchNormalization(),
        layers.SpatialDropout1D(0.2),
        layers.GRU(H, return_sequences=True),
        layers.TimeDistributed(layers.LayerNormalization()),
        layers.GRU(H),
        layers.BatchNormalization(scale=False),
        layers.GaussianNoise(0.1),
        layers.Dense(2),
    ),
    "adapted": lambda: adapted(),  # noqa: PLW0108 - it follows
    "functional": lambda: functional(),  # noqa: PLW0108 - it follows
    "backwards": lambda: sequential(layers.GRU(H, go_backwards=True), layers.Activation("elu")),
}


def adapted():
    scaler = layers.Normalization()
    scaler.adapt(np.random.default_rng(3).normal(2.0, 3.0, (40, 5, F)).astype(np.float32))
    return keras.Sequential([keras.Input((None, F)), scaler, layers.GRU(H), layers.Dense(2)])


def functional():
    inputs = keras.Input((None, F))
    x = layers.GRU(H, return_sequences=True)(inputs)
    x = layers.Bidirectional(layers.GRU(4))(x)
    return filled(keras.Model(inputs, layers.Dense(2, activation="sigmoid")(x)))


@pytest.mark.parametrize("suffix", ["", "keras", "h5"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_outputs(name, suffix, tmp_path):
    model = MODELS[name]()
    if suffix:
        model.save(tmp_path / f"model.{suffix}")
    found = rgru.from_keras(tmp_path / f"model.{suffix}" if suffix else model)
    rng = np.random.default_rng(1)
    x = rng.integers(0, V, (4, 9)) if name == "classifier of words" else rng.normal(size=(4, 9, F)).astype(np.float32)
    np.testing.assert_allclose(found(x), keras.ops.convert_to_numpy(model(x)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("suffix", ["", "keras"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name, suffix, tmp_path):
    """`to_keras` makes a model with the same outputs, and from it or its file comes the same model again."""
    ours = rgru.from_keras(MODELS[name]())
    model = to_keras(ours)
    rng = np.random.default_rng(1)
    x = rng.integers(0, V, (4, 9)) if name == "classifier of words" else rng.normal(size=(4, 9, F)).astype(np.float32)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), ours(x), rtol=0, atol=2e-6)
    if suffix:
        model.save(tmp_path / f"model.{suffix}")
    back = rgru.from_keras(tmp_path / f"model.{suffix}" if suffix else model)
    assert list(map(repr, back.layers)) == list(map(repr, ours.layers))
    np.testing.assert_array_equal(back(x), ours(x))


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([rgru.GRU(F, H, reverse=True), Linear(H, 2)], r"layers\[0\]\.reverse: expected False, got True"),
        ([rgru.GRU(F, H, clip=1.0)], r"gru: expected clip=None, since a Keras model has no such option"),
        ([rgru.GRU(F, H, vocabulary=5, embedding_size=2)], r"gru\.input_size: expected 1, got 3"),
        (
            [rgru.GRU(F, H), Activation(("hard_sigmoid", 0.3, 0.5))],
            r"layers\[1\]\.activation: parameters",
        ),
    ],
)
def test_what_keras_lacks_is_named(others, words):
    with pytest.raises(ValueError, match=words):
        to_keras(rgru.Model(others))


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([layers.Conv1D(4, 1), layers.GRU(H)], "got Conv1D at"),
        ([layers.GRU(H), layers.Dense(2, activation="gelu")], "the activation 'gelu' at"),
        ([layers.GRU(H, stateful=False, go_backwards=True, return_sequences=True), layers.Dense(2)], "go_backwards"),
        ([layers.GRU(H, return_sequences=True), layers.Softmax(axis=1)], r"\['axis'\]"),
        ([layers.Masking(), layers.GRU(H)], "got Masking at"),
        ([layers.LSTM(H), layers.Dense(2)], "got LSTM at"),
        ([layers.Dense(2)], "at least one GRU"),
    ],
)
def test_what_does_not_fit_is_named(others, words):
    with pytest.raises(ValueError, match=words):
        rgru.from_keras(sequential(*others))


def test_batch_normalisation_over_time_is_refused():
    model = keras.Sequential([keras.Input((F, F)), layers.GRU(H), layers.BatchNormalization(axis=1)])
    assert len(rgru.from_keras(model).layers) == 3  # the axis of features after pooling
    model = keras.Sequential([keras.Input((F, F)), layers.BatchNormalization(axis=1), layers.GRU(H)])
    with pytest.raises(ValueError, match=r"\['axis'\]: expected -1, got 1"):
        rgru.from_keras(model)


def test_a_scaler_in_float64():
    options = {"dtype": "float64"}
    scaler = layers.Normalization(mean=[0.5, 1.0, -2.0], variance=[0.5, 2.0, 0.1], **options)
    inputs = keras.Input((None, F), **options)
    model = keras.Sequential([inputs, scaler, layers.GRU(H, **options), layers.Dense(2, **options)])
    x = np.random.default_rng(0).normal(size=(2, 5, F))
    np.testing.assert_allclose(rgru.from_keras(model)(x), keras.ops.convert_to_numpy(model(x)), rtol=0, atol=1e-6)


def test_masks_of_ids_are_refused():
    with pytest.raises(ValueError, match=r"got Embedding with mask_zero at .*; layer= .*, and ignore_masks=True"):
        rgru.from_keras(sequential(layers.Embedding(V, 6, mask_zero=True), layers.GRU(H), ids=True))


@pytest.mark.parametrize("front", [False, True], ids=["padded at the end", "padded at the front"])
@pytest.mark.parametrize(
    "others",
    [
        lambda: [layers.GRU(H), layers.Dense(2, activation="softmax")],
        lambda: [layers.Bidirectional(layers.GRU(H, return_sequences=True)), layers.GRU(H, reset_after=False)],
        lambda: [layers.GRU(H, return_sequences=True), layers.LayerNormalization(), layers.GlobalAveragePooling1D()],
    ],
    ids=["classifier", "stack", "mean"],
)
def test_masked_steps_are_left_out_by_the_caller(others, front):
    """The outputs are those of Keras, which skips them."""
    model = sequential(layers.Embedding(V, 6, mask_zero=True), *others(), ids=True)
    ids, lengths = np.random.default_rng(1).integers(1, V, (5, 9)), np.array([9, 1, 4, 8, 2])
    there = np.arange(9) < lengths[:, None]
    there = there[:, ::-1] if front else there
    ids[~there] = 0
    found = rgru.from_keras(model, ignore_masks=True)
    ragged = rgru.Ragged(ids[there][:, None].astype(np.float32), np.cumsum([0, *lengths]))
    expected = keras.ops.convert_to_numpy(model(ids))
    np.testing.assert_allclose(found(ragged), expected, rtol=0, atol=2e-6)
    if not front:
        np.testing.assert_allclose(found(ids, lengths=lengths), expected, rtol=0, atol=2e-6)


def test_masks_of_numbers():
    model = sequential(layers.Masking(mask_value=-1.0), layers.GRU(H, return_sequences=True), layers.GRU(4))
    x, lengths = np.random.default_rng(1).normal(size=(3, 7, F)).astype(np.float32), np.array([7, 2, 5])
    x[np.arange(7) >= lengths[:, None]] = -1.0
    found = rgru.from_keras(model, ignore_masks=True)(x, lengths=lengths)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(x)), rtol=0, atol=2e-6)


@pytest.mark.filterwarnings("ignore:Layer 'global_max_pooling1d")  # of a mask that is lost
@pytest.mark.parametrize("layer", [layers.GlobalMaxPooling1D, layers.Softmax])
def test_layers_that_see_masked_steps_are_refused(layer):
    model = sequential(layers.Masking(), layers.GRU(H, return_sequences=True), layer())
    with pytest.raises(ValueError, match=f"got {layer.__name__} of masked steps at"):
        rgru.from_keras(model, ignore_masks=True)


def test_several_outputs_are_refused():
    inputs = keras.Input((None, F))
    first = layers.GRU(H)(inputs)
    with pytest.raises(ValueError, match=r"got the outputs \["):
        rgru.from_keras(filled(keras.Model(inputs, [first, layers.Dense(2)(first)])))


def test_branches_are_refused():
    inputs = keras.Input((None, F))
    left, right = (layers.GRU(H)(inputs) for _ in range(2))
    with pytest.raises(ValueError, match=r"expected layers in a row"):
        rgru.from_keras(filled(keras.Model(inputs, layers.Dense(2)(left + right))))
