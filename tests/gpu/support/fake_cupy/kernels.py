"""RawModule and kernels of the fake CuPy, compiled for the CPU, and the driver's occupancy queries."""

from __future__ import annotations

import re
import warnings

import numpy as np

import cuda_emulator
from fake_cupy import arrays
from fake_cupy.arrays import ndarray
from fake_cupy.machine import CUDARuntimeError, Operation

DEFAULT_SHARED = 48 << 10
"""Bytes of dynamic shared memory that a kernel may have without a request."""


class CUDADriverError(RuntimeError):
    """As `cupy_backends.cuda.api.driver.CUDADriverError`."""


class CompileException(Exception):  # noqa: N818
    """As `cupy.cuda.compiler.CompileException`."""


class RawModule:
    """As `cupy.RawModule`; the only options are macros that are numbers."""

    def __init__(self, *, code, options=(), backend="nvrtc", enable_cooperative_groups=False):
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        assert backend == "nvrtc"
        self.macros = {}
        for option in options:
            found = re.fullmatch(r"-D(\w+)=([\w.+-]+)", option)
            if found is None:
                raise CompileException(f"nvrtc: error: invalid value: {option}")
            self.macros[found[1]] = found[2]
        self.code, self.cooperative = code, enable_cooperative_groups
        self.device = arrays.machine.here.device

    def get_function(self, name):
        return RawKernel(self, name)


class RawKernel:
    """As `cupy.RawKernel`, for one device."""

    def __init__(self, module, name):
        self._module, self._name = module, name
        self._compiled = cuda_emulator.compile(module.code, module.macros)
        text = re.sub(r"//[^\n]*", "", module.code)
        found = re.search(rf"__global__([^;{{}}()]*(?:\(\w+, 1\))?) {name}\s*\(([^()]*)\)", text)
        if found is None:
            raise CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        self._clustered = "CLUSTERED" in found[1] and "CLUSTER_BLOCKS" in module.macros
        self._constant = ["const" in parameter for parameter in found[2].split(",")]
        self._room, self.large_clusters = DEFAULT_SHARED, False
        self._seed = 0

    @property
    def kernel(self):
        arrays.machine.functions[id(self)] = self
        return Function(id(self))

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._room

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        if size > arrays.machine.gpus[arrays.machine.here.device].shared_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._room = size

    def largest_cluster(self, gpu):
        return min(gpu.cluster, 16 if self.large_clusters else 8)

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        machine = arrays.machine
        device = machine.here.device
        assert self._module.device == device, "its attributes were set on another device"
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        (grid,), (block,) = grid, block
        gpu, cluster = machine.gpus[device], int(self._module.macros["CLUSTER_BLOCKS"]) if self._clustered else 1
        if shared_mem > self._room or block > 1024 or grid > 2**31 - 1 or grid % cluster:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        if cluster > self.largest_cluster(gpu) or (cluster > 1 and gpu.capability < 90):
            raise CUDADriverError("CUDA_ERROR_INVALID_CLUSTER_SIZE: cluster misconfiguration")
        if self._module.cooperative:
            each = blocks_at_once(gpu, block, shared_mem)
            most = each * arrays.Device().attributes["MultiProcessorCount"]
            if grid > most:
                warnings.warn(
                    f"The grid size will be reduced from {grid} to {most}, as the specified grid size exceeds the "
                    "limit.",
                    stacklevel=2,
                )
                grid = most
            if grid > each * gpu.multiprocessors:
                raise CUDADriverError("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks in cooperative launch")
        plan, reads, writes = [], [], []
        for value, constant in zip(args, self._constant, strict=True):
            if isinstance(value, ndarray):
                assert value.data.mem.device == device, "an array of another device"
                assert value.flags.c_contiguous, "kernels ignore strides"
                views = reads if constant else writes
                plan.append((views, len(views)))
                views.append(value._places)
            else:
                plan.append(_scalar(value))
        self._seed += 1
        seed = self._seed

        def run(*hosts):
            places = {id(reads): 0, id(writes): len(reads)}
            given = [hosts[places[id(one[0])] + one[1]] if isinstance(one, tuple) else one for one in plan]
            self._compiled.launch(self._name, grid, block, given, shared_bytes=shared_mem, cluster=cluster, seed=seed)

        to = machine.stream if stream is None else stream.work
        try:
            to.submit(Operation(self._name, run, reads, writes, kernel=True))
        except CUDARuntimeError as error:  # it is the driver that launches
            raise CUDADriverError(str(error)) from error


class Function:
    """As `cupy.cuda.Function`."""

    def __init__(self, ptr):
        self.ptr = ptr


def _scalar(value):
    """Convert a number as CuPy does: integers of Python have 64 bits."""
    if value is None or isinstance(value, np.generic):
        return value
    kinds = {bool: np.bool_, int: np.int64, float: np.float64}
    if type(value) not in kinds:
        raise TypeError(f"Unsupported type {type(value)}")
    return kinds[type(value)](value)


def blocks_at_once(gpu, threads, shared_bytes):
    """Return how many blocks of a kernel a multiprocessor runs at once."""
    each = shared_bytes + 1024
    return 0 if shared_bytes > gpu.shared_bytes else min(2048 // threads, (gpu.shared_bytes + 1024) // each, 32)


def set_attribute(func, attribute, value):
    """As `driver.funcSetAttribute`, for CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED."""
    assert attribute == 14
    arrays.machine.functions[func].large_clusters = bool(value)


def occupancy(func, block, shared_bytes):
    """As `driver.occupancyMaxActiveBlocksPerMultiprocessor`."""
    machine = arrays.machine
    assert machine.functions[func]._room >= shared_bytes
    return blocks_at_once(machine.gpus[machine.here.device], block, shared_bytes)
