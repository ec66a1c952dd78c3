"""Validation of arrays that users pass, and their conversion to arrays for the core.

An array is converted only if no value can change (float16 to float32, float32 to float64, small integers); everything
else is refused by the argument's name. Arrays that are contiguous, aligned, native-endian and of the required type are
not copied. Inputs are never modified.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def as_real(
    name: str,
    value: object,
    dtype: np.dtype[Any] | None,
    ndim: int | None = None,
    axes: str = "",
    *,
    integers: bool = False,
) -> NDArray[Any]:
    """Convert `value` to a C-contiguous, aligned, native-endian array of real numbers.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    value : array_like
        An array of any layout, or plain nested lists, which have no precision of their own and take the required one.
    dtype : numpy.dtype or None
        float32 or float64 in native byte order; None keeps any floating-point type.
    ndim : int, optional
        The required number of dimensions.
    axes : str, optional
        The meaning of the dimensions, for the error: ``"(N, T, I)"``.
    integers : bool, default False
        Whether `value` may consist of integers, such as ids, in one feature, whose axis may be missing. Without a
        `dtype` they become float64.

    Returns
    -------
    numpy.ndarray
        `value` itself if it fits, else a converted copy.

    Raises
    ------
    TypeError
        If `value` is not a plain array of real numbers, or a conversion to `dtype` could change a value.
    ValueError
        If the number of dimensions differs, or a number in plain lists is too large for `dtype`.
    """
    if type(value) is np.ndarray and value.dtype is dtype and value.ndim == ndim:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value  # the usual case, kept short
    array = as_ndarray(name, value, "an array of real numbers")
    literal = array.dtype is not dtype and _is_literal(value)
    if integers:
        array = with_feature_axis(array, ndim)
        integers = array.shape[-1:] == (1,)
    if array.dtype is not dtype:
        _check_real(name, array, dtype, literal, integers)
    _check_ndim(name, array, ndim, axes)
    if array.dtype is not dtype:
        array = _convert_real(name, array, dtype, literal)
    return np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])


def as_index(name: str, value: object, axes: str = "(N,)") -> NDArray[np.int64]:
    """Convert `value`, integers of any width but not floats, to a C-contiguous int64 vector.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    value : array_like of int
        One-dimensional: lengths, offsets or positions. The caller checks their range.
    axes : str, optional
        The meaning of the dimension, for the error.

    Returns
    -------
    numpy.ndarray of int64
        `value` itself if it fits, else a copy.

    Raises
    ------
    TypeError
        If `value` does not hold integers (booleans and whole-numbered floats included).
    ValueError
        If `value` is not one-dimensional, or an unsigned number does not fit int64.
    """
    array = as_ndarray(name, value, "an array of integers")
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(np.int64)  # an empty list has no type to check
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {array.dtype.name}{_sample(array)}")
    _check_ndim(name, array, 1, axes)
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected integers below 2**63, got {array.max()}")
    return np.require(array, np.int64, ["C_CONTIGUOUS", "ALIGNED"])


def on_gpu(value: object) -> bool:
    """Return whether `value` is an array of any library on an NVIDIA GPU, without importing the library."""
    if type(value) is np.ndarray or isinstance(value, (list, tuple)):
        return False
    device = getattr(value, "__dlpack_device__", None)
    if device is not None:
        return device()[0] in _DLPACK_CUDA
    return hasattr(type(value), "__cuda_array_interface__")


@contextmanager
def on_device_of(array: Any) -> Iterator[Any]:
    """Yield the module of `array`, NumPy or CuPy, with its GPU as the current one."""
    if type(array) is np.ndarray:
        yield np
        return
    import cupy

    with array.device:
        yield cupy


_DLPACK_CUDA = (2, 13)
"""kDLCUDA and kDLCUDAManaged of DLPack's device types."""


def with_feature_axis(array: NDArray[Any], ndim: int | None) -> NDArray[Any]:
    """Return integers that lack the last of `ndim` axes, as ids do, with one of size 1; other arrays as they are."""
    return array[..., None] if array.dtype.kind in "iu" and array.ndim + 1 == ndim else array


def has_no_steps(value: object) -> bool:
    """Return whether `value` is ``[]`` or of shape (0,): a sequence without steps and with unknown features."""
    return getattr(value, "shape", None) == (0,) or (isinstance(value, (list, tuple)) and not value)


def all_finite(array: NDArray[Any]) -> bool:
    """Return whether no number is NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(array)):  # fast, and never finite if a number is NaN or infinite
            return True
    return bool(np.isfinite(array).all())


def own(array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` if it is writable and owns its memory, else a copy.

    An array from a pickle may be read-only, or a view of a file: joblib maps large arrays into memory.
    """
    return np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED", "WRITEABLE", "OWNDATA", "ENSUREARRAY"])


def is_masked(value: object) -> bool:
    """Return whether `value` is a masked array of NumPy."""
    masked = sys.modules.get("numpy.ma")  # not imported, which takes tens of milliseconds
    return masked is not None and isinstance(value, masked.MaskedArray)


def refuse_masked(name: str, value: object, expected: str) -> None:
    """Refuse a masked array, alone or in nested lists: NumPy would return the numbers under the mask.

    Raises
    ------
    TypeError
        If there is a masked array.
    """
    if _holds_masked(value):
        raise TypeError(f"{name}: expected {expected}, got a masked array; fill it first with its method filled")


