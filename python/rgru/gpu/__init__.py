"""GRUs on NVIDIA GPUs: CUDA kernels through CuPy.

`import rgru` does not load this package, and CuPy is loaded at the first use of a GPU.

The kernels have not run on a GPU yet: they are compiled for seven generations of chips, and run on an emulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgru.gpu.settings import allow_tf32, tf32_allowed

if TYPE_CHECKING:
    from rgru.backend import Backend

__all__ = ["allow_tf32", "open_backend", "tf32_allowed"]


def open_backend(device: str) -> Backend:
    """Return the backend of a GPU, the same object for the same device.

    Parameters
    ----------
    device : str
        "cuda:0", "cuda:1" and so on.

    Returns
    -------
    Backend

    Raises
    ------
    ImportError, RuntimeError
        If there is no CuPy, no driver, or no such GPU; the message says what to install or change.
    """
    from rgru.gpu.backend import open_backend as opened

    return opened(device)
