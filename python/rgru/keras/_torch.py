"""Runs of the core as a function of PyTorch, with its derivative: what `rgru.jax` is for the other backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from rgru.torch._devices import as_array, as_tensor, backend_of, here

if TYPE_CHECKING:
    from rgru.nn._settings import Settings


def _arrays(x: Any, h0: Any, lengths: Any | None) -> tuple[Any, Any, Any, None]:
    index = None if lengths is None else lengths.cpu().numpy().astype(np.int64)
    return as_array(x, x.dtype), as_array(h0, x.dtype), index, None


def _backward(ctx: Any, dy: Any | None, dh_n: Any | None) -> tuple[Any, ...]:
    x, _ = ctx.saved_tensors
    with here(x):
        given = [None if one is None else as_array(one, x.dtype) for one in (dy, dh_n)]
        dx, dh0, dflat = ctx.tape.backward(*given)
        return None, *(as_tensor(one, x.dtype) for one in (dflat, dx, dh0)), None


def _weights(settings: Settings, flat: Any, *, training: bool) -> Any:
    return backend_of(flat).Weights(as_array(flat, flat.dtype), settings._core_sizes, training=training)


class _Recorded(torch.autograd.Function):
    """A run with gradients."""

    @staticmethod
    def forward(ctx: Any, settings: Settings, *inputs: Any) -> tuple[Any, Any]:
        flat, *arrays = inputs
        with here(flat):
            y, h_n, ctx.tape = _weights(settings, flat, training=True).forward_tape(*_arrays(*arrays), 0.0, None, None)
            if flat.is_cpu:
                y.flags.writeable = True
            found = as_tensor(y, flat.dtype), as_tensor(h_n, flat.dtype)
        ctx.save_for_backward(arrays[0], found[0])  # autograd notices changes of what the tape refers to
        ctx.set_materialize_grads(False)
        return found

    backward = staticmethod(once_differentiable(_backward))


def _run(settings: Settings, flat: Any, x: Any, h0: Any, lengths: Any | None) -> Any:
    if not (x.is_cpu or x.is_cuda):
        raise NotImplementedError(
            f"inputs: expected a tensor on the CPU or an NVIDIA GPU, got one on {x.device}; see keras.device"
        )
    if torch.is_grad_enabled() and any(one.requires_grad for one in (flat, x, h0)):
        return _Recorded.apply(settings, flat, x, h0, lengths)
    with here(x):
        found = _weights(settings, flat, training=False).forward(*_arrays(x, h0, lengths))
        return tuple(as_tensor(one, x.dtype) for one in found)


run = torch.compiler.disable(_run)
"""Run over a batch: parameters (P,), x (N, T, I), h0 (1, N, H), lengths (N,) or None; returns y and h_n."""
