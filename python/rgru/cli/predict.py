"""``rgru predict``: a column of predictions added to a table, batch by batch."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rgru
from rgru.cli.columnar import open_output, open_table
from rgru.cli.columns import find_sequences, prediction_arrays, prediction_fields
from rgru.cli.errors import CommandError, explained
from rgru.cli.files import check_output
from rgru.cli.machine import add_options
from rgru.cli.progress import rows_bar
from rgru.estimators import GRUClassifier, GRURegressor
from rgru.estimators.sequences import check_finite
from rgru.integrations.arrow import ragged_from_arrow
from rgru.io import read_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterator

    import pyarrow as pa

    from rgru.cli.columnar import Table
    from rgru.ragged import Ragged


@dataclass(frozen=True)
class Done:
    """What a prediction has done: rows, and the seconds it took, reading and writing included."""

    rows: int
    seconds: float


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "predict",
        help="add predictions to a table of any size",
        description="Predict for each row of DATA with a model that `rgru fit` or save() has written. The output has "
        "all columns of DATA, and the predictions. Tables are Parquet or Arrow IPC; the work is done batch by batch: "
        "memory does not grow with the table.",
    )
    parser.add_argument("model", metavar="MODEL", help="model file")
    parser.add_argument(
        "data", metavar="DATA", help="Parquet or Arrow IPC file; - reads an Arrow IPC stream from stdin"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="Parquet file, or Arrow IPC file if it ends in .arrow, .feather or .ipc; - writes an Arrow IPC stream to "
        "stdout. A file appears whole or not at all",
    )
    parser.add_argument(
        "--sequence", metavar="COL", help="list column of sequences (default: as in training, else the only one)"
    )
    parser.add_argument(
        "--column", metavar="NAME", default="prediction", help="name of the new column (default: %(default)s)"
    )
    parser.add_argument(
        "--proba", action="store_true", help="add NAME_proba too: the probabilities, in the order of `rgru info MODEL`"
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_output(args.output, "--output", inputs=(args.data, args.model))
    predict_table(
        args.model,
        args.data,
        args.output,
        sequence=args.sequence,
        column=args.column,
        proba=args.proba,
        device=args.device,
    )


def predict_table(
    model: str,
    data: str,
    output: str,
    *,
    sequence: str | None = None,
    column: str = "prediction",
    proba: bool = False,
    device: str = "cpu",
) -> Done:
    """Read a table, predict, write it with the predictions; paths and names as on the command line.

    Raises
    ------
    CommandError
        If the model or the table cannot be read, does not fit, or the output cannot be written.
    """
    import pyarrow as pa

    estimator, trained_on = _load(model)
    estimator.set_params(device=device)
    if proba and not isinstance(estimator, GRUClassifier):
        raise CommandError(f"--proba: expected a classifier, got a {type(estimator).__name__} in {model}")
    started = time.perf_counter()
    with open_table(data) as table:
        if sequence is None and trained_on in table.schema.names:
            sequence = trained_on
        name = find_sequences(table, sequence)
        fields = prediction_fields(estimator, column, proba)
        for field in fields:
            if field.name in table.schema.names:
                raise CommandError(f"--column: expected a name that {table.name} does not have, got {field.name!r}")
        schema = table.schema
        for field in fields:
            schema = schema.append(field)
        rows = 0
        with (
            explained(output),
            rows_bar(table.num_rows) as bar,
            open_output(output, schema) as write,
            closing(_predicted(estimator, table, name, fields)) as predicted,
        ):
            for batch, columns in predicted:
                write(pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema))
                rows += batch.num_rows
                bar.update(batch.num_rows)
    return Done(rows, time.perf_counter() - started)


def _load(path: str) -> tuple[GRUClassifier | GRURegressor, str | None]:
    """The model, and the column of sequences that it was trained on, where `rgru fit` did that."""
    with explained(path):
        estimator = rgru.load(path)
        _, config = read_config(path)
    if not isinstance(estimator, (GRUClassifier, GRURegressor)):
        raise CommandError(f"{path}: expected a classifier or regressor, got a {type(estimator).__name__}")
    columns = config.get("columns")
    return estimator, columns.get("sequence") if isinstance(columns, dict) else None


def _predicted(
    estimator: GRUClassifier | GRURegressor, table: Table, name: str, fields: list[pa.Field]
) -> Generator[tuple[pa.RecordBatch, list[pa.Array]]]:
    """Each batch of the table with its predictions, of the sequences in column `name`.

    On a GPU one or two batches are read ahead, so that reading, copying and computing overlap.
    """
    under_way: deque[tuple[pa.RecordBatch, Ragged]] = deque()

    def inputs() -> Iterator[Ragged]:
        first = 0
        for batch in table.batches(None):
            with explained(f"{table.name}, rows {first} to {first + batch.num_rows - 1}"):
                x = estimator._input(_sequences(batch, name, estimator.n_features_in_, first))
            under_way.append((batch, x))
            first += batch.num_rows
            yield x

    rows = 0
    with closing(estimator._predict_each(inputs())) as predictions:
        while True:
            with explained(f"{table.name}, from row {rows}"):
                predicted = next(predictions, None)
                if predicted is None:
                    return
                batch, x = under_way.popleft()
                columns = prediction_arrays(estimator, x, predicted, fields)
            rows += batch.num_rows
            yield batch, columns


def _sequences(batch: pa.RecordBatch, name: str, width: int, first: int) -> Ragged:
    """The sequences of a batch whose first row is row `first` of the table."""
    what = f"column {name!r}"
    x = ragged_from_arrow(batch.column(name), width=width, name=what, first=first)
    if x.values.shape[1] != width:
        raise ValueError(f"{what}: expected {width} numbers per step as in training, got {x.values.shape[1]}")
    check_finite(what, x, first)
    return x
