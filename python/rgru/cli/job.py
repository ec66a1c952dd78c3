"""What ``rgru predict`` does to a table: read, predict and write, all three at a time."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rgru
from rgru.arrow import estimator_input
from rgru.cli.columnar import open_output, open_table
from rgru.cli.columns import find_sequences, prediction_arrays, prediction_fields
from rgru.cli.errors import CommandError, explained
from rgru.cli.files import STANDARD
from rgru.cli.overlap import ahead, behind
from rgru.cli.progress import rows_bar
from rgru.estimators import GRUClassifier, GRURegressor
from rgru.integrations.names import quoted
from rgru.io import read_config

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from rgru.cli.columnar import Table
    from rgru.ragged import Ragged


MARK = b"rgru.predict"
"""In the metadata of an output's schema: what it was made of."""


@dataclass(frozen=True)
class Done:
    """What a prediction has done.

    Attributes
    ----------
    rows : int
    failed : int
        Rows whose prediction is null.
    seconds : float
        Reading and writing included.
    computing : float
        Those of the seconds in which the model computed, whatever else went on.
    """

    rows: int
    failed: int
    seconds: float
    computing: float


@dataclass(frozen=True)
class Job:
    """A model, and what becomes of the columns of a table; options as on the command line.

    Attributes
    ----------
    model : str
        The model's path.
    estimator : GRUClassifier or GRURegressor
    trained_on : list of str
        The columns of sequences that it was trained on, where `rgru fit` did that.
    sequence, keep : list of str or None
    column : str
    proba : bool
    lenient : bool
        Whether a row that cannot be predicted is null, not an error.
    """

    model: str
    estimator: GRUClassifier | GRURegressor
    trained_on: list[str]
    sequence: list[str] | None
    keep: list[str] | None
    column: str
    proba: bool
    lenient: bool

    @classmethod
    def load(
        cls,
        model: str,
        *,
        sequence: list[str] | None = None,
        keep: list[str] | None = None,
        column: str = "prediction",
        proba: bool = False,
        lenient: bool = False,
        device: str = "cpu",
    ) -> Job:
        """Read a model file.

        Raises
        ------
        CommandError
            If it cannot be read, or is none of an estimator; or probabilities are asked for that it does not give.
        """
        with explained(model):
            estimator = rgru.load(model)
            _, config = read_config(model)
        if not isinstance(estimator, (GRUClassifier, GRURegressor)):
            raise CommandError(f"{model}: expected a classifier or regressor, got a {type(estimator).__name__}")
        if proba and not isinstance(estimator, GRUClassifier):
            raise CommandError(f"--proba: expected a classifier, got a {type(estimator).__name__} in {model}")
        estimator.set_params(device=device)
        columns = config.get("columns")
        trained_on = columns.get("sequence", []) if isinstance(columns, dict) else []
        trained_on = [trained_on] if isinstance(trained_on, str) else trained_on
        return cls(model, estimator, trained_on, sequence, keep, column, proba, lenient)

    def run(self, data: str, output: str, mark: bytes | None = None) -> Done:
        """Read a table, predict, write it with the predictions.

        Parameters
        ----------
        data, output : str
            Paths, or "-", as on the command line.
        mark : bytes, optional
            What is to be said of the output's making in the metadata of its schema.

        Raises
        ------
        CommandError
            If the table cannot be read, does not fit, or the output cannot be written.
        """
        import pyarrow as pa

        started = time.perf_counter()
        with open_table(data) as table:
            names = find_sequences(table, self._sequences(table))
            kept = self._kept(table)
            fields = prediction_fields(self.estimator, self.column, self.proba)
            for field in fields:
                if field.name in kept.names:
                    raise CommandError(f"--column: expected a name that {table.name} does not have, got {field.name!r}")
            metadata = {key: value for key, value in (kept.metadata or {}).items() if key != MARK}
            schema = pa.schema([*kept, *fields], metadata | ({MARK: mark} if mark else {}) or None)
            rows = failed = 0
            working = _Predicting(self, table, names, kept.names)
            with (
                explained("stdout" if output == STANDARD else output),
                rows_bar(table.num_rows) as bar,
                open_output(output, schema) as write,
                # As with stdin: nobody could call off a thread that waits for a reader.
                nullcontext(write) if output == STANDARD else behind(write) as put,
                closing(working.batches()) as batches,
            ):
                for columns in batches:
                    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
                    put(batch)
                    rows += batch.num_rows
                    failed += batch.column(len(kept)).null_count
                    bar.update(batch.num_rows)
        return Done(rows, failed, time.perf_counter() - started, working.computing)

    def _sequences(self, table: Table) -> list[str] | None:
        """The columns of sequences that were asked for, or else those of the training, as far as that is known."""
        if self.sequence:
            if self.sequence != self.trained_on and sorted(self.sequence) == sorted(self.trained_on):
                raise CommandError(f"--sequence: expected {', '.join(self.trained_on)} in this order, as in training")
            return self.sequence
        missing = [name for name in self.trained_on if name not in table.schema.names]
        if not missing:
            return self.trained_on
        if len(self.trained_on) > 1:
            there = ", ".join(table.schema.names)
            raise CommandError(f"{table.name}: expected {quoted(missing)} as in training (or --sequence), got {there}")
        return None

    def _kept(self, table: Table) -> pa.Schema:
        import pyarrow as pa

        if self.keep is None:
            return table.schema
        for name in self.keep:
            if name not in table.schema.names:
                raise CommandError(f"--keep: expected columns of {table.name}, got {name!r}")
        return pa.schema([field for field in table.schema if field.name in self.keep], table.schema.metadata)


