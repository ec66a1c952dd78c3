"""Estimators for sequences with scikit-learn's API: GRUClassifier and GRURegressor.

`_classifier` and `_regressor` hold the estimators, `_base` and `_parameters` what they share. `_sequences`, `_labels`
and `_targets` validate X and y; `_scaling` standardises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.estimators._classifier import GRUClassifier
from rgru.estimators._regressor import GRURegressor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["GRUClassifier", "GRURegressor", "from_saved"]


def from_saved(
    kind: str, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> GRUClassifier | GRURegressor:
    """Restore a fitted estimator from the contents of its file; `rgru.load` calls this.

    Parameters
    ----------
    kind : {"GRUClassifier", "GRURegressor"}
    config : mapping
    tensors : mapping of str to ndarray

    Returns
    -------
    GRUClassifier or GRURegressor

    Raises
    ------
    KeyError, TypeError, ValueError
        If an entry is missing or invalid.
    """
    if kind == "GRUClassifier":
        return GRUClassifier._from_saved(config, tensors)
    if kind == "GRURegressor":
        return GRURegressor._from_saved(config, tensors)
    raise ValueError(f"kind: expected 'GRUClassifier' or 'GRURegressor', got {kind!r}")
