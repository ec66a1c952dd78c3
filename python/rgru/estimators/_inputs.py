"""The sequences that a model predicts for: checked, then scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._data.feature_names import check_names
from rgru._data.ragged import Ragged
from rgru.estimators._sequences import as_ragged, check_finite
from rgru.nn._ids import check_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru._data.feature_names import Names
    from rgru.estimators._scaling import Scaler


def checked(
    name: str, X: Any, first: int, *, features: int, vocabulary: int | None, names: Names | None = None
) -> Ragged:
    """Convert and check what a model is given.

    Parameters
    ----------
    name : str
        The argument's name, for the errors.
    X : object
        Sequences of any type that `as_ragged` takes.
    first : int
        The number of the first sequence, for the errors.
    features : int
        I, of the model.
    vocabulary : int or None
        The number of ids, if the first feature is one.
    names : tuple of str, optional
        Those of the features in training, which names in `X` must equal.

    Raises
    ------
    TypeError, ValueError
        If the sequences do not fit the model, or are not finite.
    """
    x = as_ragged(name, X, features, first, ids=vocabulary is not None)
    check_names(name, names, x.feature_names)
    if x.values.shape[1] != features:
        raise ValueError(f"{name}: expected {features} features as the model has, got {x.values.shape[1]}")
    check_finite(name, x, first)
    if vocabulary is not None:
        check_ids(name, x.values, vocabulary, offsets=x.offsets, first=first, names=x.feature_names)
    return x


def scaled_values(values: NDArray[Any], scaler: Scaler | None, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Scale steps for the model, without a check for overflow."""
    if scaler is not None:
        return scaler.apply(values, dtype)
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def scaled(x: Ragged, scaler: Scaler | None, dtype: np.dtype[Any]) -> Ragged:
    """Scale sequences for the model, without a check for overflow."""
    values = scaled_values(x.values, scaler, dtype)
    return x if values is x.values else Ragged._over(values, x.offsets)


def check_scaled(name: str, found: Ragged, x: Ragged, scaler: Scaler | None, first: int = 0) -> None:
    """Refuse values that are finite in `x` but not after scaling."""
    if found is not x:
        check_finite(f"{name} in {found.values.dtype}" + ("" if scaler is None else ", standardised"), found, first)