@dataclass
class _Predicting:
    """The predictions of a table, batch by batch.

    Another thread reads ahead and makes the model's input; on a GPU, copying and computing overlap too.
    """

    job: Job
    table: Table
    names: list[str]
    kept: list[str]
    computing: float = 0.0

    def batches(self) -> Generator[list[pa.Array]]:
        """Give the columns of each batch of the output."""
        under_way: deque[tuple[pa.RecordBatch, Ragged, NDArray[np.bool_] | None]] = deque()
        waited = 0.0
        # Who writes to a pipe works ahead by itself, and a thread that waits for it could not be called off.
        prepared = nullcontext(self._prepared()) if self.table.is_stdin else closing(ahead(self._prepared()))

        def inputs(prepared: Iterator[tuple[pa.RecordBatch, Ragged, NDArray[np.bool_] | None]]) -> Iterator[Ragged]:
            nonlocal waited
            while True:
                start = time.perf_counter()
                item = next(prepared, None)
                waited += time.perf_counter() - start
                if item is None:
                    return
                under_way.append(item)
                yield item[1]

        rows = 0
        with prepared as items, closing(self.job.estimator._predict_each(inputs(items))) as predictions:
            while True:
                start, waited = time.perf_counter(), 0.0
                with explained(f"{self.table.name}, from row {rows}"):
                    predicted = next(predictions, None)
                    self.computing += time.perf_counter() - start - waited
                    if predicted is None:
                        return
                    batch, x, valid = under_way.popleft()
                    columns = prediction_arrays(self.job.estimator, x, predicted, self.job.proba, valid)
                rows += batch.num_rows
                yield [*(batch.column(name) for name in self.kept), *columns]

    def _prepared(self) -> Iterator[tuple[pa.RecordBatch, Ragged, NDArray[np.bool_] | None]]:
        """Each batch with the model's input, and which of its rows are valid, None for all."""
        what = quoted(self.names)
        estimator, first = self.job.estimator, 0
        needed = None if self.job.keep is None else [*self.kept, *self.names]
        for batch in self.table.batches(needed):
            with explained(f"{self.table.name}, rows {first} to {first + batch.num_rows - 1}"):
                one = batch.column(self.names[0]) if len(self.names) == 1 else batch.select(self.names)
                x, valid = estimator_input(estimator, one, name=what, lenient=self.job.lenient, first=first)
            yield batch, x, valid
            first += batch.num_rows
