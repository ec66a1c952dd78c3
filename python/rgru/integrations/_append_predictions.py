"""Predictions appended to Arrow tables, batch by batch, in the workers of Ray and Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.column_names import as_names, check_present, quoted
from rgru._runtime import as_threads
from rgru._validation.scalars import check_on_error
from rgru.arrow._kinds import as_outputs
from rgru.arrow._predict import predict_all
from rgru.integrations._tensors import with_lists
from rgru.integrations.model_reference import ModelReference

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from rgru._data.column_names import Names
    from rgru.arrow._kinds import Kinds, OnError
    from rgru.integrations.model_reference import AnyModel


class Predictions:
    """A model's predictions as columns appended to tables: the base class of the predictors of engines.

    It validates their common arguments. Its pickle is small; see `ModelReference`.

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
        The number of threads of a worker.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | AnyModel | ModelReference,
        sequences: Names,
        *,
        outputs: Kinds | None = None,
        on_error: OnError = "raise",
        keep: Names | None = None,
        num_threads: int | None = None,
    ) -> None:
        self._model = ModelReference(model)
        self._sequences = as_names("sequences", sequences)
        self._outputs = as_outputs("outputs", outputs, self._model.get())
        check_on_error(on_error)
        self._on_error = on_error
        self._keep = None if keep is None else as_names("keep", keep)
        self._num_threads = as_threads("num_threads", num_threads)
        self._fields()  # so that an output that the model lacks is an error here, not in each worker
        self._start()

    def _start(self) -> None:
        """Prepare the process; called at the end of construction."""

    def _fields(self) -> list[pa.Field]:
        """Return the fields of the new columns."""
        import pyarrow as pa

        kinds = list(self._outputs.values())
        made = predict_all(self._model.get(), self._model.no_sequences(), kinds, on_error=self._on_error)
        return [pa.field(name, pa.array(one).type) for name, one in zip(self._outputs, made, strict=True)]

    def _kept(self, columns: list[str]) -> list[str]:
        """Return the columns of a table that are kept, after a check of all names.

        Raises
        ------
        ValueError
            If a column is missing, or a kept column has the name of a new one.
        """
        check_present("sequences", self._sequences, columns)
        check_present("keep", self._keep or (), columns)
        kept = list(columns if self._keep is None else self._keep)
        for name in self._outputs:
            if name in kept:
                raise ValueError(f"outputs: expected names that the table does not have, got {name!r}")
        return kept

    def __call__(self, table: pa.Table) -> pa.Table:
        """Append the predictions to a table or record batch."""
        import pyarrow as pa

        result = table.select(self._kept(table.column_names))
        source: Any = with_lists(table.select(list(self._sequences)))
        if len(self._sequences) == 1:
            source = source.column(0)
        name = f"{quoted(self._sequences)} (rows counted within a batch)"
        made = predict_all(self._model.get(), source, list(self._outputs.values()), on_error=self._on_error, name=name)
        for column, predicted in zip(self._outputs, made, strict=True):
            result = result.append_column(column, pa.array(predicted))
        return result
