"""Modules and functions of PyTorch that are layers for single rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert import widened
from rgru.convert._layers import batch_norm
from rgru.model import Activation, Dropout, LayerNorm, Linear

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_MODULES: dict[str, Any] = {
    "ELU": lambda part: ("elu", part.alpha),
    "Hardsigmoid": lambda part: ("hard_sigmoid", 1 / 6, 0.5),
    "Hardtanh": lambda part: ("clip", part.min_val, part.max_val),
    "LeakyReLU": lambda part: ("leaky_relu", part.negative_slope),
    "ReLU": lambda part: "relu",
    "ReLU6": lambda part: ("clip", 0.0, 6.0),
    "Sigmoid": lambda part: "sigmoid",
    "SiLU": lambda part: "silu",
    "Softmax": lambda part: "softmax",
    "Softsign": lambda part: "softsign",
    "Tanh": lambda part: "tanh",
}
ACTIVATIONS: dict[str, tuple[tuple[tuple[str, Any], ...], Any]] = {
    "clamp": ((("min", None), ("max", None)), lambda low, high: ("clip", low, high)),
    "clip": ((("min", None), ("max", None)), lambda low, high: ("clip", low, high)),
    "elu": ((("alpha", 1.0),), lambda alpha: ("elu", alpha)),
    "hardsigmoid": ((), lambda: ("hard_sigmoid", 1 / 6, 0.5)),
    "hardtanh": ((("min_val", -1.0), ("max_val", 1.0)), lambda low, high: ("clip", low, high)),
    "leaky_relu": ((("negative_slope", 0.01),), lambda slope: ("leaky_relu", slope)),
    "relu": ((), lambda: "relu"),
    "relu6": ((), lambda: ("clip", 0.0, 6.0)),
    "sigmoid": ((), lambda: "sigmoid"),
    "silu": ((), lambda: "silu"),
    "softsign": ((), lambda: "softsign"),
    "tanh": ((), lambda: "tanh"),
}
"""Functions that act on each number: their arguments with defaults, and what makes the activation of them."""


def is_plain(part: Any) -> bool:
    """Return whether a module is PyTorch's own, with the forward of its class."""
    return type(part).__module__.startswith("torch.nn.") and "forward" not in vars(part)


def row_layers(part: Any, dtype: DTypeLike) -> list[Any] | None:
    """Return the layers for a module that treats rows by themselves; None if it is none.

    Raises
    ------
    ValueError
        If it has a setting that does not fit; the message tells which.
    """
    from torch import nn

    if isinstance(part, (nn.Identity, nn.Dropout)):
        return [Dropout(part.p)] if isinstance(part, nn.Dropout) else []
    if isinstance(part, nn.Linear):
        return [Linear.from_arrays(array(part.weight), None if part.bias is None else array(part.bias))]
    if isinstance(part, nn.LayerNorm) and len(part.normalized_shape) == 1:
        gain = np.ones(part.normalized_shape, dtype) if part.weight is None else array(part.weight)
        bias = np.zeros_like(gain) if part.bias is None else array(part.bias)
        return [LayerNorm.from_arrays(gain, bias, epsilon=part.eps)]
    if isinstance(part, nn.BatchNorm1d):
        if part.training or part.running_mean is None:
            raise ValueError("BatchNorm1d with the means of a batch; call eval() on the module first")
        affine = (None, None) if part.weight is None else (array(part.weight), array(part.bias))
        return [batch_norm(array(part.running_mean), array(part.running_var), part.eps, *affine, dtype=dtype)]
    if isinstance(part, nn.PReLU) and part.num_parameters == 1:
        return [Activation(("leaky_relu", array(part.weight).item()))]
    kind = type(part).__name__
    return [Activation(_MODULES[kind](part))] if kind in _MODULES else None


def features_of(part: Any) -> int | None:
    """Return the features that a module reads, 0 for one that reads ids, or None."""
    from torch import nn

    if isinstance(part, nn.Embedding):
        return 0
    if isinstance(part, nn.LayerNorm):
        return int(part.normalized_shape[-1])
    names = ("input_size", "in_features", "num_features")
    return next((int(getattr(part, name)) for name in names if isinstance(getattr(part, name, None), int)), None)


def array(tensor: Any) -> Any:
    """Return a tensor as an array; half precision becomes float32."""
    import torch

    tensor = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return widened(tensor.detach().cpu().numpy())
