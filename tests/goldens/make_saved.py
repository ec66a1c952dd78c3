"""Models in files, and what rgru computes with them: `python tests/goldens/make_saved.py tests/goldens/saved`.

The tests of the Rust crate load the files and must compute the same bits; `tests/files/test_golden_models.py` checks
that Python still does. Each ``NAME.safetensors`` has a ``NAME.expected.safetensors`` beside it, with the steps ``x``
(S, I), the ``offsets`` (N + 1,) of the sequences in them, and the outputs ``y``.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import rgru
from rgru.model import Activation, Dropout, LayerNorm, Linear, Pool

LENGTHS = [9, 1, 0, 14]


def numbers(*shape, seed):
    """In [-1, 1)."""
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def sequences(features, dtype, *, ids=0, seed=0):
    values = numbers(sum(LENGTHS), features, seed=seed).astype(dtype)
    if ids:
        values[:, 0] = np.arange(len(values)) * 5 % ids
    return rgru.Ragged(values, np.cumsum([0, *LENGTHS]))


def gru(*sizes, **options):
    """A GRU whose parameters are all random: also biases, gains and initial states."""
    layer = rgru.GRU(*sizes, seed=0, **options)
    for i, (name, array) in enumerate(layer.params.items()):
        layer.params[name] = numbers(*array.shape, seed=i).astype(array.dtype)
    return layer


def norm(size, dtype="float32"):
    gain, bias = numbers(2, size, seed=70).astype(dtype)
    return LayerNorm.from_arrays(gain, bias, epsilon=1e-3)


def grus():
    """All options of the cell."""
    yield "gru", gru(3, 9), sequences(3, "float32")
    hard = {"gate_activation": ("hard_sigmoid", 1 / 6, 0.5), "activation": "softsign", "clip": 1.1, "learned_h0": True}
    both = {"bidirectional": True, "reset_after": True, "merge": "mean"}
    yield "gru_hard", gru(3, 9, 2, **both, **hard), sequences(3, "float32")
    elu = {"activation": ("elu", 0.7), "state_clip": 0.9, "zoneout": 0.1, "recurrent_dropout": 0.2}
    yield "gru_elu", gru(3, 7, 2, dtype="float64", reverse=True, bias=False, **elu), sequences(3, "float64")
    yield "gru_norm", gru(3, 7, reset_after=True, layer_norm=("sum", 0.01), dtype="float64"), sequences(3, "float64")
    separate = {"reset_after": True, "layer_norm": "separate", "activation": "relu", "state_clip": 2.0}
    yield "gru_separate", gru(3, 7, **separate), sequences(3, "float32")
    yield "gru_ids", gru(3, 9, 2, vocabulary=7, embedding_size=4), sequences(3, "float32", ids=7)


def models():
    """All layers and poolings."""
    before = [LayerNorm(3), Linear(3, 5, seed=1), Activation("silu")]
    after = [Pool("last"), Dropout(0.2), norm(9), Linear(9, 4, bias=False, seed=2), Activation("softmax")]
    yield "model_last", [*before, gru(5, 9, 2), *after], sequences(3, "float32")
    middle = [Activation(("leaky_relu", 0.3)), gru(7, 8, reset_after=True, dtype="float64")]
    every = [gru(3, 7, dtype="float64"), *middle, norm(8, "float64"), Linear(8, 2, dtype="float64", seed=3)]
    yield "model_every", every, sequences(3, "float64")
    product = gru(4, 6, bidirectional=True, merge="product", vocabulary=5, embedding_size=3)
    yield "model_product", [product, Pool("last"), Activation("tanh")], sequences(4, "float32", ids=5)
    summed = gru(3, 6, 2, bidirectional=True, merge="sum", dtype="float64")
    yield "model_max", [summed, Pool("max"), Activation(("elu", 0.5)), Activation("sigmoid")], sequences(3, "float64")
    clip = Activation(("clip", -0.25, 0.125))
    below = Activation(("clip", None, 0.5))
    yield "model_clip", [gru(3, 6), clip, Linear(6, 2, seed=4), below], sequences(3, "float32")
    yield "model_mean", [gru(3, 6, bidirectional=True), Pool("mean"), Activation("relu")], sequences(3, "float32")


def estimators():
    """Trained for a moment, on data whose features and targets are far from 0."""
    rng = np.random.default_rng(0)
    x = rgru.Ragged(rng.normal(size=(200, 2)) * [3.0, 1e-3] + [50.0, 1.0], np.arange(0, 201, 5))
    last = x.values[4::5, 0]
    options = {"hidden_size": 8, "max_epochs": 2, "random_state": 0}
    labels = np.where(last > 50, "high", "low")
    yield "classifier", rgru.GRUClassifier(num_layers=2, dropout=0.1, **options).fit(x, labels), x
    mean = rgru.GRUClassifier(pooling="mean", bidirectional=True, dtype="float64", standardize=False, **options)
    yield "classifier_mean", mean.fit(x, np.digitize(last, [48, 52])), x
    targets = np.stack([last * 1e6, last], axis=1)
    yield "regressor", rgru.GRURegressor(dtype="float64", **options).fit(x, targets), x
    every = rgru.GRURegressor(pooling="every", early_stopping=True, **options)
    small = rgru.Ragged(x.values.astype(np.float32), x.offsets)
    yield "regressor_every", every.fit(small, rgru.Ragged(small.values[:, :1], x.offsets)), small
    symbols = rgru.Ragged(np.stack([np.arange(200) % 6, x.values[:, 0]], axis=1), x.offsets)
    ids = rgru.GRUClassifier(gru_options={"vocabulary": 6, "embedding_size": 3}, **options)
    yield "classifier_ids", ids.fit(symbols, last > 50), symbols


def predicted(model, x):
    """The outputs of a model of any kind: of its steps, or of its sequences."""
    if isinstance(model, rgru.GRU):
        return model(x)[0].values
    if isinstance(model, rgru.Model):
        y = model(x)
        return y.values if model.every else y
    if isinstance(model, rgru.GRUClassifier):
        return model.predict_proba(x)
    y = model.predict(x)
    return np.concatenate(y) if isinstance(y, list) else y


def cases():
    yield from grus()
    yield from ((name, rgru.Model(layers), x) for name, layers, x in models())
    yield from estimators()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, model, x in cases():
        model.save(folder / f"{name}.safetensors")
        y = np.ascontiguousarray(predicted(model, x))
        save_file({"x": x.values, "offsets": x.offsets, "y": y}, folder / f"{name}.expected.safetensors")
