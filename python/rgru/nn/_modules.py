"""The array module of an array: NumPy, or CuPy for one on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np


def module_of(array: Any) -> Any:
    """Return the module."""
    if type(array) is np.ndarray:
        return np
    from rgru._cuda.availability import find_cupy

    return find_cupy(array.device.id)
