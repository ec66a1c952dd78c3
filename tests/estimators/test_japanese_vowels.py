"""A real task end to end: the settings of `rgru demo`, on a test set unused in tuning."""

from __future__ import annotations

import numpy as np
import pytest

from rgru import GRUClassifier
from rgru._cli.demo import SETTINGS
from rgru.datasets import load_japanese_vowels


@pytest.mark.parametrize("seeds", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_mean_accuracy(seeds):
    X, y = load_japanese_vowels("train")
    X_test, y_test = load_japanese_vowels("test")
    classifiers = [GRUClassifier(**{**SETTINGS, "random_state": seed}).fit(X, y) for seed in range(seeds)]
    accuracies = [classifier.score(X_test, y_test) for classifier in classifiers]
    print(*accuracies)
    assert np.mean(accuracies) >= 0.97, accuracies
