"""CUDA's driver library, called as through ctypes."""

from __future__ import annotations

import ctypes

from fake_cupy import arrays
from fake_cupy.cublas import Call
from rgru._cuda.driver import LaunchAttribute, LaunchConfig

INVALID_VALUE, NOT_SUPPORTED, INVALID_CLUSTER_SIZE = 1, 801, 912
CLUSTER_DIMENSION = 4


class Driver:
    """The one function that is used of it."""

    def __init__(self):
        self.cuOccupancyMaxActiveClusters = Call(self._clusters)

    def _clusters(self, found, function, config):
        machine = arrays.machine
        gpu, kernel = machine.gpus[machine.here.device], machine.functions[function]
        config = LaunchConfig.from_address(config)
        if gpu.capability < 90:
            return NOT_SUPPORTED
        if config.sharedMemBytes > kernel._room or not (config.gridDimX and config.blockDimX) or config.numAttrs != 1:
            return INVALID_VALUE
        assert not kernel._clustered, "its own cluster size would be another"
        attribute = LaunchAttribute.from_address(config.attrs)
        blocks, *rest = attribute.value[:3]
        if attribute.id != CLUSTER_DIMENSION or rest != [1, 1] or config.gridDimX % blocks:
            return INVALID_VALUE
        if blocks > kernel.largest_cluster(gpu):
            return INVALID_CLUSTER_SIZE
        ctypes.c_int.from_address(found).value = gpu.multiprocessors // blocks
        return 0
