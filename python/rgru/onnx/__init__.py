"""Whole ONNX models: their GRU nodes run on rgru, everything else on ONNX Runtime."""

from rgru.onnx._session import InferenceSession

__all__ = ["InferenceSession"]
