"""PySpark: predictions and sequences of events by ``mapInArrow``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

from rgru._optional_imports import needed
from rgru._runtime import as_threads, set_num_threads
from rgru._validation.scalars import as_int
from rgru.integrations._append_predictions import Predictions
from rgru.integrations.events import Events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from rgru._data.column_names import Names
    from rgru.arrow._kinds import Kinds, OnError
    from rgru.integrations.model_reference import AnyModel, Shipped

    _Function: TypeAlias = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


class Predictor:
    """A function for ``mapInArrow``: batches in, the same with predictions out.

    Parameters
    ----------
    model, sequences, outputs, on_error, keep
        As in `rgru.integrations._append_predictions.Predictions`.
    num_threads : int, optional
        By default RGRU_NUM_THREADS as the workers have it, else the CPUs of the task (``spark.task.cpus``).

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is none of these, or the file cannot be read.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | AnyModel | Shipped,
        sequences: Names,
        *,
        outputs: Kinds | None = None,
        on_error: OnError = "raise",
        keep: Names | None = None,
        num_threads: int | None = None,
    ) -> None:
        self._predictions = Predictions(model, sequences, outputs=outputs, on_error=on_error, keep=keep)
        self._threads = as_threads("num_threads", num_threads)

    def schema(self, schema: StructType) -> StructType:
        """Give the schema of the output for a frame of such a schema.

        Raises
        ------
        ValueError
            If a column is missing, or one that stays has a new one's name.
        ImportError
            If PySpark is not installed.
        """
        types = needed("pyspark.sql.types", "spark")
        from_arrow = needed("pyspark.sql.pandas.types", "spark").from_arrow_type
        kept = [schema[name] for name in self._predictions.kept(schema.names)]
        fields = self._predictions.fields()
        made: StructType = types.StructType(
            kept + [types.StructField(field.name, from_arrow(_spark_type(field.type))) for field in fields]
        )
        return made

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Append the predictions to each batch of a partition."""
        import pyarrow as pa

        _use_share(self._threads)
        for batch in batches:
            made = self._predictions(batch)
            # Those that stay go back as they came.
            columns = [
                column.cast(_spark_type(column.type)) if name in self._predictions.names else column
                for name, column in zip(made.schema.names, made.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=made.schema.names)


def predict(
    frame: DataFrame,
    model: str | os.PathLike[str] | AnyModel | Shipped,
    sequences: Names,
    *,
    outputs: Kinds | None = None,
    on_error: OnError = "raise",
    keep: Names | None = None,
    num_threads: int | None = None,
) -> DataFrame:
    """Append predictions to a frame: ``mapInArrow`` with `Predictor` and its schema, whatever the columns' names.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
    model, sequences, outputs, on_error, keep, num_threads
        As in `Predictor`.

    Returns
    -------
    pyspark.sql.DataFrame

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is none of these, the file cannot be read, or the frame lacks a column.
    ImportError
        If PySpark is not installed.
    """
    predictor = Predictor(model, sequences, outputs=outputs, on_error=on_error, keep=keep, num_threads=num_threads)
    return _map_in_arrow(frame, predictor, predictor.schema(frame.schema))


def sequences_from_events(
    frame: DataFrame, key: Names, time: Names, features: Names, *, num_partitions: int | None = None
) -> DataFrame:
    """Make sequences of rows of events: one row a key, sorted by time.

    The events are shuffled by key and sorted within their partitions; a key's events have to fit into a worker's
    memory, a partition does not.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        With one row an event, in any order.
    key, time, features : str or list of str
        As in `rgru.integrations.events.Events`.
    num_partitions : int, optional
        The number of partitions after the shuffle; by default ``spark.sql.shuffle.partitions``.

    Returns
    -------
    pyspark.sql.DataFrame
        The columns of the key, and arrays of those of the time and the features; its rows in any order.

    Raises
    ------
    TypeError, ValueError
        If a name is not one of the frame's columns, or comes twice, or a key is a struct or the like. A null or NaN in
        the key or the time raises a PythonException when the frame is computed.
    ImportError
        If PySpark is not installed.
    """
    types = needed("pyspark.sql.types", "spark")
    to_arrow = needed("pyspark.sql.pandas.types", "spark").to_arrow_schema
    events = Events(key, time, features)
    partitions: list[Any] = [] if num_partitions is None else [as_int("num_partitions", num_partitions, 1)]
    events.check(frame.columns)
    chosen = frame.select(*_quoted(events.columns))
    schema = [chosen.schema[name] for name in events.key]
    events.check_types("key", to_arrow(types.StructType(schema)))
    for name in (*events.time, *events.features):
        schema.append(types.StructField(name, types.ArrayType(chosen.schema[name].dataType)))
    by_key = chosen.repartition(*partitions, *_quoted(events.key))
    ordered = by_key.sortWithinPartitions(*_quoted((*events.key, *events.time)))
    return _map_in_arrow(ordered, _Cut(events), types.StructType(schema))


def _map_in_arrow(frame: DataFrame, function: _Function, schema: StructType) -> DataFrame:
    """Do as ``frame.mapInArrow``, which looks for columns with dots in their names in structs."""
    plain = frame.toDF(*[f"column{i}" for i in range(len(frame.columns))])
    return plain.mapInArrow(_Named(function, frame.columns), schema)


class _Named:
    """A function of batches with columns of these names."""

    def __init__(self, function: _Function, names: list[str]) -> None:
        self._function = function
        self._names = names

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        return self._function(pa.RecordBatch.from_arrays(batch.columns, names=self._names) for batch in batches)


def _quoted(names: Iterable[str]) -> list[str]:
    """Give names of columns as Spark takes them for what they are: a dot would lead into a struct."""
    return ["`" + name.replace("`", "``") + "`" for name in names]


class _Cut:
    """Events in order, in batches, to sequences."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in self._events.cut_each(batches):
            yield from table.to_batches()


def _use_share(threads: int | None) -> None:
    """Let a worker compute with so many threads, by default the environment's, else the task's CPUs."""
    context = needed("pyspark", "spark").TaskContext.get()
    if threads is None and context is not None and "RGRU_NUM_THREADS" not in os.environ:
        threads = context.cpus()
    set_num_threads(threads)  # None, too: the last task of this worker may have had an argument


def _spark_type(kind: pa.DataType) -> Any:
    """Give the Arrow type for Spark, which has neither lists of fixed size nor unsigned numbers."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_spark_type(kind.value_type))
    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}
    return wider.get(kind, kind)
