"""Which column of a table is what, and predictions made into columns."""

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
    from rgru.estimators import GRUClassifier, GRURegressor


def find_sequences(table: Table, wanted: list[str] | None) -> list[str]:
    """Give the names of the columns of sequences: the wanted ones, or else the only one there is.

    Raises
    ------
    CommandError
        If there is none, it is of another type, or there are several to choose from.
    """
    possible = [field.name for field in table.schema if is_sequence_type(field.type, typed=False)]
    typed = [name for name in possible if is_sequence_type(table.schema.field(name).type)]
    columns = possible if wanted else typed or possible  # a column without a type is one where there is no other
    if not columns:
        raise CommandError(f"{table.name}: expected a list column of numbers, got {_described(table)}")
    if not wanted and len(columns) > 1:
        raise CommandError(f"--sequence: expected one of the list columns {', '.join(columns)}, got none")
    if len(set(wanted or ())) < len(wanted or ()):
        raise CommandError(f"--sequence: expected different columns, got {', '.join(wanted or ())}")
    for name in wanted or ():
        if name not in columns:
            came = f"of type {table.schema.field(name).type}" if name in table.schema.names else "which does not exist"
            raise CommandError(
                f"--sequence: expected one of the list columns {', '.join(columns)}, got {name!r}, {came}"
            )
    return wanted or columns


def find_target(table: Table, wanted: str | None, sequences: list[str]) -> str:
    """Give the name of the column of targets: the wanted one, or else the only one beside the sequences.

    Raises
    ------
    CommandError
        If there is none, or there are several to choose from.
    """
    columns = [name for name in table.schema.names if name not in sequences]
    if not columns:
        raise CommandError(
            f"{table.name}: expected a column of targets beside {', '.join(map(repr, sequences))}, got no other column"
        )
    if wanted is None and len(columns) > 1:
        raise CommandError(f"--target: expected one of the columns {', '.join(columns)}, got none")
    if wanted is not None and wanted not in columns:
        raise CommandError(f"--target: expected one of the columns {', '.join(columns)}, got {wanted!r}")
    return wanted or columns[0]


def _described(table: Table) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in table.schema) or "no columns"


def prediction_fields(estimator: GRUClassifier | GRURegressor, outputs: Kinds) -> list[pa.Field]:
    """Give the fields that `prediction_arrays` fills, of columns by name with their kinds of output."""
    import pyarrow as pa

    nothing = Ragged(np.zeros((0, estimator.n_features_in_), np.float32), [0])
    predicted = estimator._finished(np.zeros((0, estimator.model_.output_size), estimator.model_.gru.dtype))
    arrays = prediction_arrays(estimator, nothing, predicted, outputs.values())
    return [pa.field(name, array.type) for name, array in zip(outputs, arrays, strict=True)]


def prediction_arrays(
    estimator: GRUClassifier | GRURegressor,
    x: Ragged,
    predicted: NDArray[Any],
    kinds: Iterable[Kind],
    valid: NDArray[np.bool_] | None = None,
) -> list[pa.Array]:
    """Give the predictions for a batch of sequences as columns.

    Parameters
    ----------
    estimator : GRUClassifier or GRURegressor
    x : Ragged
        N sequences.
    predicted : ndarray
        What the estimator predicts for them: probabilities (N, C), or numbers (N, K) or (S, K).
    kinds : iterable of str
        The kinds of output wanted; see `rgru.arrow._kinds`.
    valid : ndarray of bool, shape (N,), optional
        False where the predictions are to be null.

    Returns
    -------
    list of pyarrow.Array
        Of N rows each: labels, probabilities in the order of the classes, or numbers (K of them in a fixed_size_list,
        one or a list for each step in a list).
    """
    import pyarrow as pa

    # By the capsules of Arrow columns: from anything else pyarrow makes arrays only when it has imported pandas.
    return [pa.array(as_arrow(estimator, x, predicted, kind, valid)) for kind in kinds]
