"""Drafts of files: their names, and removal of those that no process will finish.

A draft is in the folder of its file and is called ``.PID-PLACE-RANDOM.tmp``: the process that writes it, a checksum of
the host and the process namespace (a container's) in which that number is valid, and eight random digits. A process
that is killed leaves its draft behind.
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
"""The place is optional, since the first versions did not write it."""

_DAY = 86_400.0


def new_draft(target: Path) -> Path:
    """Return a new name for a draft of `target`."""
    return target.with_name(f".{os.getpid()}-{_place()}-{os.urandom(4).hex()}.tmp")


def remove_abandoned(folder: Path) -> int:
    """Remove the drafts in a folder that no process will finish, and return their number.

    These are this user's drafts whose process ran here and is gone, and those that were not written to for a day,
    wherever their process ran: on another host of a network folder, in another container, or before its number was
    reused by another process. Other files stay.

    Parameters
    ----------
    folder : pathlib.Path
        The folder; one that does not exist has no drafts.

    Raises
    ------
    OSError
        If the folder cannot be read, or a draft cannot be removed.
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
    """Return whether no process of this number exists; always False on Windows, where `os.kill` would kill it."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process
        return False
    return False


def _place() -> str:
    """Return a checksum of the host and the process namespace of this process."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not on Linux
        namespace = ""
    return f"{crc32(f'{platform.node()} {namespace}'.encode()):08x}"
