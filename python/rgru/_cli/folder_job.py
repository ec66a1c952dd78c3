"""Jobs over the files of a folder, which can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rgru._cli.errors import CommandError, explained
from rgru._cli.files import STANDARD
from rgru._cli.job import MARK, Part
from rgru._cli.readers import ENDINGS, open_table
from rgru._files.drafts import remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rgru._cli.job import Job

_HIDDEN = (".", "_")
"""How names begin that are none of tables: drafts, checksums, marks of engines."""


def parts_of_folder(job: Job, data: str, output: str, *, resume: bool) -> tuple[list[Part], int]:
    """Find the tables of a folder, and make that of their outputs; its subfolders are the output's, too.

    Parameters
    ----------
    job : Job
    data : str
        A folder. Files count whose names end like tables, in it and below, unless a name begins with "." or "_".
    output : str
        A folder, which may not be there yet.
    resume : bool
        Whether to pass over outputs that are there. One that was made of another model, with other options or of a
        file that has changed since is made anew.

    Returns
    -------
    parts : list of Part
        What there is to do.
    passed : int
        The outputs that were there.

    Raises
    ------
    CommandError
        If there is no table, an output is there without `resume` or is none of this kind, or the folder cannot be made.
    """
    source, target = Path(data), Path(output)
    if output == STANDARD or (target.exists() and not target.is_dir()):
        raise CommandError(f"--output: expected a folder, as DATA is one, got {output}")
    ends = source.resolve(), target.resolve()
    if ends[0] in (ends[1], *ends[1].parents) or ends[1] in ends[0].parents:
        raise CommandError(f"--output: expected a folder neither in DATA nor around it, got {output}")
    with explained(data):
        names = sorted(path.relative_to(source) for path in _tables(source))
    if not names:
        raise CommandError(f"{data}: expected files ending in {', '.join(ENDINGS)}, got none")
    model = hashlib.sha256(Path(job.model).read_bytes()).hexdigest()
    parts: list[Part] = []
    for name in names:
        there = target / name
        mark = _mark(job, model, source / name)
        if there.exists() and not resume:
            raise CommandError(f"--output: expected no {there} yet; --resume goes on with what is there")
        if not there.exists() or _mark_of(there) != mark:
            parts.append(Part(str(source / name), str(there), mark))
    with explained(output):
        target.mkdir(exist_ok=True)
    return parts, len(names) - len(parts)


def remove_drafts(data: str, output: str) -> int:
    """Remove what killed runs have left in the folder of outputs and its subfolders; returns the number of files.

    Raises
    ------
    CommandError
        If one cannot be removed.
    """
    with explained(output):
        folders = {(Path(output) / path.relative_to(data)).parent for path in _tables(Path(data))}
        return sum(map(remove_abandoned, folders))


def _tables(source: Path) -> Iterator[Path]:
    """Give what looks like tables below a folder, through links too; the job finds out what cannot be read."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(source, onerror=_raise, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            raise CommandError(f"{folder}: expected each folder once, got a link to one that is there already")
        seen.add(place)
        subfolders[:] = [name for name in subfolders if not name.startswith(_HIDDEN)]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(_HIDDEN) and path.suffix.lower() in ENDINGS:
                yield path


def _raise(error: OSError) -> NoReturn:
    raise CommandError(f"{error.filename}: {error.strerror}")


def _mark(job: Job, model: str, source: Path) -> bytes | None:
    """What tells an output of this job from any other; None if the file is not there: a broken link."""
    try:
        state = source.stat()
    except OSError:
        return None
    options = [job.sequence, job.keep, job.outputs, job.on_error, job.estimator.device]
    return json.dumps({"model": model, "data": [state.st_size, state.st_mtime_ns], "options": options}).encode()


def _mark_of(output: Path) -> bytes:
    """The mark of a file that is there; one without it is somebody else's."""
    with open_table(str(output)) as table:
        mark: bytes | None = (table.schema.metadata or {}).get(MARK)
    if mark is None:
        raise CommandError(f"--output: expected files of an earlier run, got {output}, which is none")
    return mark
