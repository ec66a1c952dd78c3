"""What files claim about their sizes, bounded by the bytes that they have."""

from __future__ import annotations

_SMALL, _RATIO = 64 << 20, 100
"""Bytes that any file may claim, and how many each stored byte may stand for: trained weights hardly compress."""


def check_claim(name: str, claimed: int, stored: int) -> None:
    """Refuse an array or a member of an archive whose size in memory is out of proportion to that in the file.

    Parameters
    ----------
    name : str
        The file and the part of it, for the error.
    claimed, stored : int
        Bytes in memory and in the file.

    Raises
    ------
    ValueError
        If it claims more than 64 MiB and more than 100 times what is stored.
    """
    if claimed > max(_SMALL, _RATIO * stored):
        raise ValueError(f"{name}: expected at most {_RATIO} bytes for each one stored, got {claimed} for {stored}")


def limit_memory(size: int) -> None:
    """Limit the memory of this process to 2 GiB and `size` bytes, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, ((2 << 30) + size,) * 2)
    except (ImportError, OSError, ValueError):  # Windows has no such limit, and a system may refuse this one
        pass
