"""Layers for Keras 3 on rgru's kernels, with the backends torch and jax: `GRU`, and `convert` for whole models."""

from rgru._optional_imports import needed

needed("keras", "keras")

from rgru.keras._convert import convert, revert  # noqa: E402
from rgru.keras._gru import GRU  # noqa: E402

__all__ = ["GRU", "convert", "revert"]
