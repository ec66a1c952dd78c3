"""``rgru fit``: a model trained on two columns of a table."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgru.cli.columnar import open_table
from rgru.cli.columns import find_sequences, find_target
from rgru.cli.errors import CommandError, Terminated, explained
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

    from rgru.ragged import Ragged


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
        description="Train a classifier or regressor on two columns of DATA: a list column of sequences, and targets. "
        "Ctrl-C ends the training and keeps the model as far as it came, with exit code 130.",
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
    training = Training.read(
        args.data, sequence=args.sequence, target=args.target, task=args.task, parameters=parameters
    )
    try:
        training.fit()
        _write(training, args)
    except (KeyboardInterrupt, Terminated) as stop:
        # No further signal gets here; an output that was being written has vanished.
        if not training.fitted:
            raise
        _write(training, args)
        sys.stdout.flush()  # nothing is flushed after an interruption
        epochs = f"{training.estimator.n_iter_} of {training.estimator.max_epochs} epochs"
        raise type(stop)(f"the model as far as it came, {epochs}, is in {args.output}") from stop


def _write(training: Training, args: argparse.Namespace) -> None:
    """Write the model and the training curve, and tell how the training went."""
    training.save(args.output)
    if args.plot is not None:
        save_plot(training.estimator, args.plot)
    print(summary(training.estimator))
    print(f"model: {args.output}")
    if args.plot is not None:
        print(f"training curve: {args.plot}")


@dataclass(frozen=True, eq=False)
class Training:
    """An estimator, and the columns of a table that it is to be trained on.

    Attributes
    ----------
    estimator : GRUClassifier or GRURegressor
    x : Ragged
    y : array_like
        As `targets` gives it.
    table : str
        What to call the table.
    columns : dict
        What a model file keeps of the columns: the names of those of sequences, and the target's.
    """

    estimator: GRUClassifier | GRURegressor
    x: Ragged
    y: Any
    table: str
    columns: dict[str, Any]

    @classmethod
    def read(
        cls,
        data: str,
        *,
        sequence: list[str] | None = None,
        target: str | None = None,
        task: str | None = None,
        parameters: dict[str, Any],
    ) -> Training:
        """Read a table.

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
        estimator.set_params(**parameters)
        return cls(estimator, x, y, table.name, {"sequence": names, "target": answers})

    @property
    def fitted(self) -> bool:
        """Whether there is something to save: at least one epoch is done."""
        return hasattr(self.estimator, "model_")

    def fit(self) -> None:
        """Train.

        Raises
        ------
        CommandError
            If the table or a hyper-parameter does not fit.
        """
        self.estimator.set_params(verbose=True)
        try:
            with explained(f"{self.table} (X: {', '.join(self.columns['sequence'])}, y: {self.columns['target']})"):
                self.estimator.fit(self.x, self.y)
        finally:
            self.estimator.set_params(verbose=False)

    def save(self, path: str) -> None:
        """Write a model file that knows its columns.

        Raises
        ------
        CommandError
            If it cannot be written.
        """
        config = {**self.estimator._config(), "columns": self.columns}
        with explained(path):
            save(path, self.estimator._tensors(), config, kind=type(self.estimator).__name__)


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
