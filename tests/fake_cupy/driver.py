"""CUDA's driver library, called as through ctypes."""

from __future__ import annotations

import ctypes

from fake_cupy import arrays
from fake_cupy.cublas import Call
from rgru.gpu.driver import LaunchConfig

INVALID_VALUE, NOT_SUPPORTED = 1, 801


class Driver:
    """The one function that is used of it."""

    def __init__(self):
        self.cuOccupancyMaxPotentialClusterSize = Call(self._largest_cluster)

    def _largest_cluster(self, found, function, config):
        machine = arrays.machine
        gpu, kernel = machine.gpus[machine.here.device], machine.functions[function]
        config = LaunchConfig.from_address(config)
        if gpu.capability < 90:
            return NOT_SUPPORTED
        if config.sharedMemBytes > kernel._room or not (config.gridDimX and config.blockDimX) or config.numAttrs:
            return INVALID_VALUE
        assert not kernel._clustered, "the driver would give the kernel's own cluster size"
        ctypes.c_int.from_address(found).value = kernel.largest_cluster(gpu)
        return 0
