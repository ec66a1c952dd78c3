"""Polars: predictions as an expression, for lazy frames and the streaming engine too, and sequences of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.column_names import as_names, quoted
from rgru._optional_imports import needed
from rgru.arrow._kinds import as_kind
from rgru.arrow._predict import predict_all
from rgru.integrations.events import Events, refuse_gaps
from rgru.integrations.model_reference import Shipped

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import polars as pl

    from rgru._data.column_names import Names
    from rgru.arrow._kinds import Kind, OnError
    from rgru.integrations.model_reference import AnyModel


class Predictor:
    """A function for ``map_batches``: a series of sequences in, a series of predictions out.

    Parameters
    ----------
    model : path_like, GRU, GRUClassifier, GRURegressor or Shipped
    output, on_error
        As in `rgru.arrow.predict`.

    Attributes
    ----------
    dtype : polars.DataType
        Of the predictions: the ``return_dtype``.

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is none of these, or the file cannot be read.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | AnyModel | Shipped,
        *,
        output: Kind | None = None,
        on_error: OnError = "raise",
    ) -> None:
        self._model = Shipped(model)
        self._kind = as_kind(output, self._model.get())
        self._on_error = on_error
        self.dtype = self._predict(self._model.no_sequences(), "column").dtype

    def __call__(self, series: pl.Series) -> pl.Series:
        """Predict for each row of a series of lists or, with several columns of features, of structs of lists.

        Raises
        ------
        TypeError, ValueError
            As `rgru.arrow.predict`; the message names the series, and the row within the batch that Polars made.
        """
        columns = series.struct.fields if series.dtype == needed("polars", "polars").Struct else [series.name]
        return self._predict(series, f"{quoted(columns)} (rows counted within a batch)").alias(series.name)

    def _predict(self, column: Any, name: str) -> pl.Series:
        (made,) = predict_all(self._model.get(), column, [self._kind], on_error=self._on_error, name=name)
        series: pl.Series = needed("polars", "polars").Series(made)
        return series


def predict(
    model: str | os.PathLike[str] | AnyModel | Shipped,
    sequences: Names,
    *,
    output: Kind | None = None,
    on_error: OnError = "raise",
) -> pl.Expr:
    """Give predictions as an expression.

    It is elementwise: lazy frames plan with it, and the streaming engine runs it batch by batch.

    Parameters
    ----------
    model : path_like, GRU, GRUClassifier, GRURegressor or Shipped
    sequences : str or list of str
        The column of sequences, or the list columns whose features stand side by side.
    output, on_error
        As in `rgru.arrow.predict`.

    Returns
    -------
    polars.Expr
        Named like the (first) column of sequences; ``with_columns(prediction=...)`` gives another name.

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is none of these, or the file cannot be read.
    ImportError
        If Polars is not installed.
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
    """Make sequences of rows of events: one row a key, sorted by time.

    Parameters
    ----------
    frame : polars.LazyFrame or polars.DataFrame
        With one row an event, in any order.
    key, time, features : str or list of str
        As in `rgru.integrations.events.Events`.

    Returns
    -------
    polars.LazyFrame
        The columns of the key, and lists of those of the time and the features; its rows in any order.

    Raises
    ------
    TypeError, ValueError
        If a name is not one of the frame's columns, or comes twice. A null or NaN in the key or the time raises a
        ValueError when the frame is collected.
    ImportError
        If Polars is not installed.
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
