"""The operators of PyTorch's library, ``rgru::gru`` and ``rgru::gru_backward``, and their derivatives.

A graph of `torch.compile` or `torch.export` has these operators in it. A plain call takes a shorter way to the same
functions, since the dispatcher of custom operators takes longer than a small GRU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import forward_ad

from rgru.torch._batches import as_states, as_tensor, batch_of
from rgru.torch._packing import packed_weights
from rgru.torch._tapes import as_handle, tape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARGUMENTS = "Tensor x, Tensor? h0, Tensor? batch_sizes, Tensor? seed, Tensor[] weights"
_SETTINGS = "bool bias, bool bidirectional, bool reset_after, bool batch_first, float dropout"


def run(
    x: Any,
    h0: Any | None,
    batch_sizes: Any | None,
    weights: Sequence[Any],
    cell: tuple[bool, bool, bool],
    *,
    batch_first: bool,
    dropout: float = 0.0,
) -> tuple[Any, Any]:
    """Run over a batch of sequences, with gradients where they are wanted.

    Parameters
    ----------
    x : torch.Tensor
        (N, T, I), (T, N, I) or, with `batch_sizes`, (S, I).
    h0 : torch.Tensor, shape (L*D, N, H), or None
    batch_sizes : torch.Tensor of int64, shape (T,), or None
        Those of a packed sequence.
    weights, cell
        As in `rgru.torch._packing.PackedWeights`.
    batch_first : bool
    dropout : float, default 0.0
        The fraction that is dropped between layers, by PyTorch's generator.

    Returns
    -------
    y, h_n : torch.Tensor
    """
    if x.device.type not in ("cpu", "meta"):
        raise NotImplementedError(f"input: expected a tensor on the CPU, got one on {x.device}; see rgru.torch.revert")
    tensors = [x, *weights] if h0 is None else [x, h0, *weights]
    record, plain = torch.is_grad_enabled() and not torch.compiler.is_exporting(), _is_plain()
    wanted = False
    for tensor in tensors:
        wanted = wanted or tensor.requires_grad
        plain = plain and type(tensor) in _PLAIN and tensor.is_cpu
    seed = torch.randint(2**63 - 1, (), device="cpu") if dropout else None
    settings = *cell, batch_first, dropout
    if not plain:
        y, h_n, _ = torch.ops.rgru.gru(x, h0, batch_sizes, seed, weights, *settings, record and wanted)
    elif record and wanted:
        y, h_n = _Recorded.apply(x, h0, batch_sizes, seed, settings, *weights)
    else:
        y, h_n, _ = _forward(x, h0, batch_sizes, seed, weights, *settings, record=False)
    return y, h_n


_PLAIN = torch.Tensor, torch.nn.Parameter


def _is_plain() -> bool:
    """Return whether nothing but a plain run is wanted, without a transform or a compiler that watches."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def _forward(
    x: Any,
    h0: Any | None,
    batch_sizes: Any | None,
    seed: Any | None,
    weights: Sequence[Any],
    bias: bool,
    bidirectional: bool,
    reset_after: bool,
    batch_first: bool,
    dropout: float,
    record: bool,
) -> tuple[Any, Any, Any | None]:
    """Return y, h_n and, with `record`, the tape."""
    packed = packed_weights(weights, (bias, bidirectional, reset_after))
    batch, tape = batch_of(x, batch_sizes, batch_first), None
    arrays = batch.enter(x, packed.dtype), None if h0 is None else as_states(h0, packed.dtype), None, batch.offsets
    if record or dropout:
        y, h_n, tape = packed.core(True).forward_tape(*arrays, dropout, None if seed is None else int(seed), None)
        y.flags.writeable = True  # autograd notices changes of a tensor that it has saved
    else:
        y, h_n = packed.core(False).forward(*arrays)
    kind = x.dtype if h0 is None else h0.dtype
    return batch.leave(y, kind), as_tensor(h_n, kind), tape


def gru(x: Any, *arguments: Any) -> tuple[Any, Any, Any]:
    """Return y, h_n and, if they are recorded, a tensor that stands for the tape, else an empty one."""
    record = arguments[-1]
    y, h_n, tape = _forward(x, *arguments)
    return y, h_n, as_handle(tape) if record else x.new_empty(0, dtype=torch.uint8)


