"""GRUClassifier and GRURegressor: scikit-learn's manner, every kind of X and y, files, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline

import rgru
from rgru import GRUClassifier, GRURegressor, Ragged, _core
from rgru.io import read_config, save

QUICK = {"hidden_size": 6, "max_epochs": 3, "random_state": 0}
EITHER = pytest.mark.parametrize("kind", [GRUClassifier, GRURegressor])


def sequences(count=40, seed=0, dtype=np.float32):
    """Of 1 to 8 steps and 3 features."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, 3)).astype(dtype) for length in rng.integers(1, 9, count)]


def labels(X):
    return np.array([int(one[:, 0].mean() > 0) for one in X])


def sums(X):
    return np.array([one.sum() for one in X])


def padded(count=30, steps=5):
    return np.random.default_rng(0).normal(size=(count, steps, 3))


def fitted(kind, **options):
    X = sequences()
    return kind(**{**QUICK, **options}).fit(X, labels(X) if kind is GRUClassifier else sums(X))


def outputs(estimator, X):
    return estimator.predict_proba(X) if isinstance(estimator, GRUClassifier) else estimator.predict(X)


# -- learning ------------------------------------------------------------------------------------------------------


def test_the_classifier_learns():
    X = sequences(300)
    classifier = GRUClassifier(hidden_size=16, random_state=0).fit(X, labels(X))
    fresh = sequences(200, seed=1)
    assert classifier.score(fresh, labels(fresh)) > 0.9
    assert classifier.score(fresh, labels(fresh)) == np.mean(classifier.predict(fresh) == labels(fresh))
    proba = classifier.predict_proba(fresh)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert_array_equal(classifier.classes_[proba.argmax(axis=1)], classifier.predict(fresh))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_regressor_learns_in_any_unit(scale):
    X = sequences(300)
    regressor = GRURegressor(hidden_size=16, random_state=0).fit(X, scale * sums(X) + 3 * scale)
    fresh = sequences(200, seed=1)
    assert regressor.score(fresh, scale * sums(fresh) + 3 * scale) > 0.8


@pytest.mark.parametrize("pooling", ["last", "mean", "every"])
@pytest.mark.parametrize("columns", [None, 1, 2])
@pytest.mark.parametrize("ragged", [False, True])
def test_predictions_have_the_shape_of_the_targets(pooling, columns, ragged):
    X = padded()
    y = X[..., 0] if columns is None else X[..., :columns]
    y = y if pooling == "every" else y.sum(axis=1)
    if ragged:
        X, y = list(X), list(y)
    regressor = GRURegressor(**QUICK, pooling=pooling).fit(X, y)
    predicted = regressor.predict(X)
    assert isinstance(predicted, list) == (ragged and pooling == "every")
    assert np.shape(predicted) == np.shape(y)
    assert np.isfinite(regressor.score(X, y))


def test_targets_for_every_step_of_ragged_sequences():
    X = sequences()
    running = [np.cumsum(one[:, 0]) for one in X]
    regressor = GRURegressor(hidden_size=16, pooling="every", max_epochs=60, learning_rate=0.01, random_state=0)
    assert regressor.fit(X, running).score(X, running) > 0.8
    assert [len(one) for one in regressor.predict(X)] == [len(one) for one in X]
    same = GRURegressor(**regressor.get_params()).fit(X, pa.array([one.tolist() for one in running]))
    assert_array_equal(np.concatenate(same.predict(X)), np.concatenate(regressor.predict(X)))
    rows = Ragged.from_list([one[:, None] for one in running])
    same = GRURegressor(**regressor.get_params()).fit(X, rows)
    assert_array_equal(np.concatenate(same.predict(X))[:, 0], np.concatenate(regressor.predict(X)))


@pytest.mark.parametrize("names", [["b", "a"], [True, False], [7, -3], [2.0, 1.0], [np.int8(1), np.int8(2)]], ids=str)
def test_labels_of_any_type(names):
    X = sequences()
    y = np.array(names)[labels(X)]
    classifier = GRUClassifier(**QUICK).fit(X, y)
    assert_array_equal(classifier.classes_, sorted(names))
    assert classifier.predict(X).dtype == y.dtype
    assert_array_equal(GRUClassifier(**QUICK).fit(X, list(y)).predict(X), classifier.predict(X))


