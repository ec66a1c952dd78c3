"""`cuda.bindings` of the fake CuPy: the one question to the driver that `rgru._cuda.driver` asks."""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace

from fake_cupy import arrays


class CUresult(IntEnum):
    """As `cuda.bindings.driver.CUresult`, those that are used."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_NOT_SUPPORTED = 801
    CUDA_ERROR_INVALID_CLUSTER_SIZE = 912
    CUDA_ERROR_UNKNOWN = 999


class CUlaunchAttributeID(IntEnum):
    """As `cuda.bindings.driver.CUlaunchAttributeID`, the one that is used."""

    CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION = 4


class Fields:
    """A structure of C, initially zero, which takes no other names."""

    def __init__(self):
        for name in self.__slots__:
            setattr(self, name, 0)


class Dimensions(Fields):
    __slots__ = ("x", "y", "z")


class CUlaunchAttributeValue:
    __slots__ = ("clusterDim",)

    def __init__(self):
        self.clusterDim = Dimensions()


class CUlaunchAttribute(Fields):
    __slots__ = ("id", "value")

    def __init__(self):
        super().__init__()
        self.value = CUlaunchAttributeValue()


class CUlaunchConfig(Fields):
    __slots__ = (
        *("gridDimX", "gridDimY", "gridDimZ", "blockDimX", "blockDimY", "blockDimZ"),
        *("sharedMemBytes", "hStream", "attrs", "numAttrs"),
    )


def CUfunction(pointer):  # noqa: N802
    return pointer


def cuOccupancyMaxActiveClusters(func, config):  # noqa: N802
    """As `cuda.bindings.driver.cuOccupancyMaxActiveClusters`."""
    machine = arrays.machine
    gpu, kernel = machine.gpus[machine.here.device], machine.functions[func]
    if gpu.capability < 90:
        return CUresult.CUDA_ERROR_NOT_SUPPORTED, 0
    if config.sharedMemBytes > kernel._room or not (config.gridDimX and config.blockDimX):
        return CUresult.CUDA_ERROR_INVALID_VALUE, 0
    assert not kernel._clustered, "its own cluster size would be another"
    [attribute] = config.attrs
    dimensions = attribute.value.clusterDim
    wrong = attribute.id != CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION or config.numAttrs != 1
    if wrong or (dimensions.y, dimensions.z) != (1, 1) or config.gridDimX % dimensions.x:
        return CUresult.CUDA_ERROR_INVALID_VALUE, 0
    if dimensions.x > kernel.largest_cluster(gpu):
        return CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE, 0
    return CUresult.CUDA_SUCCESS, gpu.multiprocessors // dimensions.x


driver = SimpleNamespace(
    CUfunction=CUfunction,
    CUlaunchAttribute=CUlaunchAttribute,
    CUlaunchAttributeID=CUlaunchAttributeID,
    CUlaunchConfig=CUlaunchConfig,
    CUresult=CUresult,
    cuOccupancyMaxActiveClusters=cuOccupancyMaxActiveClusters,
)
"""As `cuda.bindings.driver`."""
