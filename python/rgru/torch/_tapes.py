"""Tapes as tensors, so that autograd keeps and drops them like everything else that the backward pass needs."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch


class _Handle(np.ndarray):
    """The memory of a tensor that stands for a tape, and the tape with it."""

    tape: Any


_handles: WeakValueDictionary[int, _Handle] = WeakValueDictionary()  # by address


def as_handle(tape: Any) -> Any:
    """Return a tensor (1,) that stands for a tape, which lives as long as the tensor's memory."""
    handle = np.zeros(1, np.uint8).view(_Handle)
    handle.tape = tape
    tensor = torch.from_numpy(handle)
    _handles[tensor.data_ptr()] = handle
    return tensor


def tape_of(tensor: Any) -> Any | None:
    """Return the tape that a tensor stands for, or None: for a copy, or a run without a tape."""
    handle = _handles.get(tensor.data_ptr()) if tensor.numel() else None
    return None if handle is None else handle.tape