def test_labels_as_objects():
    X = sequences()
    y = np.array(["yes", "no"], object)[labels(X)]
    assert set(GRUClassifier(**QUICK).fit(X, y).predict(X)) <= {"yes", "no"}


# -- kinds of X ----------------------------------------------------------------------------------------------------


@EITHER
def test_every_kind_of_ragged_x_gives_the_same(kind):
    X = sequences()
    estimator = fitted(kind)
    expected = outputs(estimator, X)
    column = pa.array([one.tolist() for one in X], pa.list_(pa.list_(pa.float32(), 3)))
    objects = np.empty(len(X), object)
    objects[:] = X
    for same in (tuple(X), Ragged.from_list(X), column, pa.chunked_array([column[:7], column[7:]]), objects):
        assert_array_equal(outputs(estimator, same), expected)


@EITHER
def test_every_kind_of_padded_x_gives_the_same(kind):
    X = np.round(4 * padded())
    estimator = fitted(kind)
    expected = outputs(estimator, X.astype(np.float32))
    for dtype in ("f8", "f2", "i1", "i8", ">f4"):
        assert_array_equal(outputs(estimator, X.astype(dtype)), expected)
    assert_array_equal(outputs(estimator, np.asfortranarray(X)), expected)
    assert_array_equal(outputs(estimator, X.tolist()), expected)
    assert_array_equal(outputs(estimator, list(X)), expected)
    assert_array_equal(outputs(estimator, X[::-1])[::-1], expected)


@EITHER
@pytest.mark.parametrize("standardize", [True, False])
def test_predictions_do_not_depend_on_the_batch(kind, standardize):
    X = [*sequences(50, seed=2), *sequences(10, seed=3, dtype=np.float64)]
    estimator = fitted(kind, pooling="mean", num_layers=2, bidirectional=True, standardize=standardize)
    whole = outputs(estimator, X)
    assert_array_equal(np.concatenate([outputs(estimator, [one]) for one in X]), whole)
    assert_array_equal(outputs(estimator, X[::-1])[::-1], whole)
    _core.set_num_threads(1)
    try:
        assert_array_equal(outputs(estimator, X), whole)
    finally:
        _core.set_num_threads(None)


@EITHER
def test_inputs_are_not_changed(kind):
    X = padded()
    before = X.copy()
    y = labels(X) if kind is GRUClassifier else sums(X)
    outputs(kind(**QUICK).fit(X, y), X)
    assert_array_equal(X, before)


def test_sequences_without_steps_give_what_the_bias_gives():
    classifier, regressor = fitted(GRUClassifier), fitted(GRURegressor)
    nothing = [np.zeros((0, 3))]
    bias = classifier.model_.head_bias
    np.testing.assert_allclose(classifier.predict_proba(nothing)[0], np.exp(bias) / np.exp(bias).sum(), rtol=1e-6)
    expected = regressor.model_.head_bias * regressor.target_scaler_.scale + regressor.target_scaler_.mean
    np.testing.assert_allclose(regressor.predict(nothing), expected, rtol=1e-6)
    every = GRURegressor(**QUICK, pooling="every").fit(padded(), padded()[..., 0])
    assert [len(one) for one in every.predict([*nothing, np.ones((2, 3))])] == [0, 2]


@EITHER
def test_sequences_without_steps_may_be_trained_on(kind):
    X = [*sequences(), np.zeros((0, 3))]
    y = np.arange(len(X)) % 2
    assert len(outputs(kind(**QUICK).fit(X, y), X)) == len(X)


@EITHER
def test_no_sequences_give_no_predictions(kind):
    estimator = fitted(kind)
    for nothing in ([], np.zeros((0, 5, 3)), Ragged(np.zeros((0, 3)), [0])):
        assert len(outputs(estimator, nothing)) == 0


# -- standardisation -----------------------------------------------------------------------------------------------


def test_features_are_standardised():
    X = [one * [1.0, 1e-3, 1e3] + [0.0, 5.0, -1e6] for one in sequences(dtype=np.float64)]
    classifier = GRUClassifier(**QUICK).fit(X, labels(X))
    values = np.concatenate(X)
    np.testing.assert_allclose(classifier.scaler_.mean, values.mean(axis=0))
    np.testing.assert_allclose(classifier.scaler_.scale, values.std(axis=0))
    plain = GRUClassifier(**QUICK).fit(sequences(dtype=np.float64), labels(X))
    np.testing.assert_allclose(
        classifier.predict_proba(X), plain.predict_proba(sequences(dtype=np.float64)), rtol=1e-3, atol=1e-4
    )


