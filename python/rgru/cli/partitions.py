"""Jobs over the files of a folder, which can be resumed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rgru.cli.columnar import ENDINGS, open_table
from rgru.cli.errors import CommandError, explained
from rgru.cli.files import STANDARD, check_output

if TYPE_CHECKING:
    from rgru.cli.job import Done, Job

_KEY = b"rgru.predict"
"""In the metadata of an output's schema: what it was made of."""


def predict_folder(job: Job, data: str, output: str, *, resume: bool) -> tuple[list[Done], int]:
    """Predict for each table of a folder; its subfolders are the output's, too.

    Parameters
    ----------
    job : Job
    data : str
        A folder. Files count whose names end like tables and begin neither with "." nor with "_".
    output : str
        A folder, which may not be there yet.
    resume : bool
        Whether to pass over outputs that are there. One that was made of another model, with other options or of a
        file that has changed since is made anew.

    Returns
    -------
    done : list of Done
    passed : int
        The outputs that were there.

    Raises
    ------
    CommandError
        If there is no table, an output is there without `resume` or is none of this kind, or as `Job.run`; what was
        written by then stays.
    """
    source, target = Path(data), Path(output)
    if output == STANDARD or (target.exists() and not target.is_dir()):
        raise CommandError(f"--output: expected a folder, as DATA is one, got {output}")
    with explained(output):
        target.mkdir(exist_ok=True)
    if source.resolve() == target.resolve() or source.resolve() in target.resolve().parents:
        raise CommandError(f"--output: expected a folder outside of DATA, got {output}")
    parts = sorted(path.relative_to(source) for path in source.rglob("*") if _is_table(path.relative_to(source), path))
    if not parts:
        raise CommandError(f"{data}: expected files ending in {', '.join(ENDINGS)}, got none")
    model = hashlib.sha256(Path(job.model).read_bytes()).hexdigest()
    todo: list[tuple[Path, Path, bytes]] = []
    for part in parts:
        mark = _mark(job, model, source / part)
        if not (target / part).exists():
            todo.append((source / part, target / part, mark))
        elif not resume:
            raise CommandError(f"--output: expected no {target / part} yet; --resume goes on with what is there")
        elif _mark_of(target / part) != mark:
            todo.append((source / part, target / part, mark))
    done = []
    for before, after, mark in todo:
        with explained(str(after.parent)):
            after.parent.mkdir(parents=True, exist_ok=True)
        check_output(str(after), "--output", inputs=(job.model,))
        done.append(job.run(str(before), str(after), {_KEY: mark}))
    return done, len(parts) - len(todo)


def _is_table(part: Path, path: Path) -> bool:
    hidden = any(name.startswith((".", "_")) for name in part.parts)
    return not hidden and path.suffix.lower() in ENDINGS and path.is_file()


def _mark(job: Job, model: str, source: Path) -> bytes:
    """What tells an output of this job from any other."""
    state = source.stat()
    options = [job.sequence, job.keep, job.column, job.proba, job.lenient]
    return json.dumps({"model": model, "data": [state.st_size, state.st_mtime_ns], "options": options}).encode()


def _mark_of(output: Path) -> bytes:
    """The mark of a file that is there; one without it is somebody else's."""
    with open_table(str(output)) as table:
        mark: bytes | None = (table.schema.metadata or {}).get(_KEY)
    if mark is None:
        raise CommandError(f"--output: expected files of an earlier run, got {output}, which is none")
    return mark
