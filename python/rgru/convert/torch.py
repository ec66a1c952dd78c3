"""PyTorch: `torch.nn.GRU` and `GRUCell` are reset-after, with gates r, z, n."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rgru.convert import as_weights, check_shape, gru_of
from rgru.nn._gate_order import cell_in
from rgru.nn._to_torch import TORCH_NAMES, TORCH_SUFFIXES, to_torch_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU

_NAME = re.compile(rf"({'|'.join(TORCH_NAMES)})(_l(0|[1-9][0-9]*)(_reverse)?)?")


def from_torch(module: Any) -> GRU:
    """Make a GRU with the parameters of a PyTorch module.

    Parameters
    ----------
    module : torch.nn.GRU or torch.nn.GRUCell
        The module, on any device, in float32 or float64. `batch_first` has no effect: rgru is always batch first.

    Returns
    -------
    GRU
        A reset-after GRU with the module's sizes, dropout and dtype. Its outputs agree up to rounding: PyTorch adds the
        two biases of r and z separately, rgru their sum.

    Raises
    ------
    TypeError
        If `module` is neither, a subclass with a `forward` of its own, or has forward hooks.
    ValueError
        If its parameters are not float32 or float64, or are not those of a plain GRU, because the module is
        parametrised, pruned or quantised.

    Examples
    --------
    >>> import torch
    >>> import rgru
    >>> rgru.from_torch(torch.nn.GRU(3, 8, batch_first=True))
    GRU(3, 8, reset_after=True)
    """
    import torch

    kinds = (torch.nn.GRU, torch.nn.GRUCell)
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    plain = next((kind for kind in kinds if isinstance(module, kind)), None)
    if plain is None:
        raise TypeError(f"module: expected torch.nn.GRU or torch.nn.GRUCell, got {name}")
    if getattr(module.forward, "__func__", None) is not plain.forward:
        raise TypeError(f"module: expected the forward of torch.nn.{plain.__name__}, got that of {name}")
    tensors, state = module.state_dict(), {}
    _check_names(tensors)
    if module._forward_hooks or module._forward_pre_hooks:
        raise TypeError("module: expected no forward hooks, which may change inputs and outputs; remove them first")
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name}: expected float32 or float64, got {tensor.dtype}; convert it with module.float()")
        if tensor.is_meta:
            raise ValueError(f"{name}: expected a tensor with data, got one on the device 'meta'")
        state[name] = tensor.detach().cpu().numpy()
    # PyTorch accepts a dropout with a single layer, and never applies it.
    dropout = float(getattr(module, "dropout", 0.0)) if getattr(module, "num_layers", 1) > 1 else 0.0
    return _from_state(state, dropout)


def from_state_dict(state: Mapping[str, ArrayLike]) -> GRU:
    """Make a GRU of the arrays of a `torch.nn.GRU`'s or `GRUCell`'s state dict; needs no PyTorch.

    Parameters
    ----------
    state : mapping of str to array_like
        Arrays ``weight_ih_l{k}`` (3H, I), ``weight_hh_l{k}`` (3H, H), ``bias_ih_l{k}``, ``bias_hh_l{k}`` (3H,), and the
        same with the suffix ``_reverse``; names of a cell's arrays have no ``_l{k}``.

    Returns
    -------
    GRU
        A reset-after GRU, like all of PyTorch's, without dropout.

    Raises
    ------
    ValueError
        If a name is not one of these, an array is missing, or one has another shape.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.torch import from_state_dict, to_state_dict
    >>> state = to_state_dict(rgru.GRU(3, 4, reset_after=True))
    >>> list(state)
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    >>> from_state_dict(state)
    GRU(3, 4, reset_after=True)
    """
    return _from_state(state, 0.0)


def _check_names(state: Mapping[str, Any]) -> None:
    prefixes = {str(name).rpartition(".")[0] for name in state}
    if len(prefixes) == 1 and "" not in prefixes:
        prefix = f"{prefixes.pop()}."
        raise ValueError(f"state: expected names without the prefix {prefix!r}, got {str(next(iter(state)))!r}")
    strange = [str(name) for name in state if not _NAME.fullmatch(str(name))]
    if strange or not state:
        raise ValueError(
            f"state: expected the parameters of a plain GRU, got {', '.join(strange) or 'none'}; parametrisations, "
            "pruning and quantisation have to be removed first"
        )


def _from_state(state: Mapping[str, ArrayLike], dropout: float) -> GRU:
    _check_names(state)
    left = {name if "_l" in name else f"{name}_l0": value for name, value in state.items()}
    bidirectional, bias = any(name.endswith("_reverse") for name in left), any("bias" in name for name in left)
    layers: list[list[CellArrays]] = []
    while left:
        cells = []
        for suffix in TORCH_SUFFIXES[: 1 + bidirectional]:
            names = [f"{name}_l{len(layers)}{suffix}" for name in TORCH_NAMES[: 4 if bias else 2]]
            missing = [name for name in names if name not in left]
            if missing:
                raise ValueError(f"state: expected {', '.join(names)}, got none of the name {', '.join(missing)}")
            cells.append(_cell({name: left.pop(name) for name in names}))
        layers.append(cells)
    return gru_of("layers", layers, reset_after=True, dropout=dropout)


def _cell(found: dict[str, ArrayLike]) -> CellArrays:
    names, values = list(found), list(found.values())
    kernel = as_weights(names[0], values[0], "(3H, I)")
    recurrent = as_weights(names[1], values[1], "(3H, H)", kernel.dtype)
    hidden = recurrent.shape[1]
    check_shape(names[0], kernel, (3 * hidden, kernel.shape[1]), "(3H, I)")
    check_shape(names[1], recurrent, (3 * hidden, hidden), "(3H, H)")
    biases = [as_weights(name, found[name], "(3H,)", kernel.dtype) for name in names[2:]]
    for name, bias in zip(names[2:], biases, strict=True):
        check_shape(name, bias, (3 * hidden,), "(3H,)")
    return cell_in(kernel, recurrent, biases, "rzh", True)


def to_state_dict(gru: GRU) -> dict[str, NDArray[Any]]:
    """Convert a GRU's parameters into the arrays of a `torch.nn.GRU`'s state dict; needs no PyTorch.

    Parameters
    ----------
    gru : GRU
        A GRU with ``reset_after=True``.

    Returns
    -------
    dict of str to numpy.ndarray
        Arrays in the order of `torch.nn.GRU.state_dict`. ``bias_ih`` is [b_r, -b_z, b_h] and ``bias_hh`` [0, 0, b_hh],
        so that `from_state_dict` restores the same bits.

    Raises
    ------
    ValueError
        If the GRU is reset-before, which PyTorch does not have.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.torch import to_state_dict
    >>> {name: array.shape for name, array in to_state_dict(rgru.GRU(3, 4, reset_after=True, bias=False)).items()}
    {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4)}
    """
    return to_torch_state(gru, gru.params)


def to_torch(gru: GRU) -> Any:
    """Make a `torch.nn.GRU` with the parameters of a GRU.

    Parameters
    ----------
    gru : GRU
        A GRU with ``reset_after=True``.

    Returns
    -------
    torch.nn.GRU
        A module on the CPU, with ``batch_first=True``.

    Raises
    ------
    ValueError
        If the GRU is reset-before, which PyTorch does not have; the message names alternatives.
    ImportError
        If PyTorch is not installed.

    Examples
    --------
    >>> import torch
    >>> import rgru
    >>> from rgru.convert.torch import to_torch
    >>> to_torch(rgru.GRU(3, 8, reset_after=True))
    GRU(3, 8, batch_first=True)
    """
    return gru.to_torch()
