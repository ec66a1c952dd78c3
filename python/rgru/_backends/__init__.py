"""The devices that models compute on, behind one interface.

`base` has the interface, `cpu` the core behind it, and `cuda` a GPU.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rgru._backends.cpu import CPU

if TYPE_CHECKING:
    from rgru._backends.base import Backend

__all__ = ["CPU", "find_backend"]

_CUDA = re.compile(r"cuda(:[0-9]{1,4})?")


def find_backend(device: object) -> Backend:
    """Return the backend of a device.

    Parameters
    ----------
    device : str
        "cpu", "cuda", which is "cuda:0", or "cuda:N" for the GPU of number N.

    Returns
    -------
    Backend

    Raises
    ------
    TypeError, ValueError
        If `device` is not such a name.
    ImportError, RuntimeError
        If the GPU, or a library that it needs, is missing; the message names which.
    """
    if isinstance(device, str):
        if device == "cpu":
            return CPU
        if _CUDA.fullmatch(device):
            from rgru._backends import cuda

            return cuda.open_backend("cuda:0" if device == "cuda" else device)
    kind = ValueError if isinstance(device, str) else TypeError
    raise kind(f"device: expected 'cpu', 'cuda' or 'cuda:N' for the GPU of number N, got {device!r}")
