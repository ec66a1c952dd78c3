"""The estimators within scikit-learn: parameters, clones, tags, cross-validation, searches; and without it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_checks

from estimator_cases import EITHER, QUICK, fitted, labels, padded, sequences, sums
from rgru import GRUClassifier, GRURegressor


@EITHER
def test_clone_and_parameters(kind):
    estimator = kind(hidden_size=5, dropout=0.1)
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert twin.set_params(hidden_size=9) is twin
    assert (twin.hidden_size, estimator.hidden_size) == (9, 5)
    assert repr(estimator) == f"{kind.__name__}(hidden_size=5, dropout=0.1)"
    assert not hasattr(clone(fitted(kind)), "model_")
    with pytest.raises(
        ValueError, match=rf"^{kind.__name__} has no parameter 'depth': expected one of hidden_size, num"
    ):
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


@EITHER
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_of_scikit_learn(kind, check):
    """Those without data, which is two-dimensional in all others."""
    check(kind.__name__, kind())


def test_metadata_routing():
    X = padded()
    with config_context(enable_metadata_routing=True):
        scores = cross_val_score(GRUClassifier(**QUICK), X, labels(X), cv=2, error_score="raise")
    assert scores.shape == (2,)


@EITHER
def test_notebooks_show_the_diagram(kind, monkeypatch):
    estimator = kind(hidden_size=5)
    bundle = estimator._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(estimator)
    assert "Not fitted" in bundle["text/html"]
    assert "<span>Fitted" in fitted(kind)._repr_mimebundle_()["text/html"]
    with config_context(display="text"):
        assert estimator._repr_mimebundle_() == {"text/plain": repr(estimator)}
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert estimator._repr_mimebundle_() == {"text/plain": repr(estimator)}


@EITHER
def test_estimators_do_not_import_scikit_learn(kind):
    code = f"""
import pickle, sys, numpy, rgru
X = numpy.zeros((4, 3, 2))
estimator = rgru.{kind.__name__}(max_epochs=1, hidden_size=2).fit(X, [0, 1, 0, 1])
pickle.loads(pickle.dumps(estimator)).set_params(hidden_size=3).predict(X)
assert "sklearn" not in sys.modules and "sklearn.base" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
