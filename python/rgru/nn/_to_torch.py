"""Conversion of a GRU's parameters to those of `torch.nn.GRU`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.nn._gate_order import biases_out, cells_of, gates_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.nn._params import Params
    from rgru.nn._settings import Settings

TORCH_SUFFIXES = ("", "_reverse")
TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def to_torch_state(settings: Settings, params: Params) -> dict[str, NDArray[Any]]:
    """Return the state dict; see `rgru.convert.torch.to_state_dict`."""
    if not settings.reset_after:
        raise ValueError(
            "gru: expected reset_after=True, the only cell that PyTorch has, got reset_after=False, whose weights "
            "cannot be converted: train a GRU with reset_after=True, or export this one by rgru.convert.onnx.to_arrays "
            "(linear_before_reset=0) or rgru.convert.keras.to_weights (reset_after=False), or run it in PyTorch as "
            "rgru.torch.GRU.from_rgru(gru)"
        )
    return torch_arrays(settings, params)


def torch_arrays(settings: Settings, params: Params) -> dict[str, NDArray[Any]]:
    """Return the parameters by PyTorch's names, of either cell: `rgru.torch.GRU` has both."""
    settings._check_only("torch.nn.GRU")
    state = {}
    for k, cells in enumerate(cells_of(settings, params)):
        for suffix, cell in zip(TORCH_SUFFIXES, cells, strict=False):
            arrays = [gates_out(cell["W"], "rzh"), gates_out(cell["U"], "rzh")]
            arrays += biases_out(cell, "rzh") if settings.bias else ()
            state.update({f"{name}_l{k}{suffix}": array for name, array in zip(TORCH_NAMES, arrays, strict=False)})
    return state


def to_torch(settings: Settings, params: Params) -> Any:
    """Return the module; see `rgru.convert.torch.to_torch`."""
    state = to_torch_state(settings, params)
    import torch

    module = torch.nn.GRU(
        settings.input_size,
        settings.hidden_size,
        settings.num_layers,
        bias=settings.bias,
        batch_first=True,
        dropout=settings.dropout,
        bidirectional=settings.bidirectional,
        dtype=getattr(torch, settings.dtype.name),
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return module
