"""What the estimators are trained on, and how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import rgru

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Sizes(NamedTuple):
    """How much is computed."""

    epochs: int = 20
    hidden: int = 64
    sequences: int = 2000
    """Of the tasks, at most."""
    steps: int = 40
    """Of a sequence of the adding problem."""
    compared: tuple[int, ...] = (128, 256, 32)
    """H of the trainings that PyTorch does too,"""
    compared_steps: int = 100
    """and the steps of their sequences."""
    predicted: int = 5_000_000
    """Steps."""


TINY = Sizes(epochs=1, hidden=4, sequences=8, steps=5, compared=(4,), compared_steps=5, predicted=300)
BATCH, RATE, FEATURES = 64, 0.005, 12
DEVICES = ("cpu", "cuda")


def adding(count: int, steps: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the adding problem (Hochreiter & Schmidhuber 1997): the sum of the two numbers that are marked."""
    random = np.random.default_rng(seed)
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = random.random((count, steps))
    rows, half = np.arange(count), steps // 2
    first, second = random.integers(0, half, count), random.integers(half, steps, count)
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, x[rows, first, 0] + x[rows, second, 0]


def vowels(split: Any) -> tuple[Any, NDArray[Any]]:
    """Return Japanese Vowels; without pyarrow, which reads it, a generated task of the same sizes."""
    try:
        return rgru.datasets.load_japanese_vowels(split)
    except ImportError as error:
        print(f"a generated task instead of Japanese Vowels: {error}")
    drifts = np.random.default_rng(0).normal(size=(9, FEATURES))
    random = np.random.default_rng(len(split))
    y = random.integers(0, 9, 270 if split == "train" else 370)
    lengths = random.integers(7, 30, len(y))
    steps = [np.outer(np.arange(n) / n, drifts[one]) for one, n in zip(y, lengths, strict=True)]
    return [(one + random.normal(size=one.shape)).astype(np.float32) for one in steps], y


def shuffled(x: Sequence[Any], y: NDArray[Any]) -> tuple[list[Any], NDArray[Any]]:
    """Return sequences and labels in another order: a part of them has several classes."""
    order = np.random.default_rng(0).permutation(len(y))
    return [x[i] for i in order], y[order]
