"""The number types of arrays on a device."""

from __future__ import annotations

from typing import Any

import numpy as np

from rgru._cuda.kernel_config import Precision
from rgru._optional_imports import install

_NAMES = {
    "float16": Precision.FLOAT16,
    "bfloat16": Precision.BFLOAT16,
    "float32": Precision.FLOAT32,
    "float64": Precision.FLOAT64,
}


def precision_of(dtype: np.dtype[Any]) -> Precision | None:
    """Give the precision of arrays of this type; None where the kernels know no such type."""
    return _NAMES.get(dtype.name)


def number_type(precision: Precision) -> np.dtype[Any]:
    """Give the type of arrays.

    Raises
    ------
    ImportError
        For bfloat16, if ml_dtypes is not installed: NumPy has no such type.
    """
    if precision is Precision.BFLOAT16:
        try:
            import ml_dtypes
        except ImportError as error:
            raise ImportError(f"bfloat16 needs ml_dtypes: {install('gpu')}") from error
        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    name = {Precision.FLOAT16: "float16", Precision.FLOAT64: "float64"}.get(precision, "float32")
    return np.dtype(name)


def sum_type(precision: Precision) -> np.dtype[Any]:
    """Give the type that sums are computed in."""
    return np.dtype(np.float64 if precision is Precision.FLOAT64 else np.float32)