def gru_backward(
    dy: Any | None,
    dh_n: Any | None,
    x: Any,
    h0: Any | None,
    batch_sizes: Any | None,
    seed: Any | None,
    weights: Sequence[Any],
    y: Any | None,
    tape: Any,
    bias: bool,
    bidirectional: bool,
    reset_after: bool,
    batch_first: bool,
    dropout: float,
) -> list[Any]:
    """Return the gradients of x, of the initial states (L*D, N, H) and of the weights.

    `y` is an argument so that nobody writes to its memory, which the tape refers to. Where the tape is lost, such as in
    a copy of its tensor, the run is repeated.
    """
    packed = packed_weights(weights, (bias, bidirectional, reset_after))
    batch, found = batch_of(x, batch_sizes, batch_first), tape_of(tape)
    if found is None:
        settings = bias, bidirectional, reset_after, batch_first, dropout
        _, _, found = _forward(x, h0, batch_sizes, seed, weights, *settings, record=True)
    values = None if dy is None else batch.enter(dy, packed.dtype)
    states = None if dh_n is None else as_states(dh_n, packed.dtype)
    dx, dh0, flat = found.backward(values, states)  # type: ignore[union-attr]
    states = as_tensor(dh0, x.dtype) if h0 is None else as_tensor(dh0.reshape(h0.shape), h0.dtype)
    return [batch.leave(dx, x.dtype), states, *packed.split(flat)]


def _gru_fake(x: Any, h0: Any, batch_sizes: Any, seed: Any, weights: Any, bias: bool, *settings: Any) -> Any:
    bidirectional, _, batch_first, _, record = settings
    hidden, directions = weights[1].shape[1], 1 + bidirectional
    cells, kind = len(weights) // (4 if bias else 2), x.dtype if h0 is None else h0.dtype
    batch = x.shape[0 if batch_first else 1] if h0 is None else h0.shape[-2]
    return (
        x.new_empty((*x.shape[:-1], directions * hidden), dtype=kind),
        x.new_empty((cells, batch, hidden), dtype=kind),
        x.new_empty(int(record), dtype=torch.uint8),
    )


def _gru_backward_fake(
    dy: Any, dh_n: Any, x: Any, h0: Any, batch_sizes: Any, seed: Any, weights: Any, y: Any, tape: Any, *settings: Any
) -> list[Any]:
    _, states, _ = _gru_fake(x, h0, batch_sizes, seed, weights, *settings, True)
    states = states if h0 is None else h0.new_empty(h0.shape)
    return [x.new_empty(x.shape), states, *(weight.new_empty(weight.shape) for weight in weights)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, Any, Any]) -> None:
    x, h0, batch_sizes, seed, weights, *settings = inputs
    y, _, tape = output
    in_tape = batch_sizes is None and settings[3]  # else the tape has another array than y
    ctx.save_for_backward(x, h0, batch_sizes, seed, y if in_tape else None, tape, *weights)
    ctx.settings = settings[:5]
    ctx.set_materialize_grads(False)


def _gradients(operator: Any, ctx: Any, dy: Any | None, dh_n: Any | None) -> tuple[Any, ...]:
    """Return the gradients of x, h0, batch_sizes, seed and the weights."""
    x, h0, batch_sizes, seed, y, tape, *weights = ctx.saved_tensors
    if dy is None and dh_n is None:
        return None, None, None, None, [None] * len(weights)
    arguments = dy, dh_n, x, h0, batch_sizes, seed, weights, y, tape
    dx, dh0, *gradients = operator(*arguments, *ctx.settings)
    return dx, None if h0 is None else dh0, None, None, gradients


class _Recorded(torch.autograd.Function):
    """A plain run with gradients."""

    @staticmethod
    def forward(ctx: Any, x: Any, h0: Any, batch_sizes: Any, seed: Any, settings: Any, *weights: Any) -> Any:
        output = gru(x, h0, batch_sizes, seed, weights, *settings, True)
        _save(ctx, (x, h0, batch_sizes, seed, weights, *settings), output)
        return output[:2]

    @staticmethod
    def backward(ctx: Any, dy: Any | None, dh_n: Any | None) -> tuple[Any, ...]:
        # The operator has a derivative of its own, which refuses.
        operator = torch.ops.rgru.gru_backward if torch.is_grad_enabled() else gru_backward
        *others, gradients = _gradients(operator, ctx, dy, dh_n)
        return *others, None, *gradients


def _backward(ctx: Any, dy: Any | None, dh_n: Any | None, _: None) -> tuple[Any, ...]:
    return *_gradients(torch.ops.rgru.gru_backward, ctx, dy, dh_n), *[None] * 6


def _second_derivative(ctx: Any, gradients: Any) -> None:
    raise NotImplementedError("rgru.torch: expected first derivatives only; torch.nn.GRU has second ones: see revert")


_forward_op = torch.library.custom_op(
    "rgru::gru",
    gru,
    mutates_args=(),
    device_types="cpu",
    schema=f"({_ARGUMENTS}, {_SETTINGS}, bool record) -> (Tensor, Tensor, Tensor)",
)
_forward_op.register_fake(_gru_fake)
_forward_op.register_autograd(_backward, setup_context=_save)

_backward_op = torch.library.custom_op(
    "rgru::gru_backward",
    gru_backward,
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor? dy, Tensor? dh_n, {_ARGUMENTS}, Tensor? y, Tensor tape, {_SETTINGS}) -> Tensor[]",
)
_backward_op.register_fake(_gru_backward_fake)
_backward_op.register_autograd(_second_derivative)
