"""The GPU path: CUDA kernels through CuPy. `import rgru` loads nothing of it, and nothing of it loads CuPy before a GPU
is asked for.

Not yet run on a GPU: compiled for seven generations of chips, and run on an emulator of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgru.gpu.settings import allow_tf32, tf32_allowed

if TYPE_CHECKING:
    from rgru.backend import Backend

__all__ = ["allow_tf32", "open_backend", "tf32_allowed"]


def open_backend(device: str) -> Backend:
    """Give the backend of a GPU, the same object for the same device; see `rgru.gpu.backend.open_backend`."""
    from rgru.gpu.backend import open_backend as opened

    return opened(device)
