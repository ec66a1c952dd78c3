"""Import CuPy, or raise an error that says what is missing."""

from __future__ import annotations

from functools import cache
from typing import Any

from rgru._optional_imports import install

_OLDEST_CUPY = 14
_OLDEST_CAPABILITY = 75
_INSTALL = install("gpu")


@cache
def find_cupy(index: int | None = None) -> Any:
    """Import CuPy and check, once, that it can use a GPU.

    Parameters
    ----------
    index : int, optional
        The GPU; by default any.

    Returns
    -------
    module

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
    if index is None:
        return cupy
    if index >= count:
        raise RuntimeError(f"device: expected a GPU from 0 to {count - 1}, got {index}")
    capability = _capability(cupy, index)
    if capability < _OLDEST_CAPABILITY:
        raise RuntimeError(
            f"device: expected a GPU of compute capability {_OLDEST_CAPABILITY / 10} or more, got {capability / 10} "
            f"(GPU {index})"
        )
    return cupy


def gpu_names() -> list[str]:
    """Return the names of all GPUs that rgru can use, by index.

    Returns
    -------
    list of str

    Raises
    ------
    ImportError, RuntimeError
        As `find_cupy`.
    """
    cupy = find_cupy()
    properties = [cupy.cuda.runtime.getDeviceProperties(i) for i in range(cupy.cuda.runtime.getDeviceCount())]
    return [one["name"].decode() for i, one in enumerate(properties) if _capability(cupy, i) >= _OLDEST_CAPABILITY]


def _capability(cupy: Any, index: int) -> int:
    return int(cupy.cuda.Device(index).compute_capability)


def _no_gpu(runtime: Any, error: Exception) -> str:
    version = runtime.driverGetVersion()
    if version == 0:
        return (
            "no GPU: there is no NVIDIA driver on this machine; install one, or compute on the CPU (device='cpu', "
            "NumPy arrays)"
        )
    have, need = _dotted(version), _dotted(runtime.runtimeGetVersion())
    if version < runtime.runtimeGetVersion() // 1000 * 1000:
        return (
            f"no GPU: the NVIDIA driver supports CUDA {have}, and CuPy needs CUDA {need}; update the driver, or "
            "install a CuPy for the older CUDA (cupy-cuda12x[ctk])"
        )
    return f"no GPU: {error}"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
