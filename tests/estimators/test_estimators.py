"""GRUClassifier and GRURegressor: learning, every type of X and y, reproducibility, interruption."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from estimator_cases import EITHER, QUICK, fitted, labels, outputs, padded, sequences, sums
from rgru import GRUClassifier, GRURegressor, Ragged, _core

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


# -- early stopping ------------------------------------------------------------------------------------------------


@EITHER
def test_by_default_all_sequences_are_trained_on(kind):
    estimator = fitted(kind, max_epochs=40, patience=1)
    assert estimator.n_iter_ == 40
    assert estimator.history_.validation_loss == []


@EITHER
def test_early_stopping_keeps_the_epoch_with_the_lowest_validation_loss(kind):
    estimator = fitted(kind, early_stopping=True, max_epochs=200, patience=3, learning_rate=0.1)
    history = estimator.history_
    assert history.best_epoch == int(np.argmin(history.validation_loss)) == estimator.n_iter_ - 4 < 196


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_few_labels_can_be_learnt_with_any_seed(early_stopping):
    for y in ([0, 1] * 5, [0, 1, 2, 3, 4] * 2):
        for seed in range(20):
            classifier = GRUClassifier(hidden_size=2, max_epochs=1, early_stopping=early_stopping, random_state=seed)
            assert len(classifier.fit(np.zeros((10, 1, 1)), y).history_.validation_loss) == early_stopping


# -- types of X ----------------------------------------------------------------------------------------------------


@EITHER
def test_every_type_of_ragged_x_has_the_same_predictions(kind):
    X = sequences()
    estimator = fitted(kind)
    expected = outputs(estimator, X)
    column = pa.array([one.tolist() for one in X], pa.list_(pa.list_(pa.float32(), 3)))
    objects = np.empty(len(X), object)
    objects[:] = X
    for same in (tuple(X), Ragged.from_list(X), column, pa.chunked_array([column[:7], column[7:]]), objects):
        assert_array_equal(outputs(estimator, same), expected)


@EITHER
def test_every_type_of_padded_x_has_the_same_predictions(kind):
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


def test_sequences_without_steps_are_predicted_from_the_bias():
    classifier, regressor = fitted(GRUClassifier), fitted(GRURegressor)
    nothing = [np.zeros((0, 3))]
    bias = classifier._head.bias
    np.testing.assert_allclose(classifier.predict_proba(nothing)[0], np.exp(bias) / np.exp(bias).sum(), rtol=1e-6)
    expected = regressor._head.bias * regressor.target_scaler_.scale + regressor.target_scaler_.mean
    np.testing.assert_allclose(regressor.predict(nothing), expected, rtol=1e-6)
    every = GRURegressor(**QUICK, pooling="every").fit(padded(), padded()[..., 0])
    assert [len(one) for one in every.predict([*nothing, np.ones((2, 3))])] == [0, 2]


@EITHER
def test_sequences_without_steps_may_be_trained_on(kind):
    X = [*sequences(), np.zeros((0, 3))]
    y = np.arange(len(X)) % 2
    assert len(outputs(kind(**QUICK).fit(X, y), X)) == len(X)


@EITHER
def test_an_empty_x_has_no_predictions(kind):
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
def test_fit_starts_from_new_weights(kind):
    estimator = fitted(kind)
    expected = outputs(estimator, sequences())
    X = sequences()
    estimator.fit(X, labels(X) if kind is GRUClassifier else sums(X))
    assert_array_equal(outputs(estimator, X), expected)


# -- interruption --------------------------------------------------------------------------------------------------


@EITHER
def test_ctrl_c_keeps_the_completed_epochs(kind, monkeypatch):
    from rgru.model import _model as model

    calls = []
    original = model.Model._loss_and_gradients

    def interrupting(self, *arguments):
        calls.append(1)
        if len(calls) == limit:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(model.Model, "_loss_and_gradients", interrupting)
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
