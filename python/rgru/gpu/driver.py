"""What CUDA's driver tells and CuPy does not bind, called through ctypes."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_SUCCESS = 0
_BLOCKS = 16
"""Of the grid that is asked for: clusters have no more."""


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig of cuda.h."""

    _fields_ = (
        ("gridDimX", ctypes.c_uint),
        ("gridDimY", ctypes.c_uint),
        ("gridDimZ", ctypes.c_uint),
        ("blockDimX", ctypes.c_uint),
        ("blockDimY", ctypes.c_uint),
        ("blockDimZ", ctypes.c_uint),
        ("sharedMemBytes", ctypes.c_uint),
        ("hStream", ctypes.c_void_p),
        ("attrs", ctypes.c_void_p),
        ("numAttrs", ctypes.c_uint),
    )


def largest_cluster(function: int, threads: int, shared_bytes: int) -> int | None:
    """Ask for the most blocks of a cluster that the current device can place, which a part of a GPU may not.

    Parameters
    ----------
    function : int
        CUfunction of a kernel without cluster dimensions of its own; more than 8 blocks have to be allowed for it.
    threads, shared_bytes : int
        Of a block.

    Returns
    -------
    int or None
        None if the driver does not tell.
    """
    try:
        ask = _library().cuOccupancyMaxPotentialClusterSize
    except (OSError, AttributeError):  # a driver older than clusters
        return None
    ask.argtypes = (ctypes.POINTER(ctypes.c_int), ctypes.c_void_p, ctypes.POINTER(LaunchConfig))
    found = ctypes.c_int()
    config = LaunchConfig(_BLOCKS, 1, 1, threads, 1, 1, shared_bytes)
    status = ask(ctypes.byref(found), function, ctypes.byref(config))
    return found.value if status == _SUCCESS else None


@cache
def _library() -> Any:
    """Load the driver, which CuPy has loaded before."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
