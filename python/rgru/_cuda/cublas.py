"""Matrix products by cuBLAS, called through ctypes.

The binding is by hand for want of another. CuPy's own refuses streams that are being captured into a graph, and cannot
set the workspace, without which products on several concurrent streams need not have the same bits in every run (cuBLAS
documentation, "Results reproducibility"). ``cuda.bindings`` does not bind cuBLAS. ``nvmath-python`` does, but is
another large dependency for four functions.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize

import numpy as np

from rgru._cuda.kernel_config import Precision

if TYPE_CHECKING:
    from rgru._cuda.dtypes import Array

# Values of cublasStatus_t, cublasOperation_t, cudaDataType_t and cublasComputeType_t, from the cuBLAS documentation.
_SUCCESS, _ALLOC_FAILED = 0, 3
_AS_IT_IS, _TRANSPOSED = 0, 1
_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_32F_FAST_TF32 = 68, 70, 77
_DEFAULT_ALGORITHM = -1


class Workspaces:
    """The workspaces of one thread's products: one array for each stream, since streams run concurrently.

    An array lives as long as the stream and the thread.

    Parameters
    ----------
    cupy : module
    size : int
        Bytes of an array; see `workspace_bytes`.

    Attributes
    ----------
    launched_on : cupy.cuda.Stream or None
        During a capture, the stream that the graph will be launched on; otherwise None.
    """

    def __init__(self, cupy: Any, size: int) -> None:
        self._cupy, self.size = cupy, size
        self.launched_on: Any = None
        self._arrays: WeakKeyDictionary[Any, Array] = WeakKeyDictionary()

    def here(self) -> Array:
        """Return the array for products on the current stream."""
        stream = self.launched_on or self._cupy.cuda.get_current_stream()
        array = self._arrays.get(stream)
        if array is None:
            array = self._arrays[stream] = self._cupy.empty(self.size, np.uint8)
        return array


def workspace_bytes(capability: int) -> int:
    """Return the size of a workspace that cuBLAS recommends for a chip (its documentation, cublasSetWorkspace).

    Parameters
    ----------
    capability : int
        As in `rgru._cuda.kernel_config.Chip`.

    Returns
    -------
    int

    Examples
    --------
    >>> from rgru._cuda.cublas import workspace_bytes
    >>> workspace_bytes(90) >> 20
    32
    """
    return (32 if capability >= 90 else 4) << 20


class Products:
    """Products on one device; each thread of the host needs its own.

    Parameters
    ----------
    cupy : module
    idle : list
        Handles of threads that have ended. One is taken from here, and returned when this object dies. No handle is
        destroyed: that would wait for the whole device, which breaks captures in other threads.
    """

    def __init__(self, cupy: Any, idle: list[ctypes.c_void_p]) -> None:
        self._cupy = cupy
        self._library = _library()
        try:
            self._handle = idle.pop()
        except IndexError:
            self._handle = ctypes.c_void_p()
            _check("cublasCreate", self._library.cublasCreate_v2(ctypes.byref(self._handle)))
        finalize(self, idle.append, self._handle).atexit = False

    def multiply(
        self, a: Array, b: Array, out: Array, precision: Precision, *, add: bool, workspaces: Workspaces
    ) -> None:
        """Compute out = a b, or out += a b, on the current stream.

        Parameters
        ----------
        a, b, out : cupy.ndarray, shape (M, K), (K, N), (M, N)
            `a` and `b` have one dtype and one contiguous axis each; the last axis of `out` is contiguous.
        precision : Precision
        add : bool
            Whether to add to `out`.
        workspaces : Workspaces
        """
        (rows, inner), columns = a.shape, b.shape[1]
        if rows == 0 or columns == 0:
            return
        if inner == 0:
            if not add:
                out.fill(0)
            return
        compute = {Precision.FLOAT64: _COMPUTE_64F, Precision.TF32: _COMPUTE_32F_FAST_TF32}.get(precision, _COMPUTE_32F)
        scalar = ctypes.c_double if compute == _COMPUTE_64F else ctypes.c_float
        one, beta = scalar(1.0), scalar(1.0 if add else 0.0)
        (a_how, a_pitch), (b_how, b_pitch), (_, pitch) = _order(a), _order(b), _order(out)
        self._use_current_stream(workspaces)
        # cuBLAS stores matrices by columns, so it sees the transposes: out' = b' a'.
        _check(
            "cublasGemmEx",
            self._library.cublasGemmEx_64(
                *(self._handle, b_how, a_how, columns, rows, inner, ctypes.byref(one)),
                *(b.data.ptr, _TYPES[b.dtype.name], b_pitch, a.data.ptr, _TYPES[a.dtype.name], a_pitch),
                *(ctypes.byref(beta), out.data.ptr, _TYPES[out.dtype.name], pitch, compute, _DEFAULT_ALGORITHM),
            ),
        )

    def _use_current_stream(self, workspaces: Workspaces) -> None:
        stream = ctypes.c_void_p(self._cupy.cuda.get_current_stream().ptr)
        _check("cublasSetStream", self._library.cublasSetStream_v2(self._handle, stream))
        # Setting the stream resets the workspace to the library's own.
        size = ctypes.c_size_t(workspaces.size)
        place = ctypes.c_void_p(workspaces.here().data.ptr)
        _check("cublasSetWorkspace", self._library.cublasSetWorkspace_v2(self._handle, place, size))


def _order(array: Array) -> tuple[int, int]:
    """Return whether rows or columns are contiguous, and the distance of two of them in numbers."""
    item = array.itemsize
    if array.strides[1] == item:
        return _AS_IT_IS, max(array.strides[0] // item, array.shape[1])
    return _TRANSPOSED, max(array.strides[1] // item, array.shape[0])


@cache
def _library() -> Any:
    """Load the cuBLAS library that CuPy uses."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    library = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    library.cublasGemmEx_64.argtypes = (
        *(pointer, number, number, size, size, size, pointer, pointer, number, size, pointer, number, size),
        *(pointer, pointer, number, size, number, number),
    )
    library.cublasCreate_v2.argtypes = (pointer,)
    library.cublasSetStream_v2.argtypes = (pointer, pointer)
    library.cublasSetWorkspace_v2.argtypes = (pointer, pointer, ctypes.c_size_t)
    return library


def _check(call: str, status: int) -> None:
    if status == _ALLOC_FAILED:
        raise MemoryError(f"{call}: not enough memory on the GPU; smaller batches or shorter sequences need less")
    if status != _SUCCESS:
        raise RuntimeError(f"{call} failed with status {status} (see cublasStatus_t in NVIDIA's documentation)")
