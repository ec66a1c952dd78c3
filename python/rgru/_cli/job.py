"""The work of ``rgru predict`` on tables: read, predict and write, all three concurrently."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import rgru
from rgru._cli.columns import find_sequences, prediction_arrays, prediction_fields
from rgru._cli.errors import CommandError, explained
from rgru._cli.files import STANDARD
from rgru._cli.pipeline import ahead, at_once, behind
from rgru._cli.progress import rows_bar
from rgru._cli.readers import open_table
from rgru._cli.writers import Outputs, is_csv
from rgru._data.column_names import quoted
from rgru._files.model_file import read_config
from rgru.arrow._kinds import as_outputs
from rgru.arrow._model_rows import ModelRows, as_rows
from rgru.arrow._predict import estimator_input
from rgru.estimators import GRUClassifier, GRURegressor
from rgru.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from rgru._cli.readers import Table
    from rgru._data.ragged import Ragged
    from rgru.arrow._kinds import Kinds, OnError


MARK = b"rgru.predict"
"""The key, in the metadata of an output's schema, of the mark that identifies its model, input and options."""


@dataclass(frozen=True)
class Part:
    """A table of a job.

    Attributes
    ----------
    data, output : str
        Paths, or "-", as on the command line.
    mark : bytes, optional
        The value of `MARK` in the metadata of the output's schema.
    """

    data: str
    output: str
    mark: bytes | None = None


@dataclass
class Done:
    """The figures of a job.

    Attributes
    ----------
    rows : int
    failed : int
        Rows whose prediction is null.
    seconds : float
        The time in all, with reading and writing.
    computing : float
        The part of it in which the model computed, also if reading and writing went on.
    """

    rows: int = 0
    failed: int = 0
    seconds: float = 0.0
    computing: float = 0.0


@dataclass(frozen=True, eq=False)
class _Opened:
    """A table that is being read, with the path and schema of its output."""

    table: Table
    names: list[str]
    kept: list[str]
    output: str
    schema: pa.Schema


@dataclass(frozen=True)
class _Batch:
    """Rows with the model's input; `valid` marks the valid ones, None for all."""

    rows: pa.RecordBatch
    x: Ragged
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True)
class _End:
    """The end of a table, by an error or not."""

    error: CommandError | None = None


def _until_end(coming: Iterator[_Opened | _Batch | _End]) -> Iterator[_Batch]:
    """Yield the batches of an opened table up to its end; raise its error, if there is one."""
    for item in coming:
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        assert isinstance(item, _Batch)
        yield item


