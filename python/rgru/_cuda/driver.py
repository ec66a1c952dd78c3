"""The one question to CUDA's driver that CuPy does not bind, through ``cuda.bindings``."""

from __future__ import annotations


def clusters_at_once(function: int, blocks: int, threads: int, shared_bytes: int) -> int | None:
    """Ask how many clusters the current device can run at the same time; a part of a GPU may not have room for any.

    Parameters
    ----------
    function : int
        CUfunction of a kernel without cluster dimensions of its own; more than 8 blocks have to be allowed for it.
    blocks : int
        Blocks of a cluster.
    threads, shared_bytes : int
        Threads of a block, and bytes of its shared memory.

    Returns
    -------
    int or None
        None if ``cuda.bindings`` is not installed, or the driver has no answer.
    """
    try:
        from cuda.bindings import driver
    except ImportError:
        return None
    attribute = driver.CUlaunchAttribute()
    attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
    cluster = attribute.value.clusterDim
    cluster.x, cluster.y, cluster.z = blocks, 1, 1
    config = driver.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
    config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
    config.sharedMemBytes = shared_bytes
    config.attrs, config.numAttrs = [attribute], 1
    try:
        status, found = driver.cuOccupancyMaxActiveClusters(driver.CUfunction(function), config)
    except RuntimeError:  # a driver older than clusters
        return None
    if status == driver.CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE:
        return 0
    return int(found) if status == driver.CUresult.CUDA_SUCCESS else None
