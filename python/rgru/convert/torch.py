"""PyTorch: `torch.nn.GRU` and `GRUCell` are reset-after, with gates r, z, n."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

from rgru.convert import gru_of, widened
from rgru.convert._array_file import read_arrays
from rgru.convert._cells import checked_cell
from rgru.convert._torch_names import find_gru, is_parameter
from rgru.convert._trees import flat
from rgru.nn._to_torch import TORCH_NAMES, TORCH_SUFFIXES, to_torch_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU

_NAME = re.compile(rf"({'|'.join(TORCH_NAMES)})(_l(0|[1-9][0-9]*)(_reverse)?)?")


@overload
def from_torch(source: Mapping[str, Any] | str | os.PathLike[str], prefix: str = "") -> GRU: ...
@overload
def from_torch(source: Any, prefix: str = "") -> Any: ...
def from_torch(source: Any, prefix: str = "") -> Any:
    """Make a GRU, or a whole model, of a PyTorch module, a state dict, or a file of one.

    Parameters
    ----------
    source : torch.nn.Module, mapping of str to array_like or torch.Tensor, or path_like
        A `torch.nn.GRU` or `GRUCell`, on any device; or a model whose ``forward`` runs layers in a row: an embedding,
        GRUs, linear layers, normalisation, dropout, activations, pooling over time. What only moves numbers between
        them is followed, such as ``permute``, ``view``, ``squeeze``, slices, and states of zeros for as many sequences
        as there are. Arguments after the first have their defaults. Or arrays by PyTorch's names, as
        in a state dict, where ``w_ih`` may stand for ``weight_ih`` and so on; or a file of these: ``.safetensors``,
        ``.npz``, or with any other suffix one that ``torch.save(module.state_dict(), path)`` has written. Files need
        no PyTorch, and nothing in them is executed. Of arrays, only those of the GRU are read.
    prefix : str, default ""
        The name of a GRU within a larger module, ``"encoder.gru"``, or what the names of its parameters begin with:
        then it is converted by itself. Arrays with one GRU among them need none. Cells that are numbered from 0 below
        the name, as those of a ModuleList, become the layers of one GRU.

    Returns
    -------
    GRU or Model
        For a model without `prefix` a `rgru.Model`. It is batch first and returns (N, T, O) or (N, O), whatever the
        order of axes and the axes of one number in the model. Lengths by which the model packs sequences are `lengths`
        of its calls, and outputs after the last step of a sequence are zeros. Batch normalisation is that of
        inference. With `prefix` and for other sources a reset-after GRU with the module's sizes, dropout and dtype;
        float16 and bfloat16 become float32. Outputs agree up to rounding: PyTorch adds the two biases of r and z
        separately, rgru their sum. ``batch_first`` has no effect: rgru is always batch first. State dicts do not tell
        the dropout.

    Raises
    ------
    TypeError
        If `source` is something else, or the module is a subclass with a `forward` of its own, has forward hooks, or
        has a ``forward`` that torch.fx cannot follow.
    ValueError
        If a model does something that a `rgru.Model` cannot; the error names it.
        If there is not exactly one GRU and `prefix` names none of them, its parameters are no floating-point numbers,
        or they are not those of a plain GRU, because the module is parametrised, pruned or quantised; or if the file is
        damaged, of another form, or has other objects than tensors.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> arrays = {
    ...     "encoder.gru.weight_ih_l0": np.zeros((24, 3), np.float32),
    ...     "encoder.gru.weight_hh_l0": np.zeros((24, 8), np.float32),
    ...     "head.weight": np.zeros((2, 8), np.float32),
    ... }
    >>> rgru.from_torch(arrays)
    GRU(3, 8, reset_after=True, bias=False)

    >>> import torch
    >>> rgru.from_torch(torch.nn.GRU(3, 8, batch_first=True))
    GRU(3, 8, reset_after=True)
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected str, got {type(prefix).__name__}")
    if isinstance(source, (str, os.PathLike)):
        arrays = read_arrays(source, is_parameter)
        try:
            return _from_state(find_gru(arrays, prefix)[1], 0.0)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(source)}: {error}") from error
    if isinstance(source, Mapping):
        return _from_state(find_gru(flat(source), prefix)[1], 0.0)
    parameters = _parameters(source)
    if not prefix and not _is_gru(source):
        from rgru.convert._torch_model import torch_model

        return torch_model(source, _from_module)
    prefixes, found = find_gru(parameters, prefix)
    return _from_state(found, _check_modules(source, prefixes))


def _from_module(module: Any) -> GRU:
    prefixes, found = find_gru(_parameters(module), "")
    return _from_state(found, _check_modules(module, prefixes))


def _is_gru(module: Any) -> bool:
    """Return whether a module is a GRU, or a list of cells, which does nothing by itself."""
    import torch

    return isinstance(module, (torch.nn.GRU, torch.nn.GRUCell, torch.nn.ModuleList))


def _parameters(source: Any) -> dict[str, Any]:
    """Return the state dict of a module that has a GRU."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, torch.nn.Module):
        got = type(source).__name__
        raise TypeError(f"source: expected a torch.nn.Module, a mapping of names to arrays, or a path, got {got}")
    if not any(isinstance(one, (torch.nn.GRU, torch.nn.GRUCell)) for one in source.modules()):
        raise TypeError(
            f"source: expected torch.nn.GRU or torch.nn.GRUCell, or a module with one that is not quantised, "
            f"got {_kind(source)}"
        )
    return dict(source.state_dict())


def _check_modules(source: Any, names: Sequence[str]) -> float:
    """Refuse modules that compute something besides a GRU; return the dropout."""
    import torch

    inner = dict(source.named_modules(remove_duplicate=False))
    modules: list[Any] = [inner.get(name.removesuffix(".")) for name in names]
    for module in modules:
        plain = next((kind for kind in (torch.nn.GRU, torch.nn.GRUCell) if isinstance(module, kind)), None)
        if plain is None:
            raise TypeError(f"source: expected torch.nn.GRU or torch.nn.GRUCell, got {_kind(module)}")
        if getattr(module.forward, "__func__", None) is not plain.forward:
            raise TypeError(f"source: expected the forward of torch.nn.{plain.__name__}, got that of {_kind(module)}")
        if module._forward_hooks or module._forward_pre_hooks:
            raise TypeError("source: expected no forward hooks, which may change inputs and outputs; remove them first")
    # PyTorch accepts a dropout with a single layer, and never applies it.
    return float(getattr(modules[0], "dropout", 0.0)) if getattr(modules[0], "num_layers", 1) > 1 else 0.0


def _kind(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _as_array(name: str, value: Any) -> Any:
    """Return a tensor as an array; half precision becomes float32."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            raise ValueError(f"{name}: expected float32 or float64, got {value.dtype}; convert it with float()")
        if value.is_meta or value.layout is not torch.strided:
            where = "on the device 'meta'" if value.is_meta else f"of the layout {value.layout}"
            raise ValueError(f"{name}: expected a tensor with data, got one {where}")
        value = (value.float() if value.dtype is torch.bfloat16 else value).detach().cpu().numpy()
    return widened(value)


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
    _check_names(state)
    return _from_state(state, 0.0, widen=False)


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


def _from_state(state: Mapping[str, Any], dropout: float, *, widen: bool = True) -> GRU:
    if widen:
        state = {name: _as_array(name, value) for name, value in state.items()}
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
            cells.append(checked_cell(names, [left.pop(name) for name in names], "rzh", reset_after=True))
        layers.append(cells)
    return gru_of("layers", layers, reset_after=True, dropout=dropout)


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
