"""The contenders, rgru and PyTorch on one GPU: calls with the same weights and inputs."""

from __future__ import annotations

import copy
import warnings
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru
from gpu.forms import allow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu.cases import Shape

    Run = Callable[[], Any]


@contextmanager
def products(kind: str) -> Iterator[None]:
    """Allow both libraries the products that `kind` names."""
    import torch

    allowed = kind == "tf32"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch has newer names for these
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    allow(kind)
    try:
        yield
    finally:
        allow("float32")


@lru_cache(maxsize=8)
def weights(inputs: int, hidden: int) -> tuple[Any, rgru.GRU]:
    """Return a `torch.nn.GRU` on the host, and an `rgru.GRU` with the same parameters."""
    import torch

    torch.manual_seed(hidden)
    module = torch.nn.GRU(inputs, hidden)
    return module, rgru.from_torch(module)


@contextmanager
def released(gru: rgru.GRU) -> Iterator[None]:
    """Free in the end what the graphs captured meanwhile work with, which a GRU otherwise keeps as long as it lives."""
    try:
        yield
    finally:
        gru._changed()
        gru._captured.clear()


def tensors(shape: Shape) -> tuple[Any, Any]:
    """Return x (T, B, I) and a gradient of y (T, B, H), time first: PyTorch's faster layout."""
    import torch

    generator = torch.Generator("cuda").manual_seed(shape.batch)
    dtype = getattr(torch, "float32" if shape.kind.startswith("tf32") else shape.kind)

    def random(width: int) -> Any:
        return torch.randn(shape.time, shape.batch, width, device="cuda", generator=generator, dtype=dtype)

    return random(shape.inputs), random(shape.hidden)


def to_cupy(tensor: Any) -> Any:
    """Convert a tensor with time first to a CuPy array with the batch first."""
    import cupy

    return cupy.from_dlpack(tensor.transpose(0, 1).contiguous())


def to_torch(array: Any) -> Any:
    """Convert an array with the batch first to a tensor with time first."""
    import torch

    return torch.from_dlpack(array).transpose(0, 1)


def ours(gru: rgru.GRU, x: Any, dy: Any, training: bool) -> Run:
    """Return a call of rgru, which returns y, or y and dx."""

    def train() -> Any:
        y, _, tape = gru.record(x)
        return y, tape.backward(dy).x

    return train if training else lambda: gru(x)[:1]


def torch_module(module: Any, x: Any, dy: Any, training: bool) -> Run:
    """Return a call of `torch.nn.GRU`, which calls cuDNN."""
    moved = copy.deepcopy(module).to("cuda", x.dtype)
    moved.flatten_parameters()
    return _run_of_torch(lambda given: moved(given)[0], list(moved.parameters()), x, dy, training)


def torch_loop(gru: rgru.GRU, x: Any, dy: Any, training: bool, *, compiled: bool = False) -> Run:
    """Return a call of the reset-before cell in PyTorch, which lacks it: one large product, then a loop of steps."""
    import torch

    parts = {name.split(".")[-1]: value for name, value in gru.params.items()}
    w, u, b = (torch.tensor(np.asarray(parts[name]), device="cuda", dtype=x.dtype) for name in ("W", "U", "b"))
    hidden = gru.hidden_size

    def step(a: Any, h: Any, u_rz: Any, u_h: Any) -> Any:
        rz = torch.sigmoid(a[:, : 2 * hidden] + h @ u_rz.T)
        r, z = rz[:, :hidden], rz[:, hidden:]
        return h + z * (torch.tanh(a[:, 2 * hidden :] + (r * h) @ u_h.T) - h)

    if compiled:
        step = torch.compile(step, dynamic=False)

    def forward(given: Any) -> Any:
        u_rz, u_h = u[: 2 * hidden], u[2 * hidden :]
        h, states = given.new_zeros(given.shape[1], hidden), []
        for a in torch.nn.functional.linear(given, w, b).unbind(0):
            h = step(a, h, u_rz, u_h)
            states.append(h)
        return torch.stack(states)

    parameters = [w, u, b]
    for parameter in parameters:
        parameter.requires_grad_(training)
    return _run_of_torch(forward, parameters, x, dy, training)


def _run_of_torch(forward: Callable[[Any], Any], parameters: list[Any], x: Any, dy: Any, training: bool) -> Run:
    import torch

    if not training:

        def infer() -> Any:
            with torch.no_grad():
                return (forward(x),)

        return infer
    leaf = x.detach().requires_grad_()

    def train() -> Any:
        y = forward(leaf)
        return y.detach(), torch.autograd.grad(y, [leaf, *parameters], dy)[0]

    return train
