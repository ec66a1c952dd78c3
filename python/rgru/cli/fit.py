"""``rgru fit``: a model trained on two columns of a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgru.cli.columnar import open_table
from rgru.cli.columns import find_sequences, find_target
from rgru.cli.errors import CommandError, explained
from rgru.cli.files import STANDARD, check_output
from rgru.cli.machine import add_options
from rgru.cli.targets import default_task, targets
from rgru.estimators import GRUClassifier, GRURegressor
from rgru.estimators.sequences import check_finite
from rgru.integrations.arrow import ragged_from_arrow
from rgru.integrations.names import quoted
from rgru.io import save
from rgru.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return None if text == "none" else kind(text)

    convert.__name__ = f"{kind.__name__} or none"  # argparse names it in errors
    return convert


# Option, its parameter of the estimators, type (None: a switch), help.
_HYPER_PARAMETERS: tuple[tuple[str, str, Callable[[str], Any] | None, str], ...] = (
    ("--hidden-size", "hidden_size", int, "units of each layer and direction"),
    ("--num-layers", "num_layers", int, "layers"),
    ("--bidirectional", "bidirectional", None, "walk the sequences from their ends, too"),
    ("--reset-after", "reset_after", None, "the cell of PyTorch and cuDNN"),
    ("--dropout", "dropout", float, "share of features hidden in training"),
    ("--pooling", "pooling", str, "last, mean, or, to regress a list of targets, every"),
    ("--standardize", "standardize", None, "shift and scale each feature to mean 0 and deviation 1"),
    ("--learning-rate", "learning_rate", float, "Adam's step size at the start; falls to 0"),
    ("--batch-size", "batch_size", int, "sequences per step of Adam"),
    ("--max-epochs", "max_epochs", int, "passes over the data, at most"),
    ("--validation-fraction", "validation_fraction", float, "share of the rows to watch the loss on; 0: none"),
    ("--patience", "patience", _or_none(int), "stop after so many epochs without a lower loss, or none"),
    ("--max-grad-norm", "max_grad_norm", _or_none(float), "largest norm of the gradients of a batch, or none"),
    ("--dtype", "dtype", str, "float32 or float64"),
    ("--seed", "random_state", int, "makes the training reproducible"),
)


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fit",
        help="train a model on a table",
        description="Train a classifier or regressor on two columns of DATA: a list column of sequences, and targets.",
    )
    parser.add_argument(
        "data", metavar="DATA", help="Parquet or Arrow IPC file; - reads an Arrow IPC stream from stdin"
    )
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="model file to write (safetensors)")
    parser.add_argument(
        "--sequence",
        metavar="COL",
        action="append",
        help="list column of sequences; given several times, columns whose features stand side by side (default: the "
        "only one)",
    )
    parser.add_argument("--target", metavar="COL", help="column to predict (default: the only other one)")
    parser.add_argument(
        "--task",
        choices=("classify", "regress"),
        help="default: regress if the targets are floats or lists, else classify",
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the training curve")
    add_options(parser)
    group = parser.add_argument_group("hyper-parameters")
    defaults = GRUClassifier._defaults()
    for option, name, kind, text in _HYPER_PARAMETERS:
        arguments: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if kind is None else {"type": kind}
        if kind is not None:
            arguments["metavar"] = "X"
        shown = str(defaults[name]).replace("None", "none")
        arguments["help"] = f"{text} (default: {shown})"
        group.add_argument(option, dest=name, default=argparse.SUPPRESS, **arguments)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    for option, path in (("--output", args.output), ("--plot", args.plot)):
        if path == STANDARD:
            raise CommandError(f"{option}: expected a file, got -")
        if path is not None:
            check_output(path, option, inputs=(args.data,))
    if args.plot is not None and Path(args.plot).resolve() == Path(args.output).resolve():
        raise CommandError(f"--plot: expected another file than --output, got {args.plot}")
    given = vars(args)
    parameters = {name: given[name] for _, name, _, _ in _HYPER_PARAMETERS if name in given} | {"device": args.device}
    estimator, columns = fit_table(
        args.data, sequence=args.sequence, target=args.target, task=args.task, parameters=parameters
    )
    save_model(estimator, columns, args.output)
    if args.plot is not None:
        save_plot(estimator, args.plot)
    print(summary(estimator))
    print(f"model: {args.output}")
    if args.plot is not None:
        print(f"training curve: {args.plot}")


def fit_table(
    data: str,
    *,
    sequence: list[str] | None = None,
    target: str | None = None,
    task: str | None = None,
    parameters: dict[str, Any],
) -> tuple[GRUClassifier | GRURegressor, dict[str, Any]]:
    """Train on a table; gives the estimator, and the columns that it was trained on, for `save_model`.

    Raises
    ------
    CommandError
        If the table cannot be read, or does not fit.
    """
    import pyarrow as pa

    with open_table(data) as table:
        names = find_sequences(table, sequence)
        answers = find_target(table, target, names)
        fields = [field for field in table.schema if field.name in (*names, answers)]
        batches = list(table.batches([field.name for field in fields]))
        whole = pa.Table.from_batches(batches, pa.schema(fields))
    classify = (task or default_task(whole.schema.field(answers).type)) == "classify"
    estimator: GRUClassifier | GRURegressor = GRUClassifier() if classify else GRURegressor()
    with explained(table.name):
        x = ragged_from_arrow(whole[names[0]] if len(names) == 1 else whole.select(names), name=quoted(names))
        check_finite(quoted(names), x)
        y = targets(whole[answers], answers, classify, parameters.get("pooling") == "every")
    with explained(f"{table.name} (X: {', '.join(names)}, y: {answers})"):
        estimator.set_params(verbose=True, **parameters).fit(x, y)
    return estimator.set_params(verbose=False), {"sequence": names, "target": answers}


def save_model(estimator: GRUClassifier | GRURegressor, columns: dict[str, Any], path: str) -> None:
    """Write a model file that knows its columns.

    Raises
    ------
    CommandError
        If it cannot be written.
    """
    with explained(path):
        save(path, estimator._tensors(), {**estimator._config(), "columns": columns}, kind=type(estimator).__name__)


def save_plot(estimator: GRUClassifier | GRURegressor, path: str, title: str = "") -> None:
    """Write the training curve as PNG.

    Raises
    ------
    CommandError
        If it cannot be written.
    """
    from rgru.plot import training_curve

    score = "accuracy" if isinstance(estimator, GRUClassifier) else "R²"
    with explained(path), whole_file(path) as draft:
        draft.write_bytes(training_curve(estimator.history_, title=title, score_name=score))


def summary(estimator: GRUClassifier | GRURegressor) -> str:
    """Tell in a line how the training went."""
    history = estimator.history_
    rate = sum(history.sequences_per_second) / estimator.n_iter_
    text = f"{estimator.n_iter_} epochs at {rate:,.0f} sequences/s"
    if not history.validation_loss:
        return f"{text}; training loss {history.train_loss[-1]:.4g}"
    best = history.best_epoch
    score = "accuracy" if isinstance(estimator, GRUClassifier) else "R^2"
    return (
        f"{text}; best epoch {best + 1}: validation loss {history.validation_loss[best]:.4g}, "
        f"{score} {history.validation_score[best]:.4f}"
    )