def refuse_masked_cells(name: str, column: Any, expected: str) -> None:
    """Refuse masked arrays in the object columns of a pandas Series or DataFrame; Arrow would take what they mask.

    Raises
    ------
    TypeError
        If there is a masked array.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(column, (pandas.Series, pandas.DataFrame)):
        return
    for _, cells in column.items() if isinstance(column, pandas.DataFrame) else [(None, column)]:
        if cells.dtype == object:
            refuse_masked(name, cells.tolist(), expected)


def _holds_masked(value: object) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    elif type(value) is np.ndarray and value.dtype == object:
        value = value.ravel().tolist()
    if "numpy.ma" not in sys.modules or not isinstance(value, (list, tuple)):
        return is_masked(value)
    kinds = set(map(type, value))  # fast for long lists of numbers
    if any(issubclass(kind, (list, tuple, dict, np.ndarray)) for kind in kinds):
        return any(map(_holds_masked, value))
    return False


def as_ndarray(name: str, value: object, expected: str) -> NDArray[Any]:
    """Convert `value` to a plain array by the array protocols; refuse masked arrays and arrays on a GPU.

    Raises
    ------
    TypeError
        If there is no such array; the message has `expected`, such as "an array of integers".
    """
    if type(value) is np.ndarray:
        return value
    kind = type(value)
    if on_gpu(value):
        got = f"{kind.__module__}.{kind.__qualname__} on a GPU"
        raise TypeError(f"{name}: expected an array on the CPU, got {got}; copy it to the host first")
    refuse_masked(name, value, expected)
    try:
        array = np.asanyarray(value)  # keeps subclasses: the result of __array__ may have a mask
    except (TypeError, ValueError, RuntimeError) as error:
        hint = "; for sequences of different lengths see rgru.Ragged" if isinstance(value, (list, tuple)) else ""
        raise TypeError(f"{name}: expected {expected}, got {kind.__name__} ({error}){hint}") from error
    if array.dtype.kind == "O" and array.ndim == 0:
        raise TypeError(f"{name}: expected {expected}, got {'None' if value is None else kind.__name__}")
    refuse_masked(name, array, expected)
    return np.asarray(array)


def _is_literal(value: object) -> bool:
    """Return whether `value` is a Python number or lists of them; lists of arrays must have the arrays' types."""
    if not isinstance(value, (list, tuple)):
        return isinstance(value, (int, float))
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, np.generic) or not hasattr(value, "__array__")


def _check_real(name: str, array: NDArray[Any], dtype: np.dtype[Any] | None, literal: bool, integers: bool) -> None:
    kind, itemsize = array.dtype.kind, array.dtype.itemsize
    if dtype is None and (kind == "f" or (integers and kind in "iu")):
        return
    if kind in "fiu" and literal:
        return
    wanted = "floating-point numbers" if dtype is None else dtype.name
    # NumPy considers 64-bit integers to float64 safe, though they round above 2**53.
    exact = dtype is not None and np.can_cast(array.dtype, dtype, "safe") and not (kind in "iu" and itemsize == 8)
    if kind not in "fiu" or not exact:
        subject = name if name.replace(".", "").isidentifier() else ""  # not for names such as sequences[3]
        hint = f"; convert it with {subject}.astype('{dtype or 'float32'}')" if kind in "fiub" else ""
        raise TypeError(f"{name}: expected {wanted}, got {array.dtype.name}{hint}")


def _check_ndim(name: str, array: NDArray[Any], ndim: int | None, axes: str) -> None:
    if ndim is not None and array.ndim != ndim:
        dimensions = "1 dimension" if ndim == 1 else f"{ndim} dimensions"
        raise ValueError(f"{name}: expected {dimensions}{axes and ' ' + axes}, got shape {array.shape}")


def _convert_real(name: str, array: NDArray[Any], dtype: np.dtype[Any] | None, literal: bool) -> NDArray[Any]:
    if dtype is None:
        if array.dtype.kind in "iu" and not literal:
            _check_exact(name, array)
        dtype = np.dtype(np.float64) if array.dtype.kind in "iu" else array.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):
        result = np.asarray(array, dtype=dtype, order="C")
    if literal and bool(np.any(np.isinf(result) & np.isfinite(array))):
        worst = array.flat[int(np.argmax(np.isinf(result) & np.isfinite(array)))]
        raise ValueError(f"{name}: expected numbers within the range of {dtype.name}, got {worst}")
    return result


def _check_exact(name: str, integers: NDArray[Any]) -> None:
    """Refuse integers that float64 would round."""
    for number in (integers.min(initial=0), integers.max(initial=0)):
        if abs(int(number)) > 2**53:
            raise ValueError(f"{name}: expected integers from -2**53 to 2**53, which float64 holds, got {number}")


def _sample(array: NDArray[Any]) -> str:
    """Return one value for an error message, a non-finite one if there is any, such as NaN among lengths."""
    if array.dtype.kind != "f" or array.size == 0:
        return ""
    nonfinite = array[~np.isfinite(array)]
    return f" (such as {nonfinite[0] if nonfinite.size else array.flat[0]})"


def is_arrow_column(value: object) -> bool:
    """Return whether `value` is an Arrow column or table: of any library with the Arrow PyCapsule interface."""
    return hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__")
