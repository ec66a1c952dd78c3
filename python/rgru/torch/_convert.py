"""Whole models: their GRUs on rgru's kernels, and back on PyTorch's."""

from __future__ import annotations

from typing import Any

import torch

from rgru.torch._gru import GRU, GRUCell, check_dropout

_PAIRS = (torch.nn.GRU, GRU), (torch.nn.GRUCell, GRUCell)


def convert(model: Any) -> Any:
    """Run every `torch.nn.GRU` and `torch.nn.GRUCell` of a model on rgru's kernels.

    The modules stay the same objects, with the same parameters, hooks and mode, and get another class. So an optimiser
    made before, and everything else that refers to them, goes on working.

    Parameters
    ----------
    model : torch.nn.Module
        The model, or a GRU itself. It is changed in place, or not at all if one of its GRUs is refused.

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    TypeError
        If a module is of a subclass of the two, such as those of parametrisations.
    ValueError
        If a GRU has a dropout of 1.

    Examples
    --------
    >>> import torch
    >>> import rgru.torch
    >>> model = torch.nn.ModuleDict({"encoder": torch.nn.GRU(3, 8), "head": torch.nn.Linear(8, 2)})
    >>> type(rgru.torch.convert(model)["encoder"])
    <class 'rgru.torch._gru.GRU'>
    """
    modules = _modules(model)
    for name, module in modules.items():
        if isinstance(module, (torch.nn.GRU, torch.nn.GRUCell)) and type(module) not in (*_of(0), *_of(1)):
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            raise TypeError(f"{name}: expected torch.nn.GRU or torch.nn.GRUCell itself, got {kind}")
        if type(module) is torch.nn.GRU:
            check_dropout(f"{name}.dropout", module.dropout)
    return _swap(model, dict(_PAIRS))


def revert(model: Any) -> Any:
    """Make every `rgru.torch.GRU` and `GRUCell` of a model one of `torch.nn` again, such as for an export to ONNX.

    Parameters
    ----------
    model : torch.nn.Module
        The model, which is changed in place, or not at all if one of its GRUs is refused.

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    ValueError
        If one has ``reset_after=False``, which `torch.nn` lacks.

    Examples
    --------
    >>> import torch
    >>> import rgru.torch
    >>> rgru.torch.revert(rgru.torch.GRU(3, 8))
    GRU(3, 8)
    """
    for name, module in _modules(model).items():
        if type(module) in _of(1) and not module.reset_after:
            raise ValueError(f"{name}.reset_after: expected True, the only cell that torch.nn has, got False")
    return _swap(model, {ours: theirs for theirs, ours in _PAIRS})


def _modules(model: Any) -> dict[str, Any]:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    return {f"model.{name}" if name else "model": module for name, module in model.named_modules()}


def _of(side: int) -> tuple[Any, ...]:
    return tuple(pair[side] for pair in _PAIRS)


def _swap(model: Any, classes: dict[Any, Any]) -> Any:
    for module in model.modules():
        module.__class__ = classes.get(type(module), type(module))
    return model
