"""Drafts of files: their names, and which of them nobody is going to finish.

A draft lies beside its file and is called ``.PID-PLACE-RANDOM.tmp``: the process that writes it, a checksum of the host
and the process namespace (a container's) in which that number means something, and eight random digits. A process that
is killed leaves its draft.
"""

from __future__ import annotations

import os
import platform
import re
import stat
import time
from pathlib import Path
from zlib import crc32

_NAME = re.compile(r"\.(\d{1,7})-(?:([0-9a-f]{8})-)?[0-9a-f]{8}\.tmp")
"""The first versions had no place in it."""

_DAY = 86_400.0


def draft_beside(target: Path) -> Path:
    """Return a new name for a draft of `target`."""
    return target.with_name(f".{os.getpid()}-{_place()}-{os.urandom(4).hex()}.tmp")


def remove_abandoned(folder: Path) -> int:
    """Remove the drafts in a folder that nobody is going to finish, and return how many.

    These are drafts of this user whose process ran here and is gone, or that nobody has written to for a day, wherever
    their process ran: on another host of a network folder, in another container, or before its number was given to
    another process. Other files are left alone.

    Parameters
    ----------
    folder : pathlib.Path
        If it is not there, there are no drafts.

    Raises
    ------
    OSError
        If the folder cannot be read, or a draft not removed.
    """
    if not folder.is_dir():
        return 0
    removed = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name and _abandoned(Path(entry.path), int(name[1]), name[2]):
                Path(entry.path).unlink(missing_ok=True)
                removed += 1
    return removed


def _abandoned(draft: Path, pid: int, place: str | None) -> bool:
    try:
        state = draft.lstat()
    except FileNotFoundError:  # finished meanwhile
        return False
    if not stat.S_ISREG(state.st_mode) or (hasattr(os, "geteuid") and state.st_uid != os.geteuid()):
        return False
    return (place == _place() and _is_gone(pid)) or time.time() - state.st_mtime > _DAY


def _is_gone(pid: int) -> bool:
    """Tell whether there is surely no process of this number. Windows cannot be asked: there `os.kill` kills."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's
        return False
    return False


def _place() -> str:
    """Return a checksum of where the numbers of processes are those of this one."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not on Linux
        namespace = ""
    return f"{crc32(f'{platform.node()} {namespace}'.encode()):08x}"
