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
"""The first characters of names that are ignored: drafts, checksums, marks of engines."""


def parts_of_folder(job: Job, data: str, output: str, *, resume: bool) -> tuple[list[Part], int]:
    """Find the tables of a folder and its subfolders, and create the folder of their outputs.

    Parameters
    ----------
    job : Job
    data : str
        A folder. Its tables are the files, also in subfolders, with an ending in `ENDINGS`; names that begin with "."
        or "_" are ignored.
    output : str
        A folder, which need not exist; it gets the same subfolders.
    resume : bool
        Whether to skip outputs that exist. Those of another model, of other options, or of an input that has changed
        since are written again.

    Returns
    -------
    parts : list of Part
        The tables to predict.
    passed : int
        The number of outputs that are skipped.

    Raises
    ------
    CommandError
        If there is no table; an output exists without `resume`, or is not an output of this command; or the folder
        cannot be created.
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
        path = target / name
        mark = _mark(job, model, source / name)
        if path.exists() and not resume:
            raise CommandError(f"--output: expected no {path} yet; --resume continues an earlier run")
        if not path.exists() or _mark_of(path) != mark:
            parts.append(Part(str(source / name), str(path), mark))
    with explained(output):
        target.mkdir(exist_ok=True)
    return parts, len(names) - len(parts)


def remove_drafts(data: str, output: str) -> int:
    """Remove drafts of killed runs in the folder of outputs and its subfolders; return their number.

    Raises
    ------
    CommandError
        If one cannot be removed.
    """
    with explained(output):
        folders = {(Path(output) / path.relative_to(data)).parent for path in _tables(Path(data))}
        return sum(map(remove_abandoned, folders))


def _tables(source: Path) -> Iterator[Path]:
    """Yield the files below a folder that have a table's ending, following links; the job reports unreadable ones."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(source, onerror=_raise, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            raise CommandError(f"{folder}: expected each folder once, got a link to a folder that was already visited")
        seen.add(place)
        subfolders[:] = [name for name in subfolders if not name.startswith(_HIDDEN)]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(_HIDDEN) and path.suffix.lower() in ENDINGS:
                yield path


def _raise(error: OSError) -> NoReturn:
    raise CommandError(f"{error.filename}: {error.strerror}")


def _mark(job: Job, model: str, source: Path) -> bytes | None:
    """Return the mark that identifies an output of this job; None if the input is a broken link."""
    try:
        state = source.stat()
    except OSError:
        return None
    options = [job.sequence, job.keep, job.outputs, job.on_error, job.estimator.device]
    return json.dumps({"model": model, "data": [state.st_size, state.st_mtime_ns], "options": options}).encode()


def _mark_of(output: Path) -> bytes:
    """Return the mark of an existing output; refuse a file without one, which is not an output of this command."""
    with open_table(str(output)) as table:
        mark: bytes | None = (table.schema.metadata or {}).get(MARK)
    if mark is None:
        raise CommandError(f"--output: expected files of an earlier run, got {output}, which is not one")
    return mark
