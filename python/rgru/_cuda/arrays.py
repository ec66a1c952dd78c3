"""Validation of arrays on a GPU, and their conversion to CuPy arrays; the counterpart of `rgru._validation.arrays`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._cuda.availability import find_cupy
from rgru._cuda.dtypes import precision_of
from rgru._cuda.loans import borrowed
from rgru._validation.arrays import on_gpu

if TYPE_CHECKING:
    from rgru._cuda.dtypes import Array


def compute_type(found: np.dtype[Any], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that a GRU computes in.

    Parameters
    ----------
    found : numpy.dtype
        Of x.
    dtype : numpy.dtype
        Of the GRU: float32 or float64.

    Returns
    -------
    numpy.dtype
        `found` if it is float16 or bfloat16 and the GRU is of float32, else `dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru._cuda.arrays import compute_type
    >>> compute_type(np.dtype("float16"), np.dtype("float32"))
    dtype('float16')
    >>> compute_type(np.dtype("float16"), np.dtype("float64"))
    dtype('float64')
    """
    return found if dtype.itemsize == 4 and found.name in ("float16", "bfloat16") else dtype


def as_real(
    name: str,
    value: object,
    dtype: np.dtype[Any] | None,
    ndim: int | None = None,
    axes: str = "",
    *,
    gpu: int | None = None,
) -> Array:
    """Return `value` as a C-contiguous CuPy array of real numbers, without a copy if it is one already.

    Parameters
    ----------
    name : str
        The argument's name, for error messages.
    value : array on a GPU
        From any library with DLPack or the CUDA array interface.
    dtype : numpy.dtype or None
        None accepts every dtype that the kernels support, and keeps it.
    ndim, axes
        As in `rgru._validation.arrays.as_real`.
    gpu : int, optional
        The index of the GPU that it has to be on.

    Returns
    -------
    cupy.ndarray

    Raises
    ------
    TypeError
        If `value` is not an array on a GPU, or converting it to `dtype` could change a value.
    ValueError
        If the number of dimensions differs, or it is on another GPU.
    RuntimeError
        If it would have to be converted or copied during a capture: the copy would not live as long as the graph.
    """
    array = _on(gpu, name, as_cupy(name, value))
    cupy, convert = find_cupy(array.device.id), False
    if dtype is None:
        if precision_of(array.dtype) is None:
            raise TypeError(f"{name}: expected floating-point numbers, got {array.dtype.name}")
    elif array.dtype != dtype:
        if not _exact(np.dtype(array.dtype), dtype):
            subject = f"; convert it with {name}.astype('{dtype.name}')" if name.replace(".", "").isidentifier() else ""
            raise TypeError(f"{name}: expected {dtype.name}, got {array.dtype.name}{subject}")
        convert = True
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimensions{axes and ' ' + axes}, got shape {array.shape}")
    if not convert and array.flags.c_contiguous:
        return array
    with cupy.cuda.Device(array.device.id):
        if cupy.cuda.get_current_stream().is_capturing():
            raise RuntimeError(
                f"{name}: expected a C-contiguous array of {(dtype or array.dtype).name} in a call that is captured "
                f"into a graph, got {array.dtype.name}{'' if array.flags.c_contiguous else ' that is not C-contiguous'}"
            )
        return cupy.ascontiguousarray(array.astype(dtype) if convert else array)


def as_lengths(value: object, gpu: int) -> Array:
    """Return lengths that are on a GPU as a CuPy array of integers.

    Parameters
    ----------
    value : array on a GPU
    gpu : int
        The index of the GPU that it has to be on.

    Returns
    -------
    cupy.ndarray, shape (N,)

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If they are not one-dimensional, or on another GPU.
    """
    array = _on(gpu, "lengths", as_cupy("lengths", value))
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {array.dtype.name}")
    if array.ndim != 1:
        raise ValueError(f"lengths: expected 1 dimension, got shape {array.shape}")
    return array


def as_cupy(name: str, value: object) -> Array:
    """Return `value` as a CuPy array over the same memory.

    Parameters
    ----------
    name : str
        The argument's name, for error messages.
    value : array on a GPU
        From any library with DLPack or the CUDA array interface.

    Returns
    -------
    cupy.ndarray
        The memory of another library is kept as `rgru._cuda.loans.borrowed` does.

    Raises
    ------
    TypeError
        If it is not on a GPU.
    ImportError, RuntimeError
        If there is no CuPy, or none that can use the GPU.
    """
    if not on_gpu(value):
        kind = type(value)
        raise TypeError(
            f"{name}: expected an array on the GPU, where x is, got {kind.__module__}.{kind.__qualname__}; "
            f"cupy.asarray({name}) copies it there"
        )
    cupy = find_cupy()
    if isinstance(value, cupy.ndarray):
        return value
    # DLPack lets one library's stream wait for the other's; with the older interface the host has to wait.
    array = cupy.from_dlpack(value) if hasattr(value, "__dlpack__") else cupy.asarray(value)
    return borrowed(array)


def _on(gpu: int | None, name: str, array: Array) -> Array:
    if gpu is not None and array.device.id != gpu:
        raise ValueError(f"{name}: expected an array on GPU {gpu}, where x is, got one on GPU {array.device.id}")
    return array


def _exact(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Return whether every value of type `given` is a value of type `wanted`."""
    if given.name == "bfloat16":
        return wanted.itemsize >= 4
    if precision_of(wanted) is None or given.kind not in "fiu" or (given.kind in "iu" and given.itemsize == 8):
        return False
    return wanted.name != "bfloat16" and bool(np.can_cast(given, wanted, "safe"))
