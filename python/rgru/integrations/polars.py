"""Polars: predictions as an expression, also for lazy frames and the streaming engine, and sequences of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.column_names import as_names, quoted
from rgru._optional_imports import needed
from rgru.arrow._kinds import as_kind
from rgru.arrow._predict import predict_all
from rgru.integrations.events import Events, refuse_gaps
from rgru.integrations.model_reference import ModelReference

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import polars as pl

    from rgru._data.column_names import Names
    from rgru.arrow._kinds import Kind, OnError
    from rgru.integrations.model_reference import AnyModel


class Predictor:
    """A function for ``map_batches``, from a series of sequences to a series of predictions.

    Parameters
    ----------
    model : path_like, GRU, Model, GRUClassifier, GRURegressor or ModelReference
        The model, or the path of its file.
    output : str, optional
        The kind of output, as in `rgru.arrow.predict`.
    on_error : {"raise", "null"}, default "raise"
        Treatment of rows that are not valid sequences for the model, as in `rgru.arrow.predict`.

    Attributes
    ----------
    dtype : polars.DataType
        The type of the predictions, for ``return_dtype``.

    Examples
    --------
    >>> import polars as pl
    >>> import rgru
    >>> from rgru.integrations.polars import Predictor
    >>> Predictor(rgru.GRU(1, 5))(pl.Series("x", [[0.1, 0.2], [0.3]])).dtype
    Array(Float32, shape=(5,))
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | AnyModel | ModelReference,
        *,
        output: Kind | None = None,
        on_error: OnError = "raise",
    ) -> None:
        self._model = ModelReference(model)
        self._kind = as_kind(output, self._model.get())
        self._on_error = on_error
        self.dtype = self._predict(self._model.no_sequences(), "column").dtype

    def __call__(self, series: pl.Series) -> pl.Series:
        """Predict for each row of a series of lists or, with several columns of features, of structs of lists.

        Errors name the series, and the row within Polars's batch.
        """
        columns = series.struct.fields if series.dtype == needed("polars", "polars").Struct else [series.name]
        return self._predict(series, f"{quoted(columns)} (rows counted within a batch)").alias(series.name)

    def _predict(self, column: Any, name: str) -> pl.Series:
        (made,) = predict_all(self._model.get(), column, [self._kind], on_error=self._on_error, name=name)
        series: pl.Series = needed("polars", "polars").Series(made)
        return series


def predict(
    model: str | os.PathLike[str] | AnyModel | ModelReference,
    sequences: Names,
    *,
    output: Kind | None = None,
    on_error: OnError = "raise",
) -> pl.Expr:
    """Return an expression for predictions.

    It is elementwise, so that lazy frames can optimise around it, and the streaming engine runs it batch by batch.

    Parameters
    ----------
    model : path_like, GRU, Model, GRUClassifier, GRURegressor or ModelReference
        The model, or the path of its file.
    sequences : str or list of str
        The column of sequences, or the list columns with their features.
    output : str, optional
        The kind of output, as in `rgru.arrow.predict`.
    on_error : {"raise", "null"}, default "raise"
        Treatment of rows that are not valid sequences for the model, as in `rgru.arrow.predict`.

    Returns
    -------
    polars.Expr
        An expression with the name of the (first) column of sequences; ``with_columns(prediction=...)`` renames it.

    Raises
    ------
    ImportError
        If Polars is not installed.

    Examples
    --------
    >>> import polars as pl
    >>> import rgru
    >>> from rgru.integrations.polars import predict
    >>> frame = pl.DataFrame({"id": [1, 2], "x": [[0.1, 0.2], [0.3]]})
    >>> frame.with_columns(h=predict(rgru.GRU(1, 5), "x")).columns
    ['id', 'x', 'h']
    """
    polars = needed("polars", "polars")
    names = as_names("sequences", sequences)
    for name in names:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise ValueError(f"sequences: expected names of columns, got the pattern {name!r}")
    predictor = Predictor(model, output=output, on_error=on_error)
    column = polars.col(names[0]) if len(names) == 1 else polars.struct(*names)
    expression: pl.Expr = column.map_batches(predictor, return_dtype=predictor.dtype, is_elementwise=True)
    return expression


def sequences_from_events(frame: pl.LazyFrame | pl.DataFrame, key: Names, time: Names, features: Names) -> pl.LazyFrame:
    """Group rows of events into sequences: one row per key, sorted by time.

    Parameters
    ----------
    frame : polars.LazyFrame or polars.DataFrame
        Events, one per row, in any order.
    key, time, features : str or list of str
        Columns as in `rgru.integrations.events.Events`.

    Returns
    -------
    polars.LazyFrame
        The key columns, and the time and feature columns as lists; rows in any order.

    Raises
    ------
    ValueError
        When the frame is collected: if the key or the time contains a null or NaN.
    ImportError
        If Polars is not installed.

    Examples
    --------
    >>> import polars as pl
    >>> from rgru.integrations.polars import sequences_from_events
    >>> events = pl.DataFrame({"user": ["ada", "ada"], "time": [20, 10], "a": [0.2, 0.1]})
    >>> sequences_from_events(events, "user", "time", "a").collect().to_dicts()
    [{'user': 'ada', 'time': [10, 20], 'a': [0.1, 0.2]}]
    """
    polars = needed("polars", "polars")
    events = Events(key, time, features)
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    events.check(schema.names())
    checked = [
        polars.col(name).map_batches(_without_gaps(argument), return_dtype=schema[name], is_elementwise=True)
        for argument, names in (("key", events.key), ("time", events.time))
        for name in names
    ]
    lists = polars.col(*events.time, *events.features).sort_by(*events.time)
    sequences: pl.LazyFrame = lazy.with_columns(*checked).group_by(*events.key).agg(lists)
    return sequences


def _without_gaps(argument: str) -> Callable[[pl.Series], pl.Series]:
    def checked(series: pl.Series) -> pl.Series:
        nan = series.dtype.is_float() and bool(series.is_nan().any())
        refuse_gaps(argument, series.name, series.null_count(), nan)
        return series

    return checked
