"""Predictions appended to Arrow tables, batch by batch: what Ray's and Spark's workers run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.column_names import as_names, check_present, quoted
from rgru._validation.scalars import check_on_error
from rgru.arrow._kinds import as_outputs
from rgru.arrow._predict import predict_all
from rgru.integrations._tensors import with_lists
from rgru.integrations.model_reference import Shipped

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from rgru._data.column_names import Names
    from rgru.arrow._kinds import Kinds, OnError
    from rgru.integrations.model_reference import AnyModel


class Predictions:
    """A model's predictions as columns appended to tables. Its pickle is small; see `Shipped`.

    Parameters
    ----------
    model : path_like, GRU, GRUClassifier, GRURegressor or Shipped
    sequences : str or list of str
        The column of sequences, or the list columns whose features stand side by side. Tensors of (steps, features), or
        of (steps,), are as good as lists.
    outputs : mapping of str to str, optional
        The new columns by name, each with its kind of output as in `rgru.arrow.predict`. The model runs once for all
        of them. By default one, ``"prediction"``: "last" of a GRU, "label" of a classifier, "value" of a regressor.
    on_error : {"raise", "null"}, default "raise"
        What becomes of rows that cannot be sequences of the model; as in `rgru.arrow.predict`.
    keep : str or list of str, optional
        The columns to keep beside the predictions; by default all.

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
    ) -> None:
        self._model = Shipped(model)
        self._sequences = as_names("sequences", sequences)
        self._outputs = as_outputs("outputs", outputs, self._model.get())
        check_on_error(on_error)
        self._on_error = on_error
        self._keep = None if keep is None else as_names("keep", keep)
        self.fields()  # what the model cannot give is told here, not by each worker

    @property
    def names(self) -> tuple[str, ...]:
        """The new columns' names."""
        return tuple(self._outputs)

    def fields(self) -> list[pa.Field]:
        """Give the fields of the new columns, as the model makes them."""
        import pyarrow as pa

        kinds = list(self._outputs.values())
        made = predict_all(self._model.get(), self._model.no_sequences(), kinds, on_error=self._on_error)
        return [pa.field(name, pa.array(one).type) for name, one in zip(self._outputs, made, strict=True)]

    def kept(self, columns: list[str]) -> list[str]:
        """Give the columns of a table that stay, once it is clear that the names fit it.

        Raises
        ------
        ValueError
            If a column is missing, or one that stays has a new one's name.
        """
        check_present("sequences", self._sequences, columns)
        check_present("keep", self._keep or (), columns)
        stay = list(columns if self._keep is None else self._keep)
        for name in self._outputs:
            if name in stay:
                raise ValueError(f"outputs: expected names that the table does not have, got {name!r}")
        return stay

    def __call__(self, table: pa.Table) -> pa.Table:
        """Append the predictions to a table of N rows.

        Raises
        ------
        TypeError, ValueError
            If the names do not fit the table, or its sequences the model.
        """
        import pyarrow as pa

        table_kept = table.select(self.kept(table.column_names))
        source: Any = with_lists(table.select(list(self._sequences)))
        if len(self._sequences) == 1:
            source = source.column(0)
        name = f"{quoted(self._sequences)} (rows counted within a batch)"
        made = predict_all(self._model.get(), source, list(self._outputs.values()), on_error=self._on_error, name=name)
        for column, predicted in zip(self._outputs, made, strict=True):
            table_kept = table_kept.append_column(column, pa.array(predicted))
        return table_kept
