"""Adapters of models to `Sessions`: from features to the GRU's input, and from its states to the model's output."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._backends import CPU
from rgru._data.feature_names import column_names
from rgru._validation.arrays import as_real
from rgru.nn._gru import GRU
from rgru.nn._ids import are_ids, as_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.estimators._base import SequenceEstimator
    from rgru.model import Model


class ModelAdapter:
    """A snapshot of a GRU, whose outputs are its states."""

    def __init__(self, gru: GRU) -> None:
        for name, backward in (("bidirectional", gru.bidirectional), ("reverse", gru.reverse)):
            if backward:
                raise ValueError(f"model: expected a GRU with {name}=False (a step cannot look ahead), got True")
        self.dtype, self._settings = gru.dtype, gru
        self.config = {name: value for name, value in gru._config.items() if "dropout" not in name}
        self.weights = gru._weights()
        self.fingerprint = hashlib.sha256(gru._flat).hexdigest()
        self.words = repr(gru)

    def read(self, x: Any, on_error: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Convert events to inputs of the GRU, without a check of their sizes, and find the valid ones.

        Returns
        -------
        values : numpy.ndarray, shape (M, I)
            The inputs.
        valid : numpy.ndarray of bool, shape (M,), or None
            Which events contain only finite numbers; None if all do.

        Raises
        ------
        ValueError
            If a number is not finite, with ``on_error="raise"``.
        """
        x = as_features(self._settings, x, "(M, I)", place="event", check=on_error != "null")
        values = as_real("x", x, self.dtype, 2, "(M, I)")
        return values, self._valid("x", values, on_error)

    def _valid(self, name: str, values: NDArray[Any], on_error: str) -> NDArray[np.bool_] | None:
        """Return which events have finite numbers and, in the place of ids, ids; None if all do."""
        valid, count = _finite(name, values, on_error), self._settings.vocabulary
        if count is None or on_error != "null" or values.shape[1] != self._settings.input_size:
            return valid  # the core refuses what is no id
        known = are_ids(values, count)
        return valid if known.all() else known if valid is None else known & valid

    def check_half(self) -> None:
        """Refuse a GRU whose states may be beyond the range of float16.

        Raises
        ------
        ValueError
            If its candidate is not bounded, and its states are not clipped.
        """
        activation, clip = self._settings.activation, self._settings.state_clip
        kind = activation if isinstance(activation, str) else activation[0]
        largest = float(np.finfo(np.float16).max)
        if kind in {"relu", "linear", "elu"} and (clip is None or clip > largest):
            raise ValueError(
                f"state_dtype: expected another than float16 for a GRU with activation={activation!r}, whose states "
                f"may be beyond {largest:g}, or one with a state_clip"
            )
        if any(np.abs(h0).max() > largest for name, h0 in self._settings.params.items() if name.endswith(".h0")):
            raise ValueError(f"state_dtype: expected another than float16 for a learned h0 beyond {largest:g}")

    def finish(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs for the states (M, H) of the last layer."""
        return y


class EstimatorAdapter(ModelAdapter):
    """A snapshot of a fitted estimator, with its scaler and its head."""

    def __init__(self, estimator: SequenceEstimator) -> None:
        from copy import copy

        from rgru.estimators._sklearn import not_fitted_error

        kind = type(estimator).__name__
        if not hasattr(estimator, "model_"):
            raise not_fitted_error(f"model: expected a fitted {kind}, got one that is not: call fit first")
        if estimator._pooling == "mean":
            raise ValueError(f"model: expected a {kind} with pooling='last', got pooling='mean', which looks back")
        super().__init__(estimator._gru)
        self.words = f"{kind} of {self.words}"
        self._estimator = copy(estimator)  # a later fit gives the estimator other attributes
        self._head = estimator._head.weight.copy(), estimator._head.bias.copy()

    def read(self, x: Any, on_error: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Convert events as `ModelAdapter.read` does, standardised as in `fit`."""
        from rgru.estimators._inputs import scaled_values
        from rgru.estimators._sequences import as_float

        values = as_float("x", x, 2, "(M, I)", ids=self._settings.vocabulary is not None)
        scaler = self._estimator.scaler_
        features = self._estimator.n_features_in_
        self._estimator._check_features("x", column_names(x))
        if values.shape[1] != features:
            raise ValueError(f"x: expected {features} features as the model has, got {values.shape[1]}")
        _finite("x", values, on_error)
        values = scaled_values(values, scaler, self.dtype)
        name = f"x in {self.dtype}" + ("" if scaler is None else ", standardised")
        return values, self._valid(name, values, on_error)

    def finish(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the predictions for the states (M, H) of the last layer."""
        outputs = _core.linear(y, *self._head)
        outputs = self._estimator._finished(_core.softmax(outputs) if self._estimator._softmax else outputs)
        return outputs[:, 0] if getattr(self._estimator, "_single", False) else outputs


class LayersAdapter(ModelAdapter):
    """A snapshot of a model with one GRU, and layers for single rows before and after it."""

    def __init__(self, model: Model) -> None:
        from copy import deepcopy

        from rgru.model import Pool

        layers = model.layers
        for i, layer in enumerate(layers):
            if isinstance(layer, Pool) and layer.kind != "last":
                raise ValueError(f"model: expected Pool('last') or none, got {layer!r}, layers[{i}], which looks back")
        grus = [i for i, layer in enumerate(layers) if isinstance(layer, GRU)]
        if len(grus) > 1:
            raise ValueError(f"model: expected a model with one GRU, which may have several layers, got {len(grus)}")
        [at] = grus
        super().__init__(model._chain.grus[0])
        self.words, self._width = repr(model), model.input_size
        self._before = deepcopy(layers[:at])
        self._after = deepcopy([layer for layer in layers[at + 1 :] if not isinstance(layer, Pool)])

    def read(self, x: Any, on_error: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Convert events as `ModelAdapter.read` does, and run the layers before the GRU."""
        values, valid = super().read(x, on_error)
        if values.shape[1] != self._width:
            raise ValueError(f"x: expected {self._width} features (input_size), got {values.shape[1]}")
        return self._run(self._before, values), valid

    def finish(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs for the states (M, H) of the last layer of the GRU."""
        return self._run(self._after, y)

    @staticmethod
    def _run(layers: Any, rows: NDArray[Any]) -> NDArray[Any]:
        for layer in layers:
            rows = layer._apply(CPU, rows, layer._on_device(CPU, training=False))
        return rows


def as_adapter(model: object) -> ModelAdapter:
    """Return the adapter of a model.

    Raises
    ------
    TypeError
        If `model` is not a model of rgru.
    ValueError
        If it needs later events, or its pooling all events, or if it is not fitted.
    """
    if isinstance(model, GRU):
        return ModelAdapter(model)
    import sys

    # A model or an estimator exists only if its module is loaded.
    models = sys.modules.get("rgru.model")
    if models is not None and isinstance(model, models.Model):
        return LayersAdapter(model)
    base = sys.modules.get("rgru.estimators._base")
    if base is not None and isinstance(model, base.SequenceEstimator):
        return EstimatorAdapter(model)
    raise TypeError(f"model: expected a GRU, a Model, a GRUClassifier or a GRURegressor, got {type(model).__name__}")


def _finite(name: str, values: NDArray[Any], on_error: str) -> NDArray[np.bool_] | None:
    """Return which events contain only finite numbers, None if all do; or refuse the first other number."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    if on_error == "null":
        valid: NDArray[np.bool_] = finite.all(axis=1)
        return valid
    event, feature = (int(index) for index in np.unravel_index(int(finite.argmin()), finite.shape))
    got = f"{values[event, feature]} in event {event}, feature {feature} (counted from 0)"
    raise ValueError(f"{name}: expected finite numbers, got {got}")
