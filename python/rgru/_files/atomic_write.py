"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rgru._files.drafts import draft_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def sync_names(folder: Path) -> None:
    """See to it that new names in a folder outlive a power cut, where the system has a way to.

    Raises
    ------
    OSError
    """
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def whole_file(path: str | os.PathLike[str], named: Callable[[Path], object] = sync_names) -> Iterator[Path]:
    """Give a draft beside `path` to write to; it becomes `path` when the block ends without an error, else it vanishes.

    A file that is replaced passes its mode on, and its owner and group where the system allows that.

    Parameters
    ----------
    path : path_like
        Of a regular file, which is replaced, or of none. Symbolic links are followed, and stay.
    named : callable
        Is given the folder when the file has its name, to sync it: now, or once for many files.

    Raises
    ------
    OSError
        If `path` is a folder, a pipe, a device or a socket, or a file that must not be written; if the draft cannot be
        written or put in its place. The error names `path`.
    """
    try:
        target = Path(path).resolve()  # through a symbolic link, not over it
    except RuntimeError as error:  # how Python before 3.13 tells a loop of links
        raise OSError(None, "Symbolic links lead back to themselves", os.fspath(path)) from error
    # Not tempfile: its files are for the owner alone, and the new file would keep that mode.
    draft = draft_beside(target)
    try:
        if _replaced(path) is not None:  # nobody may read in the draft what the file keeps from them
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        old = _replaced(path)
        if old is not None:
            _take_over(draft, old)
        draft.replace(target)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(draft):
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        draft.unlink(missing_ok=True)
    named(target.parent)


_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "a folder"),
    (stat.S_ISFIFO, errno.EINVAL, "a pipe"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket"),
)


def _replaced(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the state of the file that is to be replaced, or None if there is none.

    Raises
    ------
    OSError
        If it is no regular file, or must not be written.
    """
    try:
        # Of the path as it came: /dev/stdout and the like resolve to names that are not there.
        old = Path(path).stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(old.st_mode):
        found = ((code, kind) for test, code, kind in _KINDS if test(old.st_mode))
        code, kind = next(found, (errno.EINVAL, "a device"))
        raise OSError(code, f"expected a regular file or a new name, got {kind}", os.fspath(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return old


def _take_over(draft: Path, old: os.stat_result) -> None:
    """Give a draft the owner, the group and the mode of the file that it replaces."""
    mode = stat.S_IMODE(old.st_mode)
    if hasattr(os, "chown"):
        try:
            os.chown(draft, old.st_uid, old.st_gid)
        except PermissionError:
            try:
                os.chown(draft, -1, old.st_gid)
            except PermissionError:
                mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3  # another group: no more than all others have
            mode &= ~(stat.S_ISUID | stat.S_ISGID)
    draft.chmod(mode)
