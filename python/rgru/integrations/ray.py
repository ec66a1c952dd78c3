"""Ray Data: predictions by a pool of actors, and sequences of events after a shuffle by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._optional_imports import needed
from rgru._runtime import set_num_threads
from rgru._validation.scalars import as_int
from rgru.integrations._append_predictions import Predictions
from rgru.integrations.events import Events
from rgru.integrations.model_reference import ModelReference

if TYPE_CHECKING:
    import os

    import pyarrow as pa
    import ray.data

    from rgru._data.column_names import Names
    from rgru.arrow._kinds import Kinds, OnError
    from rgru.integrations.model_reference import AnyModel


class Predictor(Predictions):
    """An actor class for ``map_batches`` with ``batch_format="pyarrow"``: each actor loads the model once.

    Parameters
    ----------
    model : path_like, GRU, Model, GRUClassifier, GRURegressor or ModelReference
        The model, or the path of its file.
    sequences : str or list of str
        The column of sequences, or the list columns with their features. Tensors of (steps, features) or (steps,) are
        accepted, too.
    outputs : mapping of str to str, optional
        The new columns by name, each with its kind of output as in `rgru.arrow.predict`. The model runs once for all
        of them. By default ``{"prediction": kind}``, with "last" for a GRU, "label" for a classifier and "value" for a
        regressor.
    on_error : {"raise", "null"}, default "raise"
        Treatment of rows that are not valid sequences for the model, as in `rgru.arrow.predict`.
    keep : str or list of str, optional
        The columns to keep in addition to the predictions; by default all.
    num_threads : int, optional
        The number of threads of an actor. By default RGRU_NUM_THREADS, else the CPUs that the actor reserves: Ray sets
        OMP_NUM_THREADS to its ``num_cpus``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import rgru
    >>> from rgru.integrations.ray import Predictor
    >>> predictor = Predictor(rgru.GRU(2, 5), "x", outputs={"h": "last"})
    >>> predictor(pa.table({"id": [1], "x": [[[0.1, 0.2], [0.3, 0.4]]]})).column_names
    ['id', 'x', 'h']
    """

    def _start(self) -> None:
        """Set the number of threads, since each actor makes its own predictor."""
        if self._num_threads is not None:
            set_num_threads(self._num_threads)


def predict(
    dataset: ray.data.Dataset,
    model: str | os.PathLike[str] | AnyModel | ModelReference,
    sequences: Names,
    *,
    outputs: Kinds | None = None,
    on_error: OnError = "raise",
    keep: Names | None = None,
    num_threads: int | None = None,
    **options: Any,
) -> ray.data.Dataset:
    """Append predictions to a dataset by ``map_batches`` with `Predictor`, after a validation of the arguments.

    Parameters
    ----------
    dataset : ray.data.Dataset
        The dataset. If it knows its columns, their names are validated, too.
    model : path_like, GRU, Model, GRUClassifier, GRURegressor or ModelReference
        The model, or the path of its file.
    sequences : str or list of str
        The column of sequences, or the list columns with their features, as in `Predictor`.
    outputs : mapping of str to str, optional
        The new columns by name, each with its kind of output, as in `Predictor`.
    on_error : {"raise", "null"}, default "raise"
        Treatment of rows that are not valid sequences for the model.
    keep : str or list of str, optional
        The columns to keep in addition to the predictions; by default all.
    num_threads : int, optional
        The number of threads of an actor, as in `Predictor`.
    **options
        Options of ``map_batches``: ``compute``, ``num_cpus``, ``batch_size``...

    Returns
    -------
    ray.data.Dataset
        The dataset with the new columns.

    Raises
    ------
    ImportError
        If Ray Data is not installed.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import ray
    >>> import rgru
    >>> from rgru.integrations.ray import predict
    >>> dataset = ray.data.from_arrow(pa.table({"id": [1], "x": [[[0.1, 0.2], [0.3, 0.4]]]}))
    >>> predict(dataset, rgru.GRU(2, 5), "x", outputs={"h": "last"}).columns()
    ['id', 'x', 'h']
    """
    needed("ray.data", "ray")
    arguments: dict[str, Any] = {"outputs": outputs, "on_error": on_error, "keep": keep, "num_threads": num_threads}
    reference = ModelReference(model)
    predictions = Predictions(reference, sequences, **arguments)
    columns = dataset.columns(fetch_if_missing=False)
    if columns is not None:
        predictions._kept(columns)
    return dataset.map_batches(
        Predictor,
        fn_constructor_args=(reference, sequences),
        fn_constructor_kwargs=arguments,
        batch_format="pyarrow",
        **options,
    )


def sequences_from_events(
    dataset: ray.data.Dataset, key: Names, time: Names, features: Names, *, num_blocks: int | None = None
) -> ray.data.Dataset:
    """Group rows of events into sequences: one row per key, sorted by time.

    The events are shuffled by key; those of a key end up in one block, which has to fit into a worker's memory.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Events, one per row, in any order. If it knows its columns, their names are validated at once.
    key, time, features : str or list of str
        Columns as in `rgru.integrations.events.Events`.
    num_blocks : int, optional
        The number of blocks after the shuffle; by default `DataContext.default_hash_shuffle_parallelism`.

    Returns
    -------
    ray.data.Dataset
        The key columns, and the time and feature columns as lists; rows in any order.

    Raises
    ------
    ValueError
        If Ray's shuffle is not by hash. During execution: if the key or the time contains a null or NaN.
    TypeError
        During execution: if the key or the time is of a type that has no order, such as a struct.
    ImportError
        If Ray Data is not installed.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import ray
    >>> from rgru.integrations.ray import sequences_from_events
    >>> events = ray.data.from_arrow(pa.table({"user": ["ada", "ada"], "time": [20, 10], "a": [0.2, 0.1]}))
    >>> sequences_from_events(events, "user", "time", "a", num_blocks=1).take_all()
    [{'user': 'ada', 'time': [10, 20], 'a': [0.1, 0.2]}]
    """
    needed("ray.data", "ray")
    events = Events(key, time, features)
    if num_blocks is not None:
        num_blocks = as_int("num_blocks", num_blocks, 1)
    columns = dataset.columns(fetch_if_missing=False)
    if columns is not None:
        events.check(columns)
    strategy = dataset.context.shuffle_strategy
    if strategy.value.startswith("sort"):  # which ignores the key
        raise ValueError(
            f"dataset: expected a DataContext.shuffle_strategy by hash, such as 'hash_shuffle', got {strategy.value!r}"
        )
    blocks = dataset.context.default_hash_shuffle_parallelism if num_blocks is None else num_blocks
    by_key = dataset.select_columns(list(events.columns)).repartition(blocks, keys=list(events.key))
    # Without a batch size a batch is a whole block, so that no key is split.
    return by_key.map_batches(_Cut(events), batch_format="pyarrow", batch_size=None)


class _Cut:
    """A function from events in any order, all of each key, to sequences."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._events.cut(self._events.sorted(table))
