"""What computes: threads, instruction set, GPUs."""

from __future__ import annotations

from importlib.util import find_spec

from rgru import _core
from rgru._validation.scalars import as_int

MOST_THREADS = 1024


def set_num_threads(n: int | None) -> None:
    """Set how many threads the computations of this process use; results do not depend on it.

    Parameters
    ----------
    n : int or None
        From 1 to 1024. None goes back to the environment: RGRU_NUM_THREADS, else OMP_NUM_THREADS, else the physical
        cores that this process may use.

    Raises
    ------
    TypeError, ValueError
        If `n` is neither None nor a positive integer.
    """
    _core.set_num_threads(as_threads("n", n))


def as_threads(name: str, n: int | None) -> int | None:
    """Judge a number of threads, as `set_num_threads` does, that has another name where the user gives it."""
    return None if n is None else as_int(name, n, 1, MOST_THREADS)


def info() -> dict[str, object]:
    """Tell how this installation computes.

    Returns
    -------
    dict
        ``version`` (str); ``isa`` (str), the instruction set in use; ``available_isas`` (list of str), those that this
        machine has, best first; ``num_threads`` (int); ``gpus`` (list of str), the names of those that rgru can use.
    """
    return {
        "version": _core.__version__,
        "isa": _core.isa(),
        "available_isas": _core.available_isas(),
        "num_threads": _core.get_num_threads(),
        "gpus": _gpus(),
    }


def _gpus() -> list[str]:
    if find_spec("cupy") is None:
        return []
    from rgru._cuda.availability import gpu_names

    try:
        return gpu_names()
    except (ImportError, RuntimeError):
        return []
