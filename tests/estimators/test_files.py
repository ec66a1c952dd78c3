"""Copies and files of the estimators: the same predictions, and what files cannot store."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import rgru
from estimator_cases import EITHER, QUICK, fitted, labels, outputs, padded, sequences
from rgru import GRUClassifier, GRURegressor
from rgru._files.model_file import read_config, save


@EITHER
@pytest.mark.parametrize(
    "copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_copies_predict_the_same(kind, copied):
    estimator = fitted(kind)
    twin = copied(estimator)
    assert_array_equal(outputs(twin, sequences()), outputs(estimator, sequences()))
    assert twin.get_params() == estimator.get_params()


@EITHER
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True, "num_layers": 2, "dropout": 0.3, "pooling": "mean", "dtype": "float64"},
        {
            "reset_after": True,
            "standardize": False,
            "early_stopping": True,
            "patience": None,
            "max_grad_norm": None,
        },
        {"hidden_size": np.int64(5), "dtype": np.float64, "random_state": np.random.default_rng(0)},
    ],
    ids=["default", "stacked", "after", "numpy"],
)
def test_saved_estimators_predict_the_same_bits(kind, options, tmp_path):
    estimator = fitted(kind, **options)
    estimator.save(tmp_path / "model.safetensors")
    loaded = rgru.load(tmp_path / "model.safetensors")
    assert type(loaded) is kind
    X = sequences(seed=5)
    assert_array_equal(outputs(loaded, X), outputs(estimator, X))
    assert loaded.predict(X).dtype == estimator.predict(X).dtype
    assert loaded.history_ == estimator.history_
    assert (loaded.n_features_in_, loaded.n_iter_) == (estimator.n_features_in_, estimator.n_iter_)
    assert loaded.hidden_size == estimator.hidden_size
    loaded.save(tmp_path / "again.safetensors")
    assert read_config(tmp_path / "again.safetensors") == read_config(tmp_path / "model.safetensors")


@pytest.mark.parametrize("pooling", ["last", "every"])
@pytest.mark.parametrize("columns", [None, 2])
def test_saved_regressors_keep_the_shape_of_targets(pooling, columns, tmp_path):
    X = padded()
    y = X[..., 0] if columns is None else X[..., :columns]
    regressor = GRURegressor(**QUICK, pooling=pooling).fit(X, y if pooling == "every" else y.sum(axis=1))
    regressor.save(tmp_path / "model")
    assert_array_equal(rgru.load(tmp_path / "model").predict(X), regressor.predict(X))


@pytest.mark.parametrize(
    "names",
    [
        np.array([3, 5], np.int8),
        np.array(["ä", "b"]),
        np.array([True, False]),
        np.array([1.0, 2.0]),
        np.array(["x", "y"], object),
    ],
    ids=lambda names: str(names.dtype),
)
def test_saved_classes(names, tmp_path):
    X = sequences()
    classifier = GRUClassifier(**QUICK).fit(X, names[labels(X)])
    classifier.save(tmp_path / "model")
    loaded = rgru.load(tmp_path / "model")
    assert_array_equal(loaded.classes_, classifier.classes_)
    assert loaded.classes_.dtype == classifier.classes_.dtype


def test_classes_that_files_cannot_store(tmp_path):
    X = sequences()
    days = np.array(["2024-01-01", "2024-01-02"], "datetime64[D]")
    with pytest.raises(TypeError, match=r"^classes: expected numbers or strings to save, got datetime64"):
        GRUClassifier(**QUICK).fit(X, days[labels(X)]).save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_refused(tmp_path):
    regressor = fitted(GRURegressor)
    tensors, config = regressor._tensors(), regressor._config()
    damages = {
        "head.weight": ({**tensors, "head.weight": tensors["head.weight"][:, :2]}, config),
        "input": ({**tensors, "input.mean": np.zeros(2)}, config),
        "target.scale": ({name: t for name, t in tensors.items() if name != "target.scale"}, config),
        "gru": (tensors, {name: value for name, value in config.items() if name != "gru"}),
        "pooling": (tensors, {**config, "pooling": "max"}),
        "color": (tensors, {**config, "parameters": {"color": "red"}}),
    }
    for what, (some_tensors, some_config) in damages.items():
        save(tmp_path / "model", some_tensors, some_config, kind="GRURegressor")
        with pytest.raises(ValueError, match=rf"model: not a whole GRURegressor .*{what}"):
            rgru.load(tmp_path / "model")


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_the_first_files_stopped_early_if_they_had_a_validation_fraction(fraction, tmp_path):
    config = fitted(GRUClassifier, validation_fraction=fraction)._config()
    del config["parameters"]["early_stopping"]
    save(tmp_path / "model", fitted(GRUClassifier)._tensors(), config, kind="GRUClassifier")
    assert rgru.load(tmp_path / "model").early_stopping == (fraction > 0)
