"""The choice of a table's columns for sequences and targets, and predictions as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._cli.errors import CommandError
from rgru._data.arrow_columns import is_sequence_type
from rgru._data.ragged import Ragged
from rgru.arrow._predict import as_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

    from rgru._cli.readers import Table
    from rgru.arrow._kinds import Kind, Kinds
    from rgru.arrow._model_rows import ModelRows
    from rgru.estimators import GRUClassifier, GRURegressor


def find_sequences(table: Table, wanted: list[str] | None) -> list[str]:
    """Return the names of the columns of sequences: `wanted`, or else the only one.

    Raises
    ------
    CommandError
        If there is none, a wanted one has another type, or there are several and none is wanted.
    """
    possible = [field.name for field in table.schema if is_sequence_type(field.type, typed=False)]
    typed = [name for name in possible if is_sequence_type(table.schema.field(name).type)]
    columns = possible if wanted else typed or possible  # an untyped column is the default only if none is typed
    if not columns:
        raise CommandError(f"{table.name}: expected a list column of numbers, got {_described(table)}")
    if not wanted and len(columns) > 1:
        raise CommandError(f"--sequence: expected one of the list columns {', '.join(columns)}, got none")
    if len(set(wanted or ())) < len(wanted or ()):
        raise CommandError(f"--sequence: expected different columns, got {', '.join(wanted or ())}")
    for name in wanted or ():
        if name not in columns:
            fault = f"of type {table.schema.field(name).type}" if name in table.schema.names else "which does not exist"
            raise CommandError(
                f"--sequence: expected one of the list columns {', '.join(columns)}, got {name!r}, {fault}"
            )
    return wanted or columns


def find_target(table: Table, wanted: str | None, sequences: list[str]) -> str:
    """Return the name of the column of targets: `wanted`, or else the only one besides the sequences.

    Raises
    ------
    CommandError
        If there is none, or there are several and none is wanted.
    """
    columns = [name for name in table.schema.names if name not in sequences]
    if not columns:
        raise CommandError(
            f"{table.name}: expected a column of targets besides {', '.join(map(repr, sequences))}, got no other column"
        )
    if wanted is None and len(columns) > 1:
        raise CommandError(f"--target: expected one of the columns {', '.join(columns)}, got none")
    if wanted is not None and wanted not in columns:
        raise CommandError(f"--target: expected one of the columns {', '.join(columns)}, got {wanted!r}")
    return wanted or columns[0]


def _described(table: Table) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in table.schema) or "no columns"


def prediction_fields(estimator: ModelRows | GRUClassifier | GRURegressor, outputs: Kinds) -> list[pa.Field]:
    """Return the fields of the columns `outputs`, in which `prediction_arrays` returns the arrays."""
    import pyarrow as pa

    empty = Ragged(np.zeros((0, estimator.n_features_in_), np.float32), [0])
    predicted = estimator._finished(np.zeros((0, estimator.model_.output_size), estimator.model_.dtype))
    arrays = prediction_arrays(estimator, empty, predicted, outputs.values())
    return [pa.field(name, array.type) for name, array in zip(outputs, arrays, strict=True)]


def prediction_arrays(
    estimator: ModelRows | GRUClassifier | GRURegressor,
    x: Ragged,
    predicted: NDArray[Any],
    kinds: Iterable[Kind],
    valid: NDArray[np.bool_] | None = None,
) -> list[pa.Array]:
    """Convert the predictions for a batch of sequences to columns.

    Parameters
    ----------
    estimator : ModelRows, GRUClassifier or GRURegressor
    x : Ragged
        N sequences.
    predicted : ndarray
        The estimator's predictions for them: probabilities (N, C), or numbers (N, K) or (S, K).
    kinds : iterable of str
        The kinds of output; see `rgru.arrow._kinds`.
    valid : ndarray of bool, shape (N,), optional
        False for rows whose predictions are to be null.

    Returns
    -------
    list of pyarrow.Array
        Columns of N rows: labels, probabilities in the order of the classes, or numbers (K of them in a
        fixed_size_list, one or a list for each step in a list).
    """
    import pyarrow as pa

    # Through the Arrow capsules: for other objects pyarrow imports pandas first.
    return [pa.array(as_arrow(estimator, x, predicted, kind, valid)) for kind in kinds]
