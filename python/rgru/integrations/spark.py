"""PySpark: predictions and sequences of events by ``mapInArrow``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

from rgru._optional_imports import needed
from rgru._runtime import set_num_threads
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
    from rgru.integrations.model_reference import AnyModel, ModelReference

    _Function: TypeAlias = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


class Predictor(Predictions):
    """A function for ``mapInArrow``, from batches to the same batches with predictions.

    Parameters
    ----------
    model : path_like, GRU, Model, GRUClassifier, GRURegressor or ModelReference
        The model, or the path of its file.
    sequences : str or list of str
        The column of sequences, or the list columns with their features.
    outputs : mapping of str to str, optional
        The new columns by name, each with its kind of output as in `rgru.arrow.predict`. The model runs once for all
        of them. By default ``{"prediction": kind}``, with "last" for a GRU, "label" for a classifier and "value" for a
        regressor.
    on_error : {"raise", "null"}, default "raise"
        Treatment of rows that are not valid sequences for the model, as in `rgru.arrow.predict`.
    keep : str or list of str, optional
        The columns to keep in addition to the predictions; by default all.
    num_threads : int, optional
        The number of threads of a task. By default RGRU_NUM_THREADS of the workers, else the CPUs of the task
        (``spark.task.cpus``).

    Examples
    --------
    >>> import pyarrow as pa
    >>> import pyspark
    >>> import rgru
    >>> from rgru.integrations.spark import Predictor
    >>> predictor = Predictor(rgru.GRU(2, 5), "x", outputs={"h": "last"}, num_threads=1)
    >>> batch = pa.record_batch({"id": [1], "x": [[[0.1, 0.2], [0.3, 0.4]]]})
    >>> [batch.schema.names for batch in predictor(iter([batch]))]
    [['id', 'x', 'h']]
    """

    def schema(self, schema: StructType) -> StructType:
        """Return the schema of the output for a frame's schema.

        Parameters
        ----------
        schema : pyspark.sql.types.StructType
            The frame's schema.

        Returns
        -------
        pyspark.sql.types.StructType
            The schema with the new columns.

        Raises
        ------
        ValueError
            If a column is missing, or a kept column has the name of a new one.
        ImportError
            If PySpark is not installed.
        """
        types = needed("pyspark.sql.types", "spark")
        from_arrow = needed("pyspark.sql.pandas.types", "spark").from_arrow_type
        kept = [schema[name] for name in self._kept(schema.names)]
        made: StructType = types.StructType(
            kept + [types.StructField(field.name, from_arrow(_spark_type(field.type))) for field in self._fields()]
        )
        return made

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Append the predictions to each batch of a partition."""
        import pyarrow as pa

        _set_task_threads(self._num_threads)
        for batch in batches:
            made = super().__call__(batch)
            # Columns of the input keep their types.
            columns = [
                column.cast(_spark_type(column.type)) if name in self._outputs else column
                for name, column in zip(made.schema.names, made.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=made.schema.names)


def predict(
    frame: DataFrame,
    model: str | os.PathLike[str] | AnyModel | ModelReference,
    sequences: Names,
    *,
    outputs: Kinds | None = None,
    on_error: OnError = "raise",
    keep: Names | None = None,
    num_threads: int | None = None,
) -> DataFrame:
    """Append predictions to a frame by ``mapInArrow`` with `Predictor` and its schema, for columns of any name.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        The frame.
    model : path_like, GRU, Model, GRUClassifier, GRURegressor or ModelReference
        The model, or the path of its file.
    sequences : str or list of str
        The column of sequences, or the list columns with their features.
    outputs : mapping of str to str, optional
        The new columns by name, each with its kind of output, as in `Predictor`.
    on_error : {"raise", "null"}, default "raise"
        Treatment of rows that are not valid sequences for the model.
    keep : str or list of str, optional
        The columns to keep in addition to the predictions; by default all.
    num_threads : int, optional
        The number of threads of a task, as in `Predictor`.

    Returns
    -------
    pyspark.sql.DataFrame
        The frame with the new columns.

    Raises
    ------
    ImportError
        If PySpark is not installed.

    Examples
    --------
    >>> from pyspark.sql import SparkSession
    >>> import rgru
    >>> from rgru.integrations.spark import predict
    >>> spark = SparkSession.builder.getOrCreate()
    >>> frame = spark.createDataFrame([(1, [[0.1, 0.2], [0.3, 0.4]])], ["id", "x"])
    >>> predict(frame, rgru.GRU(2, 5), "x", outputs={"h": "last"}).columns
    ['id', 'x', 'h']
    """
    predictor = Predictor(model, sequences, outputs=outputs, on_error=on_error, keep=keep, num_threads=num_threads)
    return _map_in_arrow(frame, predictor, predictor.schema(frame.schema))


def sequences_from_events(
    frame: DataFrame, key: Names, time: Names, features: Names, *, num_partitions: int | None = None
) -> DataFrame:
    """Group rows of events into sequences: one row per key, sorted by time.

    The events are shuffled by key and sorted within their partitions; a key's events have to fit into a worker's
    memory, a partition does not.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        Events, one per row, in any order.
    key, time, features : str or list of str
        Columns as in `rgru.integrations.events.Events`.
    num_partitions : int, optional
        The number of partitions after the shuffle; by default ``spark.sql.shuffle.partitions``.

    Returns
    -------
    pyspark.sql.DataFrame
        The key columns, and the time and feature columns as arrays; rows in any order.

    Raises
    ------
    TypeError
        If the key is of a type that has no order, such as a struct.
    PythonException
        When the frame is computed: if the key or the time contains a null or NaN.
    ImportError
        If PySpark is not installed.

    Examples
    --------
    >>> from pyspark.sql import SparkSession
    >>> from rgru.integrations.spark import sequences_from_events
    >>> spark = SparkSession.builder.getOrCreate()
    >>> events = spark.createDataFrame([("ada", 20, 0.2), ("ada", 10, 0.1)], ["user", "time", "a"])
    >>> sequences_from_events(events, "user", "time", "a").collect()
    [Row(user='ada', time=[10, 20], a=[0.1, 0.2])]
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
    """Call ``frame.mapInArrow`` with plain column names, since it takes names with dots for fields of structs."""
    plain = frame.toDF(*[f"column{i}" for i in range(len(frame.columns))])
    return plain.mapInArrow(_Named(function, frame.columns), schema)


class _Named:
    """A function that renames the columns of batches and passes them on."""

    def __init__(self, function: _Function, names: list[str]) -> None:
        self._function = function
        self._names = names

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        return self._function(pa.RecordBatch.from_arrays(batch.columns, names=self._names) for batch in batches)


def _quoted(names: Iterable[str]) -> list[str]:
    """Quote column names, in which Spark would take a dot for the field of a struct."""
    return ["`" + name.replace("`", "``") + "`" for name in names]


class _Cut:
    """A function from batches of ordered events to sequences."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in self._events.cut_each(batches):
            yield from table.to_batches()


def _set_task_threads(threads: int | None) -> None:
    """Set the number of threads of a worker, by default to the environment's, else to the task's CPUs."""
    context = needed("pyspark", "spark").TaskContext.get()
    if threads is None and context is not None and "RGRU_NUM_THREADS" not in os.environ:
        threads = context.cpus()
    set_num_threads(threads)  # also None, since an earlier task of this worker may have set another number


def _spark_type(kind: pa.DataType) -> Any:
    """Return the Arrow type for Spark, which has neither fixed-size lists nor unsigned numbers."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_spark_type(kind.value_type))
    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}
    return wider.get(kind, kind)
