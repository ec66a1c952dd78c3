"""What may be switched on the GPU path."""

from __future__ import annotations

from contextvars import ContextVar

from rgru._validation.scalars import as_bool

_TF32: ContextVar[bool] = ContextVar("rgru_gpu_tf32", default=False)


def allow_tf32(allowed: bool) -> None:
    """Let products of float32 arrays on a GPU run in tf32, or no longer: several times faster, with 11 bits.

    It holds for the calls that follow in the current thread (or asynchronous task), on GPUs that have such units
    (compute capability 8.0 and newer). Sums stay float32.

    Raises
    ------
    TypeError
        If `allowed` is no bool.
    """
    _TF32.set(as_bool("allowed", allowed))


def tf32_allowed() -> bool:
    """Whether `allow_tf32` holds."""
    return _TF32.get()
