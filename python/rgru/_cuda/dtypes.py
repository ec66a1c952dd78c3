"""The dtypes of arrays and sums on a device."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from rgru._cuda.kernel_config import Precision
from rgru._optional_imports import install

Array: TypeAlias = Any
"""A cupy.ndarray."""

_NAMES = {
    "float16": Precision.FLOAT16,
    "bfloat16": Precision.BFLOAT16,
    "float32": Precision.FLOAT32,
    "float64": Precision.FLOAT64,
}


def precision_of(dtype: np.dtype[Any]) -> Precision | None:
    """Return the precision of arrays of a dtype.

    Parameters
    ----------
    dtype : numpy.dtype

    Returns
    -------
    Precision or None
        None if the kernels do not support the dtype. float32 is never tf32.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru._cuda.dtypes import precision_of
    >>> precision_of(np.dtype("float16")).name
    'FLOAT16'
    """
    return _NAMES.get(dtype.name)


def number_type(precision: Precision) -> np.dtype[Any]:
    """Return the dtype of arrays of a precision.

    Parameters
    ----------
    precision : Precision

    Returns
    -------
    numpy.dtype

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
    """Return the dtype of sums of a precision.

    Parameters
    ----------
    precision : Precision

    Returns
    -------
    numpy.dtype

    Examples
    --------
    >>> from rgru._cuda.kernel_config import Precision
    >>> from rgru._cuda.dtypes import sum_type
    >>> sum_type(Precision.FLOAT16)
    dtype('float32')
    """
    return np.dtype(np.float64 if precision is Precision.FLOAT64 else np.float32)
