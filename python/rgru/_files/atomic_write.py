"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rgru._files.drafts import new_draft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def sync_names(folder: Path) -> None:
    """Sync a folder, so that new names in it survive a power failure; does nothing on systems other than POSIX.

    Raises
    ------
    OSError
        If the folder cannot be opened or synced.
    """
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def whole_file(path: str | os.PathLike[str], named: Callable[[Path], object] = sync_names) -> Iterator[Path]:
    """Yield a draft in the folder of `path`; it is renamed to `path` if the block ends without an error, else removed.

    The new file takes over the mode of a file that it replaces, and its owner and group where the system allows that.

    Parameters
    ----------
    path : path_like
        A regular file, which is replaced, or a new name. Symbolic links are followed, and stay.
    named : callable
        Called with the folder after the renaming, to sync it: at once, or once for many files.

    Yields
    ------
    pathlib.Path
        The draft.

    Raises
    ------
    OSError
        If `path` is a folder, a pipe, a device, a socket or a file without write permission, or if the draft cannot be
        written or renamed. The error names `path`.
    """
    try:
        target = Path(path).resolve()  # replace the target of a symbolic link, not the link
    except RuntimeError as error:  # a loop of links, in Python before 3.13
        raise OSError(None, "Symbolic links lead back to themselves", os.fspath(path)) from error
    # Not tempfile: its files are readable by their owner only, and the new file would keep that mode.
    draft = new_draft(target)
    try:
        if _replaced(path) is not None:  # the draft must not be readable by users who cannot read the file
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
        with suppress(NotADirectoryError):  # below a file there is no draft
            draft.unlink(missing_ok=True)
    named(target.parent)


_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "a folder"),
    (stat.S_ISFIFO, errno.EINVAL, "a pipe"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket"),
)


def _replaced(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of the file that is to be replaced, or None if there is none.

    Raises
    ------
    OSError
        If it is not a regular file, or lacks write permission.
    """
    try:
        # Of the unresolved path: /dev/stdout and the like resolve to names that do not exist.
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
    """Set a draft's owner, group and mode to those of the file that it replaces."""
    mode = stat.S_IMODE(old.st_mode)
    if hasattr(os, "chown"):
        try:
            os.chown(draft, old.st_uid, old.st_gid)
        except PermissionError:
            try:
                os.chown(draft, -1, old.st_gid)
            except PermissionError:
                mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3  # another group gets no more than all others
            mode &= ~(stat.S_ISUID | stat.S_ISGID)
    draft.chmod(mode)
