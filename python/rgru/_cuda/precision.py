"""The switch for tf32 products on a GPU."""

from __future__ import annotations

from contextvars import ContextVar

from rgru._validation.scalars import as_bool

_TF32: ContextVar[bool] = ContextVar("rgru_gpu_tf32", default=False)


def allow_tf32(allowed: bool) -> None:
    """Allow products of float32 arrays on a GPU to run in tf32, or forbid it (the default).

    tf32 products are several times faster, with operands of 11 significant bits and float32 sums. The setting applies
    to later calls of the current thread (or asynchronous task), on GPUs of compute capability 8.0 or newer.

    Parameters
    ----------
    allowed : bool
        Whether they may.

    Examples
    --------
    >>> import rgru
    >>> rgru.gpu.allow_tf32(True)
    >>> rgru.gpu.tf32_allowed()
    True
    >>> rgru.gpu.allow_tf32(False)
    """
    _TF32.set(as_bool("allowed", allowed))


def tf32_allowed() -> bool:
    """Return whether products of float32 arrays may run in tf32; see `allow_tf32`.

    Returns
    -------
    bool
        False unless `allow_tf32` has allowed it.

    Examples
    --------
    >>> import rgru
    >>> rgru.gpu.tf32_allowed()
    False
    """
    return _TF32.get()
