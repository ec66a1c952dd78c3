"""Ray Data: predictions by a pool of actors, and sequences of events after a shuffle by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._optional_imports import needed
from rgru._runtime import as_threads, set_num_threads
from rgru._validation.scalars import as_int
from rgru.integrations._append_predictions import Predictions
from rgru.integrations.events import Events
from rgru.integrations.model_reference import Shipped

if TYPE_CHECKING:
    import os

    import pyarrow as pa
    import ray.data

    from rgru._data.column_names import Names
    from rgru.arrow._kinds import Kinds, OnError
    from rgru.integrations.model_reference import AnyModel


class Predictor:
    """An actor class for ``map_batches``, with ``batch_format="pyarrow"``: each actor loads the model once.

    Parameters
    ----------
    model, sequences, outputs, on_error, keep
        As in `rgru.integrations._append_predictions.Predictions`.
    num_threads : int, optional
        By default RGRU_NUM_THREADS, else what the actor reserves of the CPUs: Ray sets OMP_NUM_THREADS to its
        ``num_cpus``.

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
        if num_threads is not None:
            set_num_threads(as_threads("num_threads", num_threads))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Append the predictions to a batch."""
        return self._predictions(table)


def predict(
    dataset: ray.data.Dataset,
    model: str | os.PathLike[str] | AnyModel | Shipped,
    sequences: Names,
    *,
    outputs: Kinds | None = None,
    on_error: OnError = "raise",
    keep: Names | None = None,
    num_threads: int | None = None,
    **options: Any,
) -> ray.data.Dataset:
    """Append predictions to a dataset: ``map_batches`` with `Predictor`, the arguments judged before anything runs.

    Parameters
    ----------
    dataset : ray.data.Dataset
    model, sequences, outputs, on_error, keep, num_threads
        As in `Predictor`.
    **options
        Of ``map_batches``: ``compute``, ``num_cpus``, ``batch_size``...

    Returns
    -------
    ray.data.Dataset

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is none of these, the file cannot be read, or the dataset, as far as it knows its columns, lacks
        one.
    ImportError
        If Ray Data is not installed.
    """
    needed("ray.data", "ray")
    shipped = Shipped(model)
    predictions = Predictions(shipped, sequences, outputs=outputs, on_error=on_error, keep=keep)
    as_threads("num_threads", num_threads)
    columns = dataset.columns(fetch_if_missing=False)
    if columns is not None:
        predictions.kept(columns)
    arguments = {"outputs": outputs, "on_error": on_error, "keep": keep, "num_threads": num_threads}
    return dataset.map_batches(
        Predictor,
        fn_constructor_args=(shipped, sequences),
        fn_constructor_kwargs=arguments,
        batch_format="pyarrow",
        **options,
    )


def sequences_from_events(
    dataset: ray.data.Dataset, key: Names, time: Names, features: Names, *, num_blocks: int | None = None
) -> ray.data.Dataset:
    """Make sequences of rows of events: one row a key, sorted by time.

    The events are shuffled by key; those of a key meet in one block, which has to fit into a worker's memory.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With one row an event, in any order.
    key, time, features : str or list of str
        As in `rgru.integrations.events.Events`.
    num_blocks : int, optional
        The number of blocks after the shuffle; by default `DataContext.default_hash_shuffle_parallelism`.

    Returns
    -------
    ray.data.Dataset
        The columns of the key, and lists of those of the time and the features; its rows in any order.

    Raises
    ------
    TypeError, ValueError
        If a name is given twice or, as far as the dataset knows its columns, is none of them; or if Ray's shuffle is
        not by hash. When the dataset is executed, a null or NaN in the key or the time raises a ValueError, a struct or
        the like a TypeError.
    ImportError
        If Ray Data is not installed.
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
    # Without a batch size a batch is a whole block, so that no key is torn apart.
    return by_key.map_batches(_Cut(events), batch_format="pyarrow", batch_size=None)


class _Cut:
    """Events in any order, whole keys, to sequences."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._events.cut(self._events.sorted(table))
