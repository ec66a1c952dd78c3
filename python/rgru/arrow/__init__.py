"""Predictions from Arrow columns to Arrow columns."""

from rgru.arrow._predict import ArrowColumn, predict

__all__ = ["ArrowColumn", "predict"]