@dataclass(frozen=True)
class Job:
    """A model, and the choice of columns to read and write; options as on the command line.

    Attributes
    ----------
    model : str
        The model's path.
    estimator : ModelRows, GRUClassifier or GRURegressor
    trained_on : list of str
        The columns of sequences that it was trained on, if by `rgru fit`.
    sequence, keep : list of str or None
    outputs : mapping of str to str
        The new columns' names, and their kinds of output.
    on_error : {"raise", "null"}
        The treatment of rows that cannot be predicted.
    """

    model: str
    estimator: ModelRows | GRUClassifier | GRURegressor
    trained_on: list[str]
    sequence: list[str] | None
    keep: list[str] | None
    outputs: Kinds
    on_error: OnError

    @classmethod
    def load(
        cls,
        model: str,
        *,
        sequence: list[str] | None = None,
        keep: list[str] | None = None,
        outputs: Mapping[str, str] | None = None,
        on_error: OnError = "raise",
        device: str = "cpu",
    ) -> Job:
        """Read a model file.

        Raises
        ------
        CommandError
            If it cannot be read or holds a bare GRU, or the model does not have the kinds of `outputs`.
        """
        with explained(model):
            loaded = rgru.load(model)
            _, config = read_config(model)
        if not isinstance(loaded, (Model, GRUClassifier, GRURegressor)):
            raise CommandError(f"{model}: expected a model, classifier or regressor, got a {type(loaded).__name__}")
        try:
            columns_made = as_outputs("--column", outputs, loaded)
        except ValueError as error:
            raise CommandError(str(error)) from error
        estimator = as_rows(loaded)
        estimator.set_params(device=device)
        columns = config.get("columns")
        trained_on = columns.get("sequence", []) if isinstance(columns, dict) else []
        trained_on = [trained_on] if isinstance(trained_on, str) else trained_on
        return cls(model, estimator, trained_on, sequence, keep, columns_made, on_error)

    def run(self, parts: Sequence[Part], failures: list[CommandError] | None = None) -> Done:
        """Read tables, predict, and write them with the predictions, one after the other.

        One thread reads ahead and prepares the model's input, another one writes, across the boundaries of tables.

        Parameters
        ----------
        parts : sequence of Part
        failures : list of CommandError, optional
            The list to append errors to of tables that cannot be read or do not fit the model; they have no output, and
            the job goes on. None: the first such error ends the job.

        Raises
        ------
        CommandError
            If an output cannot be written, or, without `failures`, a table cannot be read or does not fit the model.
            The outputs before it are complete.
        """
        started, done = time.perf_counter(), Done()
        # The process at the other end of a pipe runs ahead anyway; a thread blocked on the pipe could not be cancelled.
        from_pipe = any(part.data == STANDARD for part in parts)
        to_pipe = any(part.output == STANDARD for part in parts)
        with (
            closing(self._items(parts)) as items,
            nullcontext(items) if from_pipe else closing(ahead(items)) as coming,
            Outputs() as outputs,
            nullcontext(at_once) if to_pipe else behind() as put,
        ):
            for item in coming:
                assert not isinstance(item, _Batch)
                # A table that cannot be opened yields only its end.
                error = item.error if isinstance(item, _End) else self._table(item, coming, outputs, put, done)
                if error is not None and failures is None:
                    raise error
                if error is not None and failures is not None:
                    failures.append(error)
        done.seconds = time.perf_counter() - started
        return done

    def _items(self, parts: Sequence[Part]) -> Generator[_Opened | _Batch | _End]:
        """Read the tables, and yield for each one: itself as opened, its batches, its end."""
        fields = prediction_fields(self.estimator, self.outputs)
        for part in parts:
            try:
                with open_table(part.data) as table:
                    opened = self._opened(table, part, fields)
                    yield opened
                    yield from self._read(opened)
            except CommandError as error:
                yield _End(error)
            else:
                yield _End()

    def _table(
        self,
        opened: _Opened,
        coming: Iterator[_Opened | _Batch | _End],
        outputs: Outputs,
        put: Callable[[Callable[[], object]], None],
        done: Done,
    ) -> CommandError | None:
        """Predict for one table up to its end; return its error, if there is one."""
        import pyarrow as pa

        batches, failure = _until_end(coming), None
        rows = nulls = 0
        with (
            rows_bar(opened.table.num_rows) as bar,
            closing(self._predicted(opened, batches, done)) as predicted,
        ):
            while True:
                try:
                    columns = next(predicted, None)
                except CommandError as error:
                    failure = error
                    break
                if columns is None:
                    break
                batch = pa.RecordBatch.from_arrays(columns, schema=opened.schema)
                put(partial(outputs.write, opened.output, opened.schema, batch))
                rows += batch.num_rows
                nulls += batch.column(len(opened.kept)).null_count
                bar.update(batch.num_rows)
        if failure is None:
            put(partial(outputs.end, opened.output, opened.schema))
            done.rows += rows
            done.failed += nulls
            return None
        put(outputs.drop)
        with suppress(CommandError):  # one error is enough
            deque(batches, maxlen=0)
        return failure

    def _opened(self, table: Table, part: Part, fields: list[pa.Field]) -> _Opened:
        import pyarrow as pa

        names = find_sequences(table, self._sequences(table))
        kept = self._kept(table, is_csv(part.output))
        nested = [field.name for field in fields if is_csv(part.output) and pa.types.is_nested(field.type)]
        if nested:
            raise CommandError(f"--output: expected Parquet or Arrow IPC for lists ({quoted(nested)}), got CSV")
        for field in fields:
            if field.name in kept.names:
                raise CommandError(f"--column: expected a name that {table.name} does not have, got {field.name!r}")
        metadata = {key: value for key, value in (kept.metadata or {}).items() if key != MARK}
        schema = pa.schema([*kept, *fields], metadata | ({MARK: part.mark} if part.mark else {}) or None)
        return _Opened(table, names, kept.names, part.output, schema)

    def _read(self, opened: _Opened) -> Iterator[_Batch]:
        name, what, first = opened.table.name, quoted(opened.names), 0
        every = len(opened.kept) == len(opened.table.schema)
        needed = None if every else [*opened.kept, *opened.names]
        for rows in opened.table.batches(needed):
            with explained(f"{name}, rows {first} to {first + rows.num_rows - 1}"):
                one = rows.column(opened.names[0]) if len(opened.names) == 1 else rows.select(opened.names)
                x, valid = estimator_input(self.estimator, one, name=what, on_error=self.on_error, first=first)
            yield _Batch(rows, x, valid)
            first += rows.num_rows

    def _predicted(self, opened: _Opened, batches: Iterator[_Batch], done: Done) -> Generator[list[pa.Array]]:
        """Yield the output columns of each batch of a table; on a GPU, copying and computing overlap."""
        in_flight: deque[_Batch] = deque()
        waited = 0.0

        def inputs() -> Iterator[Ragged]:
            nonlocal waited
            while True:
                start = time.perf_counter()
                batch = next(batches, None)
                waited += time.perf_counter() - start
                if batch is None:
                    return
                in_flight.append(batch)
                yield batch.x

        first = 0
        with closing(self.estimator._predict_each(inputs())) as predictions:
            while True:
                start, waited = time.perf_counter(), 0.0
                with explained(f"{opened.table.name}, from row {first}"):
                    predicted = next(predictions, None)
                    done.computing += time.perf_counter() - start - waited
                    if predicted is None:
                        return
                    batch = in_flight.popleft()
                    added = prediction_arrays(self.estimator, batch.x, predicted, self.outputs.values(), batch.valid)
                first += batch.rows.num_rows
                yield [*(batch.rows.column(name) for name in opened.kept), *added]

    def _sequences(self, table: Table) -> list[str] | None:
        """Return the requested columns of sequences, or else those of the training; None if these are unknown."""
        if self.sequence:
            return self.sequence
        missing = [name for name in self.trained_on if name not in table.schema.names]
        if missing:
            there = ", ".join(table.schema.names)
            other = "" if len(self.trained_on) > 1 else "; --sequence can name another column with the same features"
            raise CommandError(f"{table.name}: expected {quoted(missing)} as in training, got {there}{other}")
        return self.trained_on or None

    def _kept(self, table: Table, flat: bool) -> pa.Schema:
        """Return the columns to write besides the predictions; with `flat`, without lists."""
        import pyarrow as pa

        nested = [field.name for field in table.schema if flat and pa.types.is_nested(field.type)]
        for name in self.keep or ():
            if name not in table.schema.names:
                raise CommandError(f"--keep: expected columns of {table.name}, got {name!r}")
            if name in nested:
                raise CommandError(f"--keep: expected no lists for CSV, got {name!r}")
        keep = set(table.schema.names) - set(nested) if self.keep is None else self.keep
        return pa.schema([field for field in table.schema if field.name in keep], table.schema.metadata)
