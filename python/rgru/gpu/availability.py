"""CuPy, or one clear error that says what is missing."""

from __future__ import annotations

from typing import Any

_OLDEST_CUPY = 14
_OLDEST_CAPABILITY = 75
_INSTALL = "pip install 'rgru[gpu]'"


def find_cupy(index: int) -> Any:
    """Import CuPy, with a GPU of this index that it can use.

    Raises
    ------
    ImportError
        If CuPy is missing or too old.
    RuntimeError
        If there is no driver, it is too old, or there is no such GPU.
    """
    try:
        import cupy
    except (ImportError, OSError) as error:  # OSError: CuPy cannot write its cache
        raise ImportError(f"rgru runs on GPUs through CuPy, which cannot be imported ({error}): {_INSTALL}") from error
    if int(cupy.__version__.split(".")[0]) < _OLDEST_CUPY:
        raise ImportError(f"rgru needs CuPy {_OLDEST_CUPY} or newer, got {cupy.__version__}: {_INSTALL}")
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise RuntimeError(_no_gpu(runtime, error)) from error
    if index >= count:
        raise RuntimeError(f"device: expected a GPU from 0 to {count - 1}, got {index}")
    capability = int(cupy.cuda.Device(index).compute_capability)
    if capability < _OLDEST_CAPABILITY:
        raise RuntimeError(
            f"device: expected a GPU of compute capability {_OLDEST_CAPABILITY / 10} or more, got {capability / 10} "
            f"(GPU {index})"
        )
    return cupy


def gpu_names() -> list[str]:
    """Give the names of all GPUs, by index.

    Raises
    ------
    ImportError, RuntimeError
        As `find_cupy`.
    """
    runtime = find_cupy(0).cuda.runtime
    return [runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())]


def _no_gpu(runtime: Any, error: Exception) -> str:
    version = runtime.driverGetVersion()
    if version == 0:
        return "no GPU: there is no NVIDIA driver on this machine; install one, or use arrays on the CPU"
    have, need = _dotted(version), _dotted(runtime.runtimeGetVersion())
    if version < runtime.runtimeGetVersion() // 1000 * 1000:
        return (
            f"no GPU: the NVIDIA driver is made for CUDA {have}, and CuPy for CUDA {need}; update the driver, or "
            "install a CuPy for the older CUDA (cupy-cuda12x)"
        )
    return f"no GPU: {error}"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
