"""A `rgru.Model` with the interface of a fitted estimator, for predictions over tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru.estimators._inputs import check_scaled, checked, scaled
from rgru.model import Model

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from numpy.typing import NDArray

    from rgru._data.ragged import Ragged
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
        return scaled(x, None, self.model_.dtype)

    def _input(self, X: Any, name: str = "X", first: int = 0) -> Ragged:
        x = checked(name, X, first, features=self.n_features_in_, vocabulary=self._gru.vocabulary)
        found = self._scaled(x)
        check_scaled(name, found, x, None, first)
        return found

    def _predict_one(self, x: Ragged) -> NDArray[Any]:
        return self.model_._predict(x)

    def _predict_each(self, inputs: Iterable[Ragged]) -> Generator[NDArray[Any]]:
        return self.model_._predict_each(inputs)

    def _finished(self, outputs: NDArray[Any]) -> NDArray[Any]:
        return outputs


def as_rows(model: Any) -> Any:
    """Return what predicts rows of a table: an estimator itself, or a model wrapped."""
    return ModelRows(model) if isinstance(model, Model) else model
