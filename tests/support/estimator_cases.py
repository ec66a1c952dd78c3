"""Helpers of the estimators' tests: sequences, targets, quickly fitted estimators."""

from __future__ import annotations

import numpy as np
import pytest

from rgru import GRUClassifier, GRURegressor

QUICK = {"hidden_size": 6, "max_epochs": 3, "random_state": 0}
EITHER = pytest.mark.parametrize("kind", [GRUClassifier, GRURegressor])


def sequences(count=40, seed=0, dtype=np.float32):
    """Make sequences of 1 to 8 steps and 3 features."""
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
