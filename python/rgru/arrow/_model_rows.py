"""A `rgru.Model` with the interface of a fitted estimator, for predictions over tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._data.ragged import Ragged
from rgru.estimators._sequences import as_ragged, check_finite
from rgru.model import Model
from rgru.nn._ids import check_ids

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from numpy.typing import NDArray

    from rgru.nn._gru import GRU


class ModelRows:
    """A model that predicts rows of a table.

    Parameters
    ----------
    model : Model
    """

    _single = False
    device = "cpu"

    def __init__(self, model: Model) -> None:
        self.model_, self.n_features_in_ = model, model.input_size

    @property
    def _gru(self) -> GRU:
        return self.model_._chain.grus[0]

    def set_params(self, *, device: str) -> None:
        """Choose the device that computes."""
        self.model_.device = self.device = device

    def _check_fitted(self) -> None:
        """Accept the model, which needs no training."""

    def _check_features(self, name: str, names: object) -> None:
        """Accept all names of features, since a model has none."""

    def _scaled(self, x: Ragged) -> Ragged:
        with np.errstate(over="ignore"):
            values = x.values.astype(self.model_.dtype, copy=False)
        return x if values is x.values else Ragged._over(values, x.offsets)

    def _input(self, X: Any, name: str = "X", first: int = 0) -> Ragged:
        vocabulary = self._gru.vocabulary
        x = as_ragged(name, X, self.n_features_in_, first, ids=vocabulary is not None)
        if x.values.shape[1] != self.n_features_in_:
            raise ValueError(f"{name}: expected {self.n_features_in_} features, got {x.values.shape[1]}")
        check_finite(name, x, first)
        if vocabulary is not None:
            check_ids(name, x.values, vocabulary, offsets=x.offsets, first=first, names=x.feature_names)
        scaled = self._scaled(x)
        if scaled is not x:
            check_finite(f"{name} in {self.model_.dtype}", scaled, first)
        return scaled

    def _predict_one(self, x: Ragged) -> NDArray[Any]:
        return self.model_._predict(x)

    def _predict_each(self, inputs: Iterable[Ragged]) -> Generator[NDArray[Any]]:
        return self.model_._predict_each(inputs)

    def _finished(self, outputs: NDArray[Any]) -> NDArray[Any]:
        return outputs


def as_rows(model: Any) -> Any:
    """Return what predicts rows of a table: an estimator itself, or a model wrapped."""
    return ModelRows(model) if isinstance(model, Model) else model
