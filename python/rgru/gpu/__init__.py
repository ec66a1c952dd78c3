"""The GPU path: nothing here is loaded before a GPU is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgru.backend import Backend

__all__ = ["open_backend"]


def open_backend(device: str) -> Backend:
    """Give the backend of a GPU, the same object for the same device.

    Parameters
    ----------
    device : str
        "cuda:0", "cuda:1" and so on.

    Returns
    -------
    rgru.backend.Backend

    Raises
    ------
    RuntimeError
        If there is no such GPU, or something is missing to compute on it.
    """
    raise RuntimeError(f"device: expected 'cpu', since this installation has no GPU path, got {device!r}")
