"""The operators of PyTorch's library, ``rgru::gru`` and ``rgru::gru_backward``, and their derivatives.

A graph of `torch.compile` or `torch.export` has these operators in it. A plain call takes a shorter way to the same
functions, since the dispatcher of custom operators takes longer than a small GRU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd import forward_ad

from rgru.torch._batches import as_states, batch_of
from rgru.torch._devices import as_tensor, here
from rgru.torch._packing import packed_weights
from rgru.torch._tapes import as_handle, tape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rgru.torch._batches import Batch
    from rgru.torch._packing import PackedWeights

_INPUTS = "Tensor x, Tensor? h0, Tensor? batch_sizes, Tensor? seed, Tensor[] weights"
_SETTINGS = "bool bias, bool bidirectional, bool reset_after, bool batch_first, float dropout"
_PLAIN = torch.Tensor, torch.nn.Parameter
_INSTEAD = "rgru.torch.revert makes a torch.nn.GRU again, which has them"


class _Inputs(NamedTuple):
    """Tensors of a run, by `_INPUTS`; the seed is that of dropout."""

    x: Any
    h0: Any | None
    batch_sizes: Any | None
    seed: Any | None
    weights: Sequence[Any]

    @property
    def dtype(self) -> Any:
        """The type of the outputs: under autocast the states decide, as in PyTorch."""
        return self.x.dtype if self.h0 is None else self.h0.dtype


class _Settings(NamedTuple):
    """Settings of a run, by `_SETTINGS`."""

    bias: bool
    bidirectional: bool
    reset_after: bool
    batch_first: bool
    dropout: float


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
    if not (x.is_cpu and weights[0].is_cpu):
        _check_devices(x, weights[0])
    tensors = [x, *weights] if h0 is None else [x, h0, *weights]
    # What is exported or traced is for inference; its backward pass runs again.
    record = torch.is_grad_enabled() and not (torch.compiler.is_exporting() or torch._C._is_tracing())
    record = record and any([tensor.requires_grad for tensor in tensors])  # noqa: C419 - faster
    seed = torch.randint(2**63 - 1, (), device="cpu") if dropout else None
    inputs, settings = _Inputs(x, h0, batch_sizes, seed, weights), _Settings(*cell, batch_first, dropout)
    if not _is_plain(tensors):
        y, h_n, _ = torch.ops.rgru.gru(*inputs, *settings, record)
    elif record:
        y, h_n = _Recorded.apply(settings, *inputs[:4], *weights)
    else:
        with here(x):
            y, h_n, _ = _forward(inputs, settings, record=False)
    return y, h_n


def _check_devices(x: Any, weight: Any) -> None:
    if not (x.is_cpu or x.is_cuda or x.is_meta):
        raise NotImplementedError(
            f"input: expected a tensor on the CPU or an NVIDIA GPU, got one on {x.device}; {_INSTEAD}"
        )
    if weight.device != x.device:
        raise RuntimeError(f"input and parameters: expected tensors on one device, got {x.device} and {weight.device}")


def _is_plain(tensors: Sequence[Any]) -> bool:
    """Return whether tensors have numbers, and no compiler watches.

    Raises
    ------
    NotImplementedError
        If a transform of `torch.func` or a derivative in forward mode, which custom operators lack, is.
    """
    if torch.compiler.is_compiling():
        return False
    if torch._C._are_functorch_transforms_active() or (
        forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(one).tangent is not None for one in tensors)
    ):
        raise NotImplementedError(f"rgru.torch: expected no transform of torch.func, nor forward mode; {_INSTEAD}")
    plain = not (tensors[0].is_meta or torch._C._is_tracing())
    for tensor in tensors:
        plain = plain and type(tensor) in _PLAIN
    return plain


def _prepared(inputs: _Inputs, settings: _Settings) -> tuple[PackedWeights, Batch]:
    packed = packed_weights(inputs.weights, settings[:3], inputs.x.shape[:-1].numel())
    return packed, batch_of(inputs.x, inputs.batch_sizes, settings.batch_first)


def _forward(inputs: _Inputs, settings: _Settings, record: bool) -> tuple[Any, Any, Any | None]:
    """Return y, h_n and, with `record`, the tape; within `here`."""
    packed, batch = _prepared(inputs, settings)
    h0 = None if inputs.h0 is None else as_states(inputs.h0, packed.dtype)
    arrays, tape = (batch.enter(inputs.x, packed.dtype), h0, None, batch.offsets), None
    if record or settings.dropout:
        seed = None if inputs.seed is None else int(inputs.seed)
        y, h_n, tape = packed.core(True).forward_tape(*arrays, settings.dropout, seed, None)
        if inputs.x.is_cpu:
            y.flags.writeable = True  # autograd notices changes of a tensor that it has saved
    else:
        y, h_n = packed.core(False).forward(*arrays)
    dtype = inputs.dtype
    return batch.leave(y, dtype), as_tensor(h_n, dtype), tape


def gru(*arguments: Any) -> tuple[Any, Any, Any]:
    """Return y, h_n and, if they are recorded, a tensor that stands for the tape, else an empty one."""
    *values, record = arguments
    inputs = _Inputs(*values[:5])
    with here(inputs.x):
        y, h_n, tape = _forward(inputs, _Settings(*values[5:]), record)
    return y, h_n, as_handle(tape) if record else torch.empty(0, dtype=torch.uint8, device="cpu")


def gru_backward(*arguments: Any) -> list[Any]:
    """Return the gradients of x, of the initial states (L*D, N, H) and of the weights.

    `y` is an argument so that nobody writes to its memory, which the tape refers to. Where the tape is lost, such as in
    a copy of its tensor, the run is repeated.
    """
    dy, dh_n, _, handle, *values = arguments
    inputs, settings = _Inputs(*values[:5]), _Settings(*values[5:])
    with here(inputs.x):
        packed, batch = _prepared(inputs, settings)
        tape: Any = tape_of(handle)
        if tape is None:
            _, _, tape = _forward(inputs, settings, record=True)
        steps = None if dy is None else batch.enter(dy, packed.dtype)
        states = None if dh_n is None else as_states(dh_n, packed.dtype)
        dx, dh0, flat = tape.backward(steps, states)
        if inputs.h0 is not None:
            dh0 = dh0.reshape(inputs.h0.shape)
        return [batch.leave(dx, inputs.x.dtype), as_tensor(dh0, inputs.dtype), *packed.split(flat)]


def _gru_fake(*arguments: Any) -> tuple[Any, Any, Any]:
    inputs, settings, record = _Inputs(*arguments[:5]), _Settings(*arguments[5:10]), arguments[10]
    x, h0, hidden = inputs.x, inputs.h0, inputs.weights[1].shape[1]
    cells = len(inputs.weights) // (4 if settings.bias else 2)
    batch = x.shape[0 if settings.batch_first else 1] if h0 is None else h0.shape[-2]
    return (
        x.new_empty((*x.shape[:-1], (1 + settings.bidirectional) * hidden), dtype=inputs.dtype),
        x.new_empty((cells, batch, hidden), dtype=inputs.dtype),
        torch.empty(int(record), dtype=torch.uint8, device="cpu"),
    )


def _gru_backward_fake(dy: Any, dh_n: Any, y: Any, handle: Any, *arguments: Any) -> list[Any]:
    inputs = _Inputs(*arguments[:5])
    states = _gru_fake(*arguments, True)[1] if inputs.h0 is None else inputs.h0
    return [tensor.new_empty(tensor.shape) for tensor in (inputs.x, states, *inputs.weights)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, Any, Any]) -> None:
    values, settings = _Inputs(*inputs[:5]), _Settings(*inputs[5:10])
    y, _, handle = output
    in_tape = values.batch_sizes is None and settings.batch_first  # else the tape has another array than y
    ctx.save_for_backward(y if in_tape else None, handle, *values[:4], *values.weights)
    ctx.settings = settings
    ctx.set_materialize_grads(False)


def _gradients(operator: Any, ctx: Any, dy: Any | None, dh_n: Any | None) -> tuple[Any, ...]:
    """Return the gradients of x, h0, batch_sizes, seed and the weights."""
    y, handle, x, h0, batch_sizes, seed, *weights = ctx.saved_tensors
    if dy is None and dh_n is None:
        return None, None, None, None, [None] * len(weights)
    dx, dh0, *gradients = operator(dy, dh_n, y, handle, x, h0, batch_sizes, seed, weights, *ctx.settings)
    return dx, None if h0 is None else dh0, None, None, gradients


class _Recorded(torch.autograd.Function):
    """A plain run with gradients."""

    @staticmethod
    def forward(ctx: Any, settings: _Settings, *inputs: Any) -> tuple[Any, Any]:
        arguments = *inputs[:4], inputs[4:], *settings
        output = gru(*arguments, True)
        _save(ctx, arguments, output)
        return output[:2]

    @staticmethod
    def backward(ctx: Any, dy: Any | None, dh_n: Any | None) -> tuple[Any, ...]:
        # The operator has a derivative of its own, which refuses.
        operator = torch.ops.rgru.gru_backward if torch.is_grad_enabled() else gru_backward
        *others, gradients = _gradients(operator, ctx, dy, dh_n)
        return None, *others, *gradients


def _backward(ctx: Any, dy: Any | None, dh_n: Any | None, _: None) -> tuple[Any, ...]:
    return *_gradients(torch.ops.rgru.gru_backward, ctx, dy, dh_n), *[None] * 6


def _second_derivative(ctx: Any, gradients: Any) -> None:
    raise NotImplementedError(f"rgru.torch: expected first derivatives only; {_INSTEAD}")


_forward_op = torch.library.custom_op(
    "rgru::gru",
    gru,
    mutates_args=(),
    device_types=("cpu", "cuda"),
    schema=f"({_INPUTS}, {_SETTINGS}, bool record) -> (Tensor, Tensor, Tensor)",
)
_forward_op.register_fake(_gru_fake)
_forward_op.register_autograd(_backward, setup_context=_save)

_backward_op = torch.library.custom_op(
    "rgru::gru_backward",
    gru_backward,
    mutates_args=(),
    device_types=("cpu", "cuda"),
    schema=f"(Tensor? dy, Tensor? dh_n, Tensor? y, Tensor tape, {_INPUTS}, {_SETTINGS}) -> Tensor[]",
)
_backward_op.register_fake(_gru_backward_fake)
_backward_op.register_autograd(_second_derivative)
