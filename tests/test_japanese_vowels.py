"""A real task end to end: the settings of `rgru demo` over five seeds, on a test set unused in tuning."""

from __future__ import annotations

import numpy as np

from rgru import GRUClassifier
from rgru.cli.demo import SETTINGS
from rgru.datasets import load_japanese_vowels


def test_mean_accuracy_of_five_seeds():
    X, y = load_japanese_vowels("train")
    X_test, y_test = load_japanese_vowels("test")
    classifiers = [GRUClassifier(**{**SETTINGS, "random_state": seed}).fit(X, y) for seed in range(5)]
    accuracies = [classifier.score(X_test, y_test) for classifier in classifiers]
    print(*accuracies)
    assert np.mean(accuracies) >= 0.97, accuracies
