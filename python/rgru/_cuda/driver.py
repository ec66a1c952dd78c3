"""What CUDA's driver tells and CuPy does not bind, called through ctypes."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_SUCCESS, _INVALID_CLUSTER_SIZE = 0, 912
_CLUSTER_DIMENSION = 4
"""Of CUlaunchAttributeID."""


class LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute of cuda.h, with clusterDim of the union's members."""

    _fields_ = (("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("value", ctypes.c_uint * 16))


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


def clusters_at_once(function: int, blocks: int, threads: int, shared_bytes: int) -> int | None:
    """Ask how many clusters the current device can run at the same time; a part of a GPU may not have room for any.

    Parameters
    ----------
    function : int
        CUfunction of a kernel without cluster dimensions of its own; more than 8 blocks have to be allowed for it.
    blocks : int
        Of a cluster.
    threads, shared_bytes : int
        Of a block.

    Returns
    -------
    int or None
        None if the driver does not tell.
    """
    try:
        ask = _library().cuOccupancyMaxActiveClusters
    except (OSError, AttributeError):  # a driver older than clusters
        return None
    ask.argtypes = (ctypes.POINTER(ctypes.c_int), ctypes.c_void_p, ctypes.POINTER(LaunchConfig))
    found = ctypes.c_int()
    attribute = LaunchAttribute(_CLUSTER_DIMENSION, value=(blocks, 1, 1))
    config = LaunchConfig(blocks, 1, 1, threads, 1, 1, shared_bytes, None, ctypes.addressof(attribute), 1)
    status = ask(ctypes.byref(found), function, ctypes.byref(config))
    return {_SUCCESS: found.value, _INVALID_CLUSTER_SIZE: 0}.get(status)


@cache
def _library() -> Any:
    """Load the driver, which CuPy has loaded before."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
