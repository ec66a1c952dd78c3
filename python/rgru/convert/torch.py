"""PyTorch: `torch.nn.GRU` and `GRUCell` are reset-after, with gates r, z, n."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.arrays import as_real
from rgru.convert import fold_biases, gates_in, gates_out
from rgru.gru import GRU

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

_DIRECTIONS = {"": "fwd", "_reverse": "rev"}
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(module: Any) -> GRU:
    """Make a GRU with the parameters of a PyTorch module.

    Parameters
    ----------
    module : torch.nn.GRU or torch.nn.GRUCell
        On any device, in float32 or float64. `batch_first` plays no part: rgru is always batch first.

    Returns
    -------
    GRU
        Reset-after, with the module's sizes, dropout and dtype. Its outputs agree to rounding: PyTorch adds the two
        biases of r and z apart, rgru their sum.

    Raises
    ------
    TypeError
        If `module` is neither.
    ValueError
        If its parameters are of another type than float32 and float64, or others than a plain GRU's.
    """
    import torch

    if not isinstance(module, (torch.nn.GRU, torch.nn.GRUCell)):
        raise TypeError(f"module: expected torch.nn.GRU or torch.nn.GRUCell, got {type(module).__name__}")
    state = {}
    for name, tensor in module.state_dict().items():
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name}: expected float32 or float64, got {tensor.dtype}; convert it with module.float()")
        state[name] = tensor.detach().cpu().numpy()
    layers = int(getattr(module, "num_layers", 1))
    config = {
        "input_size": module.input_size,
        "hidden_size": module.hidden_size,
        "num_layers": layers,
        "bidirectional": bool(getattr(module, "bidirectional", False)),
        "reset_after": True,
        "bias": bool(module.bias),
        # PyTorch takes a dropout with a single layer, and never applies it.
        "dropout": float(getattr(module, "dropout", 0.0)) if layers > 1 else 0.0,
        "dtype": next(iter(state.values())).dtype.name,
    }
    return GRU._from_saved(config, params_from_torch(state))


def params_from_torch(state: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    """Convert the arrays of a `torch.nn.GRU`'s or `GRUCell`'s state dict; needs no PyTorch.

    Parameters
    ----------
    state : mapping of str to array_like
        ``weight_ih_l{k}`` (3H, I), ``weight_hh_l{k}`` (3H, H), ``bias_ih_l{k}``, ``bias_hh_l{k}`` (3H,), and the same
        with ``_reverse`` at the end; a cell's have no ``_l{k}``.

    Returns
    -------
    dict of str to numpy.ndarray
        Parameters by rgru's names, of a GRU with ``reset_after=True``.

    Raises
    ------
    ValueError
        If a name is not one of these, or an array that belongs to another is missing.
    """
    left = {name if "_l" in name else f"{name}_l0": value for name, value in state.items()}
    params = {}
    for k in range(len(left)):
        for suffix, direction in _DIRECTIONS.items():
            names = [f"{name}_l{k}{suffix}" for name in _NAMES]
            found = {name: as_real(name, left.pop(name), None) for name in names if name in left}
            if not found:
                continue
            missing = [name for name in names[: 2 if len(found) == 2 else 4] if name not in found]
            if missing:
                raise ValueError(f"state: expected {', '.join(names)}, got none of the name {', '.join(missing)}")
            rows = [gates_in(name, array, "rzh") for name, array in found.items()]
            tensors = {"W": rows[0], "U": rows[1], **(fold_biases(rows[2], rows[3], True) if rows[2:] else {})}
            params.update({f"layers.{k}.{direction}.{name}": array for name, array in tensors.items()})
    if left or not params:
        raise ValueError(f"state: expected the parameters of a plain GRU, got {', '.join(left) or 'none'}")
    return params


def params_to_torch(gru: GRU) -> dict[str, NDArray[Any]]:
    """Convert a GRU's parameters into the arrays of a `torch.nn.GRU`'s state dict; needs no PyTorch.

    Parameters
    ----------
    gru : GRU
        With ``reset_after=True``.

    Returns
    -------
    dict of str to numpy.ndarray
        In the order of `torch.nn.GRU.state_dict`. ``bias_ih`` is [b_r, -b_z, b_h] and ``bias_hh`` [0, 0, b_hh], so that
        `params_from_torch` gives the same bits back.

    Raises
    ------
    ValueError
        If the GRU is reset-before, which PyTorch does not have.
    """
    if not gru.reset_after:
        raise ValueError("gru: expected reset_after=True, the only cell that PyTorch has, got reset_after=False")
    state = {}
    for k in range(gru.num_layers):
        for suffix, direction in _DIRECTIONS.items():
            prefix = f"layers.{k}.{direction}"
            if f"{prefix}.W" not in gru.params:
                continue
            state[f"weight_ih_l{k}{suffix}"] = gates_out(gru.params[f"{prefix}.W"], "rzh")
            state[f"weight_hh_l{k}{suffix}"] = gates_out(gru.params[f"{prefix}.U"], "rzh")
            if gru.bias:
                b_hh = gru.params[f"{prefix}.b_hh"]
                state[f"bias_ih_l{k}{suffix}"] = gates_out(gru.params[f"{prefix}.b"], "rzh")
                state[f"bias_hh_l{k}{suffix}"] = np.concatenate([np.zeros(2 * len(b_hh), b_hh.dtype), b_hh])
    return state


def to_torch(gru: GRU) -> Any:
    """Make a `torch.nn.GRU` with the parameters of a GRU.

    Parameters
    ----------
    gru : GRU
        With ``reset_after=True``.

    Returns
    -------
    torch.nn.GRU
        On the CPU, with ``batch_first=True``.

    Raises
    ------
    ValueError
        If the GRU is reset-before, which PyTorch does not have.
    ImportError
        If PyTorch is not installed.
    """
    state = params_to_torch(gru)
    import torch

    module = torch.nn.GRU(
        gru.input_size,
        gru.hidden_size,
        gru.num_layers,
        bias=gru.bias,
        batch_first=True,
        dropout=gru.dropout,
        bidirectional=gru.bidirectional,
        dtype=getattr(torch, gru.dtype.name),
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return module