def test_constant_features_and_targets_are_left_alone():
    X = padded()
    X[..., 1] = 1e7 / 3
    classifier = GRUClassifier(**QUICK).fit(X, labels(X))
    assert classifier.scaler_.scale[1] == 1.0
    assert np.isfinite(classifier.predict_proba(X)).all()
    regressor = GRURegressor(**QUICK).fit(X, np.full(len(X), 7.0))
    np.testing.assert_allclose(regressor.predict(X), 7.0, atol=2)


def test_standardisation_can_be_left_out():
    classifier = fitted(GRUClassifier, standardize=False)
    assert classifier.scaler_ is None
    X = [one.astype(np.float64) * 1e39 for one in sequences()]
    with pytest.raises(ValueError, match=r"^X in float32: expected finite numbers, got -?inf in sequence 0, step 0"):
        classifier.predict(X)


# -- reproducibility -----------------------------------------------------------------------------------------------


@EITHER
def test_random_state(kind):
    options = {"dropout": 0.2, "num_layers": 2}
    first = outputs(fitted(kind, **options), sequences())
    assert_array_equal(outputs(fitted(kind, **options), sequences()), first)
    assert not np.array_equal(outputs(fitted(kind, **options, random_state=1), sequences()), first)
    for source in (np.random.default_rng, np.random.RandomState):
        again = [outputs(fitted(kind, random_state=source(5)), sequences()) for _ in range(2)]
        assert_array_equal(*again)
    assert not np.array_equal(*(outputs(fitted(kind, random_state=None), sequences()) for _ in range(2)))


@EITHER
def test_fit_starts_anew(kind):
    estimator = fitted(kind)
    expected = outputs(estimator, sequences())
    X = sequences()
    estimator.fit(X, labels(X) if kind is GRUClassifier else sums(X))
    assert_array_equal(outputs(estimator, X), expected)


# -- scikit-learn --------------------------------------------------------------------------------------------------


@EITHER
def test_clone_and_parameters(kind):
    estimator = kind(hidden_size=5, dropout=0.1)
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert twin.set_params(hidden_size=9) is twin
    assert (twin.hidden_size, estimator.hidden_size) == (9, 5)
    assert repr(estimator) == f"{kind.__name__}(hidden_size=5, dropout=0.1)"
    assert not hasattr(clone(fitted(kind)), "model_")
    with pytest.raises(ValueError, match=r"^depth: expected one of hidden_size, num_layers"):
        estimator.set_params(depth=3)


def test_tags():
    assert is_classifier(GRUClassifier())
    assert is_regressor(GRURegressor())
    assert GRURegressor().__sklearn_tags__().target_tags.multi_output
    assert GRUClassifier().__sklearn_tags__().input_tags.three_d_array


@EITHER
@pytest.mark.parametrize("ragged", [False, True])
def test_cross_validation(kind, ragged):
    X = sequences() if ragged else padded()
    y = labels(X) if kind is GRUClassifier else sums(X)
    folds = StratifiedKFold(3) if kind is GRUClassifier else KFold(3)
    scores = cross_val_score(kind(**QUICK), X, y, cv=folds, error_score="raise")
    assert scores.shape == (3,)
    train, test = next(folds.split(np.zeros(len(X)), y))
    estimator = kind(**QUICK).fit([X[i] for i in train], y[train])
    assert scores[0] == estimator.score([X[i] for i in test], y[test])
    assert len(cross_val_predict(kind(**QUICK), X, y, cv=3)) == len(X)


def test_cross_validation_stratifies_classifiers_by_itself():
    X = sequences()
    y = np.sort(labels(X))
    assert np.isfinite(cross_val_score(GRUClassifier(**QUICK), X, y, cv=3, error_score="raise")).all()


@EITHER
def test_grid_search_in_a_pipeline(kind):
    X = padded()
    y = labels(X) if kind is GRUClassifier else sums(X)
    pipeline = Pipeline([("gru", kind(**QUICK))])
    search = GridSearchCV(pipeline, {"gru__hidden_size": [2, 4], "gru__pooling": ["last", "mean"]}, cv=2)
    search.fit(X, y)
    assert search.best_params_["gru__hidden_size"] in (2, 4)
    assert search.predict(X).shape == (30,)
    assert "hidden_size" in repr(search.best_estimator_)


