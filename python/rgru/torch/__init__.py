"""PyTorch modules on rgru's kernels: `GRU` and `GRUCell` in the place of torch.nn's, and `convert` for whole models."""

from rgru._optional_imports import needed

needed("torch", "torch")

from rgru.torch._convert import convert, revert  # noqa: E402
from rgru.torch._gru import GRU, GRUCell  # noqa: E402

__all__ = ["GRU", "GRUCell", "convert", "revert"]
