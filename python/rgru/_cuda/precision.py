"""The switch for tf32 products on a GPU."""

from __future__ import annotations

from contextvars import ContextVar

from rgru._cuda.kernel_config import Precision
from rgru._validation.scalars import as_bool

_ALLOWED: ContextVar[Precision] = ContextVar("rgru_gpu_tf32", default=Precision.FLOAT32)


def allow_tf32(allowed: bool, *, terms: int = 1) -> None:
    """Allow products of float32 arrays on a GPU to run in tf32, or forbid it (the default).

    tf32 products are several times faster, with operands of 11 significant bits and float32 sums. With three terms each
    operand is the sum of two tf32 numbers: errors are close to those of float32, recurrent products of 8 sequences and
    more may be faster than in float32, and an infinite number in a product may give NaN. The setting applies to later
    calls of the current thread (or asynchronous task), on GPUs of compute capability 8.0 or newer.

    Parameters
    ----------
    allowed : bool
        Whether they may.
    terms : {1, 3}, default 1
        How many tf32 products make a product of float32 numbers. Three are used for the recurrent products alone.

    Raises
    ------
    ValueError
        For other terms.

    Examples
    --------
    >>> import rgru
    >>> rgru.gpu.allow_tf32(True)
    >>> rgru.gpu.tf32_allowed()
    True
    >>> rgru.gpu.allow_tf32(True, terms=3)
    >>> rgru.gpu.allow_tf32(False)
    """
    if terms not in (1, 3):
        raise ValueError(f"terms: expected 1 or 3, got {terms!r}")
    precision = Precision.TF32 if terms == 1 else Precision.TF32X3
    _ALLOWED.set(precision if as_bool("allowed", allowed) else Precision.FLOAT32)


def tf32_allowed() -> bool:
    """Return whether products of float32 arrays may run in tf32; see `allow_tf32`.

    Returns
    -------
    bool
        False unless `allow_tf32` has allowed it, in one term or three.

    Examples
    --------
    >>> import rgru
    >>> rgru.gpu.tf32_allowed()
    False
    """
    return _ALLOWED.get() is not Precision.FLOAT32


def precision_of_float32() -> Precision:
    """Return the precision of products of float32 arrays, where the chip supports it.

    Returns
    -------
    Precision
        FLOAT32, TF32 or TF32X3.
    """
    return _ALLOWED.get()