@EITHER
def test_not_fitted(kind, tmp_path, monkeypatch):
    for call in (
        lambda: kind().predict(padded()),
        lambda: kind().score(padded(), [0] * 30),
        lambda: kind().save(tmp_path),
    ):
        with pytest.raises(NotFittedError, match=rf"this {kind.__name__} is not fitted yet: call fit"):
            call()
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    with pytest.raises(ValueError, match=r"call fit first"):
        kind().predict(padded())


# -- copies and files ----------------------------------------------------------------------------------------------


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
            "validation_fraction": 0.0,
            "patience": None,
            "max_grad_norm": None,
        },
        {"hidden_size": np.int64(5), "dtype": np.float64, "random_state": np.random.default_rng(0)},
    ],
    ids=str,
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


def test_classes_that_no_file_can_hold(tmp_path):
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


# -- interruption --------------------------------------------------------------------------------------------------


@EITHER
def test_ctrl_c_keeps_what_was_learnt(kind, monkeypatch):
    from rgru import model

    calls = []
    original = model.Model.loss_and_gradients

    def interrupting(self, *arguments):
        calls.append(1)
        if len(calls) == limit:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(model.Model, "loss_and_gradients", interrupting)
    X = sequences()
    y = labels(X) if kind is GRUClassifier else sums(X)
    estimator = kind(**{**QUICK, "batch_size": 10, "max_epochs": 50})
    limit = 3
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert not hasattr(estimator, "model_")
    limit = len(calls) + 15
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert 1 <= estimator.n_iter_ < 10
    assert np.isfinite(estimator.score(X, y))


def test_a_fit_that_fails_leaves_the_old_one():
    classifier = fitted(GRUClassifier)
    expected = classifier.predict_proba(sequences())
    with pytest.raises(ValueError, match=r"^y: "):
        classifier.fit(sequences(), np.zeros(40))
    with pytest.raises(FloatingPointError, match=r"likely causes: learning_rate"):
        classifier.set_params(learning_rate=1e300, max_grad_norm=None).fit(sequences(), labels(sequences()))
    assert_array_equal(classifier.predict_proba(sequences()), expected)


# -- bad input -----------------------------------------------------------------------------------------------------


