"""Threads, instruction set and GPUs of this process."""

from __future__ import annotations

from importlib.util import find_spec

from rgru import _core
from rgru._validation.scalars import as_int

MOST_THREADS = 1024


def set_num_threads(n: int | None) -> None:
    """Set the number of threads for computations in this process; results do not depend on it.

    Parameters
    ----------
    n : int or None
        From 1 to 1024. None restores the default: RGRU_NUM_THREADS, else OMP_NUM_THREADS, else the number of physical
        cores that this process may use.

    Examples
    --------
    >>> import rgru
    >>> rgru.set_num_threads(2)
    >>> rgru.info()["num_threads"]
    2
    >>> rgru.set_num_threads(None)
    """
    _core.set_num_threads(as_threads("n", n))


def as_threads(name: str, n: int | None) -> int | None:
    """Validate a number of threads for `set_num_threads` that is the argument `name` of another function."""
    return None if n is None else as_int(name, n, 1, MOST_THREADS)


def info() -> dict[str, object]:
    """Return the version, the instruction set, the number of threads and the GPUs of this installation.

    Returns
    -------
    dict
        ``version`` (str); ``isa`` (str), the instruction set in use; ``available_isas`` (list of str), the instruction
        sets of this machine, best first; ``num_threads`` (int); ``gpus`` (list of str), the names of usable GPUs.

    Examples
    --------
    >>> import rgru
    >>> sorted(rgru.info())
    ['available_isas', 'gpus', 'isa', 'num_threads', 'version']
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
