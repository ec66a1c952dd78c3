"""``rgru fit``: train a model on two columns of a table."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgru._cli.errors import CommandError, Terminated
from rgru._cli.files import STANDARD, check_output
from rgru._cli.hyper_parameters import add_hyper_parameters, given_hyper_parameters
from rgru._cli.picture import PICTURES, save_plot
from rgru._cli.runtime_options import add_options
from rgru._cli.training import Training, summary

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fit",
        help="train a model on a table",
        description="Train a classifier or regressor on two columns of DATA: a list column of sequences, and targets. "
        "Ctrl-C ends the training and writes the model of the completed epochs, with exit code 130.",
    )
    parser.add_argument(
        "data", metavar="DATA", help="Parquet or Arrow IPC file; - reads an Arrow IPC stream from stdin"
    )
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="model file to write (safetensors)")
    parser.add_argument(
        "--sequence",
        metavar="COL",
        action="append",
        help="list column of sequences; may be repeated for columns whose features are concatenated (default: the only "
        "one)",
    )
    parser.add_argument("--target", metavar="COL", help="column to predict (default: the only other one)")
    parser.add_argument(
        "--task",
        choices=("classify", "regress"),
        help="default: regress if the targets are floats or lists, else classify",
    )
    parser.add_argument(
        "--plot",
        metavar="PICTURE",
        help="file for a plot of the training curve: PNG, or by its ending .jpg, .jpeg, .svg or .pdf",
    )
    add_options(parser)
    add_hyper_parameters(parser)
    parser.set_defaults(run=run)


_OTHER_FORMATS = {
    *(".onnx", ".pt", ".pth", ".keras", ".h5", ".pkl", ".joblib", ".npz", ".npy", ".json"),
    *(".parquet", ".arrow", ".feather", ".ipc", ".csv", ".png", ".svg", ".pdf"),
}
"""Endings that would promise something else."""


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    for option, path in (("--output", args.output), ("--plot", args.plot)):
        if path == STANDARD:
            raise CommandError(f"{option}: expected a file, got -")
        if path is not None:
            check_output(path, option, inputs=(args.data,))
    ending = Path(args.output).suffix.lower()
    if ending in _OTHER_FORMATS:
        raise CommandError(
            f"--output: expected an ending .safetensors, the format of models, or none, got {args.output}"
        )
    if args.plot is not None and Path(args.plot).suffix.lower() not in PICTURES:
        raise CommandError(f"--plot: expected an ending {', '.join(PICTURES[1:])}, or none for PNG, got {args.plot}")
    if args.plot is not None and Path(args.plot).resolve() == Path(args.output).resolve():
        raise CommandError(f"--plot: expected a file other than --output, got {args.plot}")
    parameters = given_hyper_parameters(args) | {"device": args.device}
    training = Training.read(
        args.data, sequence=args.sequence, target=args.target, task=args.task, parameters=parameters
    )
    try:
        training.fit()
        _write(training, args)
        _report(training, args)
    except (KeyboardInterrupt, Terminated) as stop:
        # Further signals are ignored from here on; the draft of an interrupted output has been removed.
        if not training.fitted:
            raise
        _write(training, args)
        with suppress(OSError):  # the terminal may be closed
            _report(training, args)
            sys.stdout.flush()  # main does not flush after an interruption
        epochs = f"{training.estimator.n_iter_} of {training.estimator.max_epochs} epochs"
        raise type(stop)(f"the model after {epochs} is in {args.output}") from stop


def _write(training: Training, args: argparse.Namespace) -> None:
    """Write the model and the training curve."""
    training.save(args.output)
    if args.plot is not None:
        save_plot(training.estimator, args.plot)


def _report(training: Training, args: argparse.Namespace) -> None:
    """Print a summary of the training and the names of the files."""
    print(summary(training.estimator))
    print(f"model: {args.output}")
    if args.plot is not None:
        print(f"training curve: {args.plot}")
