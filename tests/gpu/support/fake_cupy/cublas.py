"""A cuBLAS library on NumPy, called as through ctypes: raw pointers, column-major matrices, statuses."""

from __future__ import annotations

import ctypes

import numpy as np

from fake_cupy import arrays
from fake_cupy.machine import CUDARuntimeError, Operation, View

INVALID_VALUE, EXECUTION_FAILED, NOT_SUPPORTED = 7, 13, 15
TYPES = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}
# Types of A and B, and of C, by the type that is computed in (cuBLAS documentation, cublasGemmEx).
SUPPORTED = {
    68: {("float32", "float32"), *((a, c) for a in ("float16", "bfloat16") for c in (a, "float32"))},
    77: {("float32", "float32")},
    70: {("float64", "float64")},
}


class Call:
    """A function of a library; arguments are converted by `argtypes`, as ctypes does."""

    def __init__(self, function):
        self._function, self.argtypes = function, None

    def __call__(self, *args):
        assert self.argtypes is not None, "no argtypes: addresses would be cut to 32 bits"
        if len(args) != len(self.argtypes):
            raise TypeError(f"this function takes {len(self.argtypes)} arguments ({len(args)} given)")
        return self._function(*(_plain(kind, value) for kind, value in zip(self.argtypes, args, strict=True)))


def _plain(kind, value):
    kind.from_param(value)  # raises what ctypes raises
    if hasattr(value, "_obj"):  # byref
        return ctypes.addressof(value._obj)
    value = getattr(value, "value", value)
    return 0 if value is None else value


class Library:
    """cuBLAS.

    Attributes
    ----------
    products : list of tuple
        Types and shape (m, k, n) of all products so far.
    """

    def __init__(self):
        self.products = []
        self.handles = {}  # device, stream and workspace
        for name in ("cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx_64"):
            setattr(self, name, Call(getattr(self, f"_{name}")))

    def _cublasCreate_v2(self, handle):  # noqa: N802
        assert arrays.machine.stream.capture is None, "creating a handle allocates and works, which no graph can hold"
        number = len(self.handles) + 1
        self.handles[number] = {"device": arrays.machine.here.device, "stream": 0, "workspace": (0, 0)}
        ctypes.c_void_p.from_address(handle).value = number
        return 0

    def _cublasSetStream_v2(self, handle, stream):  # noqa: N802
        self.handles[handle].update(stream=stream, workspace=(0, 0))
        return 0

    def _cublasSetWorkspace_v2(self, handle, workspace, size):  # noqa: N802
        if workspace % 256:
            return INVALID_VALUE
        self.handles[handle]["workspace"] = workspace, size
        return 0

    def _cublasGemmEx_64(  # noqa: N802, PLR0917 - cuBLAS's
        self, handle, transa, transb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, how
    ):
        state = self.handles[handle]
        assert state["device"] == arrays.machine.here.device, "a handle of another device"
        stored_a, stored_b = ((k, m) if transa else (m, k)), ((n, k) if transb else (k, n))
        if min(m, n, k) < 0 or {transa, transb} - {0, 1} or how != -1:
            return INVALID_VALUE
        if lda < max(1, stored_a[0]) or ldb < max(1, stored_b[0]) or ldc < max(1, m):
            return INVALID_VALUE
        names = TYPES[a_type], TYPES[b_type], TYPES[c_type]
        if names[0] != names[1] or (names[0], names[2]) not in SUPPORTED.get(compute, ()):
            return NOT_SUPPORTED
        assert 0 not in (m, n)
        wide = np.float64 if compute == 70 else np.float32
        scalar = ctypes.c_double if compute == 70 else ctypes.c_float
        alpha, beta = scalar.from_address(alpha).value, scalar.from_address(beta).value
        views = [_columns(c, (m, n), ldc, names[2])]
        if k:
            views = [_columns(a, stored_a, lda, names[0]), _columns(b, stored_b, ldb, names[1]), *views]

        def run(*hosts):
            into, _ = hosts[-2:]
            product = np.zeros((m, n), wide)
            if k:
                one, other = (_operand(host, compute).astype(wide) for host in hosts[:2])
                product = alpha * ((one.T if transa else one) @ (other.T if transb else other))
            into[...] = (product + beta * into.astype(wide) if beta else product).astype(into.dtype)

        assert state["workspace"][1], "results may differ from run to run"
        memory = arrays.machine.memory_at(state["workspace"][0])
        assert memory.size >= state["workspace"][1]
        scratch = View(memory, 0, (1,), (1,), np.dtype(np.uint8))
        reads = [*views[:-1], *([views[-1]] if beta else [])]
        extra = len(reads) - (len(views) - 1)

        def without_c(*hosts):
            run(*hosts[: len(views) - 1], *hosts[len(views) - 1 + extra :])

        stream = arrays.machine.stream_at(state["device"], state["stream"])
        try:
            stream.submit(Operation("cublasGemmEx", without_c, reads, [views[-1], scratch]))
        except CUDARuntimeError:
            return EXECUTION_FAILED
        self.products.append((*names, (m, k, n)))
        return 0


def _columns(pointer, shape, pitch, name):
    """Return a matrix whose columns begin `pitch` numbers apart."""
    from ml_dtypes import bfloat16

    dtype = np.dtype(bfloat16 if name == "bfloat16" else name)
    memory = arrays.machine.memory_at(pointer)
    offset = pointer - memory.ptr
    end = offset + ((shape[1] - 1) * pitch + shape[0]) * dtype.itemsize
    assert end <= memory.size, "beyond the memory"
    return View(memory, offset, shape, (dtype.itemsize, pitch * dtype.itemsize), dtype)


def _operand(host, compute):
    """Round an operand to tf32, if `compute` says so."""
    if compute != 77:
        return host
    bits = np.ascontiguousarray(host).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
