"""``rgru predict``: add columns of predictions to a table, or to each table of a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgru._cli.errors import CommandError, explained
from rgru._cli.files import STANDARD, check_output
from rgru._cli.folder_job import parts_of_folder, remove_drafts
from rgru._cli.job import Job, Part
from rgru._cli.runtime_options import add_options
from rgru._cli.writers import ENDINGS
from rgru._files.drafts import remove_abandoned

if TYPE_CHECKING:
    from rgru._cli.job import Done


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "predict",
        help="add predictions to tables of any size",
        description="Predict for each row of DATA with a model that `rgru fit` or save() has written. The output has "
        "the columns of DATA and the predictions. Tables are Parquet or Arrow IPC, and are processed batch by batch, "
        "so that memory does not grow with the table; reading and writing overlap with computing. If DATA is a folder, "
        "files that cannot be read are reported at the end, with exit code 1; all others are processed.",
    )
    parser.add_argument("model", metavar="MODEL", help="model file")
    parser.add_argument(
        "data",
        metavar="DATA",
        help="Parquet or Arrow IPC file, or a folder of them; - reads an Arrow IPC stream from stdin",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="Parquet file, Arrow IPC file if it ends in .arrow, .feather or .ipc, or CSV file if it ends in .csv; - "
        "writes an Arrow IPC stream to stdout; if DATA is a folder, the folder for files of the same names. Files are "
        "written atomically",
    )
    parser.add_argument(
        "--sequence",
        metavar="COL",
        action="append",
        help="list column of sequences; may be repeated for columns whose features are concatenated (default: as in "
        "training, else the only one)",
    )
    parser.add_argument(
        "--keep",
        metavar="COL",
        action="append",
        help="column to write besides the predictions; may be repeated (default: all, except lists for CSV, which "
        "cannot hold them)",
    )
    parser.add_argument(
        "--column",
        metavar="NAME=KIND",
        action="append",
        type=_column,
        help="column to append: its name, and its kind: label or probability (in the order of `rgru info MODEL`) for a "
        "classifier, value for a regressor or a model; may be repeated (default: one named prediction, with the labels "
        "or values)",
    )
    parser.add_argument(
        "--on-error",
        choices=("raise", "null"),
        default="raise",
        help="for rows with nulls, NaN or steps of a wrong width: end with an error, or predict null and report their "
        "number (default: %(default)s)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="for a folder, skip files whose predictions an earlier run has written, and remove drafts of killed runs: "
        "your hidden files .PID-...tmp whose process has ended on this machine, or that are a day old",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return 1 if some files of a folder could not be predicted."""
    folder = args.data != STANDARD and Path(args.data).is_dir()
    if not folder:
        if args.resume:
            raise CommandError(f"--resume: expected a folder as DATA, got {args.data}")
        check_output(args.output, "--output", inputs=(args.data, args.model))
        if args.output != STANDARD and Path(args.output).suffix.lower() not in ENDINGS:
            endings = ", ".join(ENDINGS[1:])
            raise CommandError(f"--output: expected an ending {endings}, or none for Parquet, got {args.output}")
    job = Job.load(
        args.model,
        sequence=args.sequence,
        keep=args.keep,
        outputs=_outputs(args.column),
        on_error=args.on_error,
        device=args.device,
    )
    if not folder:
        if args.output != STANDARD:
            with explained(args.output):
                remove_abandoned(Path(args.output).parent)  # of killed runs
        _report_nulls(job.run([Part(args.data, args.output)]))
        return 0
    parts, passed = parts_of_folder(job, args.data, args.output, resume=args.resume)
    removed = remove_drafts(args.data, args.output) if args.resume else 0
    failures: list[CommandError] = []
    try:
        done = job.run(parts, failures)
    finally:  # also if another error ends the job
        for error in failures:
            print(f"rgru: error: {error}", file=sys.stderr)
    before = f"; {passed} had been written before" if passed else ""
    drafts = f"; {removed} drafts of killed runs removed" if removed else ""
    print(f"{done.rows:,} rows in {len(parts) - len(failures)} files written{before}{drafts}")
    _report_nulls(done)
    if failures:
        print(f"rgru: {len(failures)} of {len(parts)} files could not be predicted", file=sys.stderr)
    return 1 if failures else 0


def _report_nulls(done: Done) -> None:
    if done.failed:
        print(f"rgru: {done.failed:,} of {done.rows:,} predictions are null", file=sys.stderr)


def _column(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=KIND, such as p=probability, got {text!r}")
    return name, kind


def _outputs(columns: list[tuple[str, str]] | None) -> dict[str, str] | None:
    names = [name for name, _ in columns or ()]
    if len(set(names)) < len(names):
        raise CommandError(f"--column: expected different names, got {', '.join(names)}")
    return dict(columns) if columns else None