def poisoned(value):
    X = sequences()
    X[7][0, 1] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((40, 3)), ValueError, r"X: expected 3 dimensions \(N, T, I\), got shape \(40, 3\)"),
        ([np.zeros(3)] * 40, ValueError, r"X\[0\]: expected 2 dimensions \(T, I\), got shape \(3,\)"),
        (
            [np.zeros((2, 3)), np.zeros((2, 4))],
            ValueError,
            r"X\[1\]: expected 3 features as X\[0\], got shape \(2, 4\)",
        ),
        (np.full((40, 2, 3), "a"), TypeError, "X: expected floating-point numbers, got str"),
        (np.zeros((40, 2, 3), complex), TypeError, "X: expected floating-point numbers, got complex128"),
        (5, TypeError, "X: expected an array .*, got int"),
        (None, TypeError, "X: expected an array .*, got NoneType"),
        ([], ValueError, "X: expected at least one sequence with at least one step"),
        (np.zeros((40, 0, 3)), ValueError, "X: expected at least one sequence with at least one step"),
        (poisoned(np.nan), ValueError, r"X: expected finite numbers, got nan in sequence 7, step 0, feature 1"),
        (poisoned(-np.inf), ValueError, r"X: expected finite numbers, got -inf in sequence 7, step 0, feature 1"),
        (pa.array(["a"] * 40), TypeError, "X: expected a list column of numbers: .*, got string"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@EITHER
def test_bad_x_is_named_by_fit(kind, X, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        kind(**QUICK).fit(X, np.arange(40) % 2)


@EITHER
def test_bad_x_is_named_by_predict(kind):
    estimator = fitted(kind)
    with pytest.raises(ValueError, match=r"^X: expected finite numbers, got nan in sequence 7, step 0, feature 1"):
        estimator.predict(poisoned(np.nan))
    with pytest.raises(ValueError, match=r"^X: expected 3 features as in fit, got 4"):
        estimator.predict(np.zeros((2, 5, 4)))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.arange(39) % 2, ValueError, r"y: expected one label per sequence, shape \(40,\), got shape \(39,\)"),
        (np.zeros((40, 1)), ValueError, r"y: expected one label per sequence, shape \(40,\), got shape \(40, 1\)"),
        (np.ones(40, int), ValueError, r"y: expected at least two classes, got 1: \[1\]"),
        (np.linspace(0, 1, 40), ValueError, "y: expected class labels, got the number 0.0256.*GRURegressor"),
        (np.array([0.0, np.nan] * 20), ValueError, "y: expected class labels, got the number nan"),
        (["a", None] * 20, TypeError, "y: expected labels of one sortable type, none missing"),
        (None, ValueError, r"y: expected one label per sequence, shape \(40,\), got shape \(\)"),
    ],
    ids=str,
)
def test_bad_labels_are_named(y, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        GRUClassifier(**QUICK).fit(sequences(), y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros(39), ValueError, r"y: expected targets of shape \(40,\) or \(40, K\), got shape \(39,\)"),
        (np.zeros((40, 2, 2)), ValueError, r"y: expected targets of shape .*, got shape \(40, 2, 2\)"),
        (np.zeros((40, 0)), ValueError, r"y: expected targets of shape .*, got shape \(40, 0\)"),
        (np.array([0.0] * 39 + [np.nan]), ValueError, "y: expected finite numbers, got nan at sequence 39"),
        (["a"] * 40, TypeError, "y: expected floating-point numbers, got str"),
        (None, TypeError, "y: expected an array of real numbers, got None"),
    ],
    ids=str,
)
def test_bad_targets_are_named(y, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        GRURegressor(**QUICK).fit(sequences(), y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros((29, 5)), ValueError, "y: expected targets for 30 sequences as in X, got 29"),
        (np.zeros((30, 4)), ValueError, "y: expected 5 steps as in X at sequence 0, got 4"),
        (np.zeros(30), ValueError, r"y: expected 3 dimensions \(N, T, I\), got shape \(30,\)"),
        (list(range(30)), ValueError, r"y\[0\]: expected 2 dimensions \(T, I\), got shape \(\)"),
        (np.full((30, 5), np.nan), ValueError, "y: expected finite numbers, got nan in sequence 0, step 0"),
        (5, TypeError, "y: expected an array"),
    ],
    ids=str,
)
def test_bad_targets_for_every_step_are_named(y, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        GRURegressor(**QUICK, pooling="every").fit(padded(), y)


def test_bad_y_is_named_by_score():
    with pytest.raises(ValueError, match=r"^y: expected one label per sequence"):
        fitted(GRUClassifier).score(sequences(), [1])
    with pytest.raises(ValueError, match=r"^y: expected targets of shape"):
        fitted(GRURegressor).score(sequences(), [1])
    with pytest.raises(ValueError, match=r"^y: expected 1 numbers per target as in fit, got 2"):
        fitted(GRURegressor).score(sequences(), np.zeros((40, 2)))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("hidden_size", 0, ValueError),
        ("hidden_size", 2.5, TypeError),
        ("num_layers", -1, ValueError),
        ("bidirectional", "yes", TypeError),
        ("reset_after", 1, TypeError),
        ("dropout", 1.0, ValueError),
        ("dropout", "a", TypeError),
        ("pooling", "max", ValueError),
        ("learning_rate", 0.0, ValueError),
        ("learning_rate", np.nan, ValueError),
        ("learning_rate", "fast", TypeError),
        ("batch_size", 0, ValueError),
        ("max_epochs", 0, ValueError),
        ("validation_fraction", 1.0, ValueError),
        ("validation_fraction", 0.001, ValueError),
        ("patience", 0, ValueError),
        ("max_grad_norm", -1.0, ValueError),
        ("standardize", None, TypeError),
        ("dtype", "float16", ValueError),
        ("dtype", None, TypeError),
        ("random_state", -1, ValueError),
        ("random_state", "a", TypeError),
        ("verbose", 2, TypeError),
    ],
)
@EITHER
def test_bad_parameters_are_named(kind, name, value, error):
    with pytest.raises(error, match=rf"^{name}: expected "):
        fitted(kind, **{name: value})


def test_classifiers_have_no_outputs_for_every_step():
    with pytest.raises(ValueError, match=r"^pooling: expected one of 'last', 'mean', got 'every'"):
        fitted(GRUClassifier, pooling="every")
