"""The array module of an array: NumPy, or CuPy for one on a GPU; and its device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np


def module_of(array: Any) -> Any:
    """Return the module."""
    if type(array) is np.ndarray:
        return np
    from rgru._cuda.availability import find_cupy

    return find_cupy(array.device.id)


def device_of(array: Any) -> AbstractContextManager[Any]:
    """Return a context in which the device of an array is the current one, as CuPy's functions expect."""
    if type(array) is np.ndarray:
        return nullcontext()
    device: AbstractContextManager[Any] = array.device
    return device
