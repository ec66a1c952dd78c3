"""Threads in the workers of a `torch.utils.data.DataLoader`: one, as PyTorch has there."""

from __future__ import annotations

import os

from torch.utils.data import get_worker_info

from rgru import _core

_limited: set[int] = set()  # processes; a forked one inherits those of its parent


def limit_threads() -> None:
    """Use one thread in a worker of a DataLoader, from its first packing on, unless RGRU_NUM_THREADS is set."""
    if get_worker_info() is not None and os.getpid() not in _limited and "RGRU_NUM_THREADS" not in os.environ:
        _limited.add(os.getpid())
        _core.set_num_threads(1)
