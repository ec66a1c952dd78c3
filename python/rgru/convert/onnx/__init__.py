"""ONNX: the operator GRU has gates z, r, h and is reset-before by default (linear_before_reset=0)."""

from rgru.convert.onnx._arrays import from_arrays, to_arrays
from rgru.convert.onnx._from_onnx import from_onnx
from rgru.convert.onnx._to_onnx import to_onnx

__all__ = ["from_arrays", "from_onnx", "to_arrays", "to_onnx"]
