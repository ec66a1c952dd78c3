"""Estimators for sequences with scikit-learn's API: GRUClassifier and GRURegressor.

`_classifier` and `_regressor` hold the estimators, `_base` and `_parameters` what they share. `_sequences`, `_labels`
and `_targets` validate X and y; `_scaling` standardises.
"""

from rgru.estimators._classifier import GRUClassifier
from rgru.estimators._regressor import GRURegressor

__all__ = ["GRUClassifier", "GRURegressor"]
