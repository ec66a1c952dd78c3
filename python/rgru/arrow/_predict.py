"""Predictions from Arrow columns to Arrow columns, which any Arrow library imports without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._core import ArrowColumn, arrow_numbers, arrow_texts
from rgru._data.arrow_columns import ragged_and_failures, ragged_from_arrow, without_infinite, without_steps
from rgru._validation.arrays import is_arrow_column
from rgru._validation.scalars import check_on_error
from rgru.arrow._kinds import as_kind
from rgru.nn._gru import GRU
from rgru.nn._ids import are_ids, check_ids
from rgru.nn._merge import last_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rgru._data.ragged import Ragged
    from rgru.arrow._kinds import Kind, OnError
    from rgru.arrow._model_rows import ModelRows
    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.model import Model

__all__ = ["ArrowColumn", "predict"]


def predict(
    model: GRU | Model | GRUClassifier | GRURegressor,
    column: Any,
    *,
    output: Kind | None = None,
    on_error: OnError = "raise",
) -> ArrowColumn:
    """Run a model over an Arrow column of sequences, and return an Arrow column with a result for each row.

    Parameters
    ----------
    model : GRU, Model, GRUClassifier or GRURegressor
        The model; an estimator must be fitted.
    column : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``
        N sequences from pyarrow, Polars, pandas, DuckDB, nanoarrow or any other library with the Arrow PyCapsule
        interface: a list, large_list, fixed_size_list, list_view or large_list_view whose steps are numbers, lists of
        numbers or structs of numbers; or a table or struct of such columns, whose features are concatenated. It is
        used in place if it holds contiguous numbers of the model's dtype, else converted once.
    output : {"last", "every", "label", "probability", "value"}, optional
        For a GRU, "last" (the default): the last layer's outputs of each sequence's last step (the reverse
        direction's of its first); or "every": those of all steps. For a classifier, "label" (the default) or
        "probability". For a regressor or a model, "value".
    on_error : {"raise", "null"}, default "raise"
        The treatment of rows that are null or have nulls, NaN or infinities, steps of other widths, or lengths that
        differ between columns: raise an error that names the first, or return null for them, which the result's
        ``null_count`` counts.

    Returns
    -------
    rgru.arrow.ArrowColumn
        N rows, for ``pyarrow.array``, ``polars.Series`` and the like. For a GRU, fixed_size_list (the features of an
        output), within a list for every step; for a classifier, labels or fixed_size_list (C probabilities, in the
        order of ``classes_``); for a regressor, doubles or fixed_size_list (K doubles), within a list for pooling
        "every"; for a model, fixed_size_list (O numbers), within a list if it does not pool.

    Raises
    ------
    TypeError
        If the column has another type, or the classes are neither numbers nor strings.
    ValueError
        If the column's number of features is not the model's; if both have names (``feature_names_in_``), and these or
        their order differ; or, with ``on_error="raise"``, if a row is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> sequences = rgru.Ragged(np.zeros((5, 2), np.float32), [0, 3, 3, 5])  # has the Arrow interface too
    >>> rgru.arrow.predict(rgru.GRU(2, 4), sequences)
    ArrowColumn(3 rows, 0 nulls, fixed_size_list<item: float>[4])
    """
    (result,) = predict_all(model, column, (as_kind(output, model),), on_error=on_error)
    return result


def predict_all(
    model: GRU | Model | GRUClassifier | GRURegressor,
    column: Any,
    kinds: Sequence[Kind],
    *,
    on_error: OnError = "raise",
    name: str = "column",
) -> list[ArrowColumn]:
    """Run a model once, and return a column for each of several kinds of output.

    Parameters
    ----------
    model, column, on_error
        As in `predict`.
    kinds : sequence of str
        Kinds of output that the model has; see `rgru.arrow._kinds`.
    name : str, default "column"
        The column's name in error messages.

    Returns
    -------
    list of ArrowColumn

    Raises
    ------
    TypeError, ValueError
        As `predict`.
    """
    check_on_error(on_error)
    if not is_arrow_column(column):
        raise TypeError(f"{name}: expected an Arrow column or table, got {type(column).__name__}")
    if isinstance(model, GRU):
        return _states(model, column, kinds, on_error, name)
    from rgru.arrow._model_rows import as_rows

    rows = as_rows(model)
    x, valid = estimator_input(rows, column, name=name, on_error=on_error)
    predicted = rows._predict_one(x)
    return [as_arrow(rows, x, predicted, kind, valid) for kind in kinds]


def as_arrow(
    estimator: ModelRows | GRUClassifier | GRURegressor,
    x: Ragged,
    predicted: NDArray[Any],
    kind: Kind,
    valid: NDArray[np.bool_] | None = None,
) -> ArrowColumn:
    """Convert an estimator's predictions for the N sequences of `x` to a column of N rows.

    Parameters
    ----------
    estimator : ModelRows, GRUClassifier or GRURegressor
    x : Ragged
    predicted : ndarray
        The result of its ``_predict_one``: probabilities (N, C), or numbers (N, K) or (S, K).
    kind : {"label", "probability", "value"}
        A kind of output that the estimator has.
    valid : ndarray of bool, shape (N,), optional
        False for rows that are to be null.

    Returns
    -------
    ArrowColumn

    Raises
    ------
    TypeError
        If `kind` is "label" and the labels are neither numbers, booleans nor strings.
    """
    from rgru.estimators import GRUClassifier

    if isinstance(estimator, GRUClassifier):
        if kind == "label":
            return _labels(estimator.classes_, predicted.argmax(axis=1), valid)
        return arrow_numbers(np.ascontiguousarray(predicted), places=None, valid=valid)
    rows = np.ascontiguousarray(predicted[:, 0] if estimator._single else predicted)
    places = x.offsets if estimator.model_.every else None
    return arrow_numbers(rows, places=places, valid=valid)


def _labels(classes: NDArray[Any], codes: NDArray[np.int64], valid: NDArray[np.bool_] | None) -> ArrowColumn:
    labels = classes.tolist()
    if all(isinstance(label, str) for label in labels):
        return arrow_texts(labels, codes, valid=valid)
    if classes.dtype == object:
        classes = np.array(labels)
    kind = classes.dtype.kind
    if kind not in "biuf" or classes.dtype.itemsize > 8:
        raise TypeError(f"model: expected numbers or strings as labels, got {classes.dtype}")
    plain = np.dtype(np.float32) if classes.dtype == np.float16 else classes.dtype.newbyteorder("=")
    return arrow_numbers(classes.astype(plain)[codes], places=None, valid=valid)


def _states(gru: GRU, column: Any, kinds: Sequence[Kind], on_error: OnError, name: str) -> list[ArrowColumn]:
    from rgru.estimators._sequences import check_finite

    x, failed = _read(column, gru.input_size, on_error, name, gru.dtype)
    if on_error == "raise":
        check_finite(name, x)
        if gru.vocabulary is not None:
            check_ids(name, x.values, gru.vocabulary, offsets=x.offsets, names=x.feature_names)
    x, valid = _without_unknown(gru, x, failed)
    every = gru(x) if "every" in kinds else None
    results: dict[str, ArrowColumn] = {}
    if every is not None:
        results["every"] = arrow_numbers(every[0].values, places=every[0].offsets, valid=valid)
    if "last" in kinds:
        h_n = gru.final_states(x) if every is None else every[1]
        last = last_features(gru, h_n, np)
        results["last"] = arrow_numbers(last, places=None, valid=valid)
    return [results[kind] for kind in kinds]


def estimator_input(
    estimator: ModelRows | GRUClassifier | GRURegressor, column: Any, *, name: str, on_error: OnError, first: int = 0
) -> tuple[Ragged, NDArray[np.bool_] | None]:
    """Convert a column of sequences to the input of an estimator's model.

    Parameters
    ----------
    estimator : ModelRows, GRUClassifier or GRURegressor
    column : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``
        As in `predict`.
    name : str
        The column's name in error messages.
    on_error : {"raise", "null"}
        Whether a row that cannot be predicted is an error, or is marked in `valid`.
    first : int, default 0
        The number of the first row, for errors, if the column is a part of a larger one.

    Returns
    -------
    x : Ragged
    valid : ndarray of bool, shape (N,), or None
        False for rows that cannot be predicted; None if all can.

    Raises
    ------
    TypeError, ValueError
        As `predict`.
    """
    if on_error == "raise":
        return estimator._input(column, name, first), None
    estimator._check_fitted()
    x, failed = _read(column, estimator.n_features_in_, on_error, name)
    estimator._check_features(name, x.feature_names)
    x, failed = without_infinite(estimator._scaled(x), failed)
    return _without_unknown(estimator._gru, x, failed)


def _without_unknown(gru: GRU, x: Ragged, failed: NDArray[np.bool_]) -> tuple[Ragged, NDArray[np.bool_] | None]:
    """Empty the sequences that contain a number that is no id, for a GRU that reads ids; return which are valid."""
    if gru.vocabulary is not None:
        wrong = ~are_ids(x.values, gru.vocabulary)
        if wrong.any():
            x, failed = without_steps(x, failed, wrong)
    return x, _valid(failed)


def _read(
    column: Any, width: int, on_error: OnError, name: str, dtype: np.dtype[Any] | None = None
) -> tuple[Ragged, NDArray[np.bool_]]:
    if on_error == "null":
        x, failed = ragged_and_failures(column, width=width, name=name, dtype=dtype)
    else:
        x = ragged_from_arrow(column, width=width, name=name, dtype=dtype)
        failed = np.zeros(len(x), np.bool_)
    if x.values.shape[1] != width:
        raise ValueError(f"{name}: expected {width} features as the model has, got {x.values.shape[1]}")
    return x, failed


def _valid(failed: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    return ~failed if failed.any() else None
