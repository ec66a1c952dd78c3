"""The common base of the estimators: predictions, training, files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rgru._backends import find_backend
from rgru._data.feature_names import check_names
from rgru._data.ragged import Ragged
from rgru._files.pretrained import Pretrained
from rgru._validation.keywords import unknown
from rgru._validation.scalars import as_precision, as_probability
from rgru.estimators._inputs import check_scaled, checked, scaled
from rgru.estimators._parameters import Parameters
from rgru.estimators._scaling import Scaler
from rgru.estimators._sequences import as_ragged, check_finite
from rgru.estimators._sklearn import not_fitted_error
from rgru.model import Dropout, Linear, Model, Pool
from rgru.nn._gru import GRU
from rgru.nn._ids import check_ids
from rgru.nn._settings import OPTIONS
from rgru.train._batches import Data, split_validation
from rgru.train._history import History
from rgru.train._loop import train

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable

    from numpy.typing import NDArray
    from typing_extensions import Self

    from rgru._data.feature_names import Names

LossName: TypeAlias = Literal["cross_entropy", "mean_squared_error"]
"""The name of a loss of `rgru._backends.base.Backend`."""


class SequenceEstimator(Parameters, Pretrained):
    """A `Model` behind scikit-learn's API; the base of `GRUClassifier` and `GRURegressor`."""

    model_: Model
    scaler_: Scaler | None
    history_: History
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    n_iter_: int

    _softmax: bool
    """Whether predictions pass through a softmax."""

    @property
    def _gru(self) -> GRU:
        return self.model_.layers[0]  # type: ignore[return-value]

    @property
    def _head(self) -> Linear:
        return self.model_.layers[-1]  # type: ignore[return-value]

    @property
    def _pooling(self) -> str:
        """How the fitted model pools; the parameter `pooling` may have been changed since."""
        return next((layer.kind for layer in self.model_.layers if isinstance(layer, Pool)), "every")

    # -- from X to outputs -----------------------------------------------------------------------------------------

    def _check_training_sequences(self, X: Any) -> Ragged:
        x = as_ragged("X", X, ids=self._gru_options().get("vocabulary") is not None)
        if len(x) == 0 or len(x.values) == 0:
            raise ValueError(f"X: expected at least one sequence with at least one step, got {x!r}")
        check_finite("X", x)
        return x

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise not_fitted_error(f"this {type(self).__name__} is not fitted yet: call fit first")

    def _input(self, X: Any, name: str = "X", first: int = 0) -> Ragged:
        """Validate and scale X for the model; error messages count its sequences from `first`."""
        self._check_fitted()
        names, vocabulary = self._feature_names, self._gru.vocabulary
        x = checked(name, X, first, features=self.n_features_in_, vocabulary=vocabulary, names=names)
        found = self._scaled(x)
        check_scaled(name, found, x, self.scaler_, first)
        return found

    def _check_features(self, name: str, names: Names | None) -> None:
        """Refuse feature names that differ from those of `fit`, or their order; skipped if either has no names."""
        check_names(name, self._feature_names, names)

    @property
    def _feature_names(self) -> Names | None:
        return tuple(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None

    def _scaled(self, x: Ragged) -> Ragged:
        """Scale sequences for the model, without a check for overflow."""
        return scaled(x, self.scaler_, self._gru.dtype)

    def _predict_each(self, inputs: Iterable[Ragged]) -> Generator[NDArray[Any]]:
        """Yield the predictions for each of `inputs`, in order: probabilities (N, C), or numbers (N, K) or (S, K).

        The inputs are results of `_input`. A GPU computes while the next input is taken and uploaded.
        """
        self.model_.device = self.device
        with closing(self.model_._predict_each(inputs, softmax=self._softmax)) as outputs:
            for output in outputs:
                yield self._finished(output)

    def _predict_one(self, x: Ragged) -> NDArray[Any]:
        self.model_.device = self.device
        return self._finished(self.model_._predict(x, softmax=self._softmax))

    def _finished(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Convert the model's outputs to predictions."""
        return outputs

    def _gru_options(self) -> dict[str, Any]:
        """Return `gru_options`, after a check of their names; `GRU` validates their values."""
        options = {} if self.gru_options is None else self.gru_options
        if not isinstance(options, Mapping):
            raise TypeError(f"gru_options: expected a dict or None, got {options!r}")
        for name in options:
            if name not in OPTIONS:
                raise ValueError(f"gru_options: {unknown('GRU', str(name), OPTIONS)}")
        return dict(options)

    # -- training --------------------------------------------------------------------------------------------------

    def _train(
        self,
        x: Ragged,
        targets: NDArray[Any] | Ragged,
        *,
        output_size: int,
        loss: LossName,
        score: Callable[[NDArray[Any], NDArray[Any]], float],
        fitted: dict[str, Any],
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        """Train a new model; then set it and the attributes `fitted`, or, after an error, none of them."""
        schedule, backend = self._schedule(), find_backend(self.device)
        rng = self._generator()
        gru = GRU(
            x.values.shape[1],
            self.hidden_size,
            self.num_layers,
            bidirectional=self.bidirectional,
            reset_after=self.reset_after,
            # The GRU's dropout acts between layers, and needs two of them; the model's acts before the head.
            dropout=0.0 if self.num_layers == 1 else self.dropout,
            dtype=self.dtype,
            seed=int(rng.integers(2**63)),
            **self._gru_options(),
        )
        seed = int(rng.integers(2**63))
        head = Linear(gru.output_size, output_size, dtype=gru.dtype, seed=seed)
        model = _model(gru, self.pooling, as_probability("dropout", self.dropout), head, seed)
        model.device = self.device
        if gru.vocabulary is not None:
            check_ids("X", x.values, gru.vocabulary, offsets=x.offsets, names=x.feature_names)
        scaler = Scaler.of(x.values, ids=gru.vocabulary is not None) if self.standardize else None
        inputs = scaled(x, scaler, gru.dtype)
        check_scaled("X", inputs, x, scaler)
        data, validation = Data(inputs, targets), None
        if isinstance(targets, Ragged) and not x.lengths.all():
            data = data.take(np.flatnonzero(x.lengths))  # empty sequences have no targets to train or validate on
        if self.early_stopping:
            kept, set_aside = split_validation(len(data.x), self.validation_fraction, rng, labels)
            data, validation = data.take(kept), data.take(set_aside)
        history = History()
        try:
            train(
                model,
                data,
                getattr(backend, loss),
                schedule,
                rng,
                validation=validation,
                score=score,
                history=history,
                progress=self.verbose,
            )
        except FloatingPointError:
            history = History()  # keep no diverged model
            raise
        finally:
            # Also after Ctrl-C, which keeps the completed epochs.
            if history.train_loss:
                self._set_features(x.values.shape[1], x.feature_names)
                self.n_iter_ = len(history.train_loss)
                self.model_, self.scaler_, self.history_ = model, scaler, history
                self.__dict__.update(fitted)

    def _set_features(self, count: int, names: Names | None) -> None:
        self.n_features_in_ = count
        self.__dict__.pop("feature_names_in_", None)  # left by an earlier fit
        if names is not None:
            self.feature_names_in_ = np.array(names, object)

    # -- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file, which `rgru.load` reads.

        The restored estimator's predictions have the same bits (on the CPU). The file holds the weights, the
        constructor's parameters (except `device`, and a `random_state` that is not an int), the history (except the
        throughput) and the attributes that `fit` derived from X and y. The file is written atomically. Equal training
        on the CPU, with an int as `random_state`, produces equal bytes.

        Parameters
        ----------
        path : path_like
            The file's name, by convention ending in ``.safetensors``.

        Raises
        ------
        sklearn.exceptions.NotFittedError or ValueError
            If the estimator is not fitted.
        TypeError
            If the class labels are neither numbers nor strings.
        OSError
            If the file cannot be written.
        """
        from rgru._files.model_file import save

        save(path, self._tensors(), self._config(), kind=type(self).__name__)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        if not hasattr(self, "model_"):
            raise not_fitted_error(f"this {type(self).__name__} is not fitted yet: call fit before save")
        head = {f"head.{name}": array for name, array in self._head._tensors.items()}
        scaling = {} if self.scaler_ is None else self.scaler_.tensors("input")
        return {**self._gru.params, **head, **scaling}

    def _config(self) -> dict[str, Any]:
        """Return what a file stores besides the tensors, as JSON values."""
        params = self.get_params() | {"dtype": as_precision("dtype", self.dtype).name}
        params = {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
        if not isinstance(params["random_state"], int):
            params["random_state"] = None
        if params["gru_options"] is None:
            del params["gru_options"]
        else:  # as the GRU has them, whatever types were given
            params["gru_options"] = {name: getattr(self._gru, name) for name in params["gru_options"]}
        history = asdict(self.history_)
        del params["device"], history["sequences_per_second"]  # they describe the machine, not the model
        return {
            "parameters": params,
            "gru": self._gru._config,
            "output_size": self.model_.output_size,
            "pooling": self._pooling,
            "feature_names": self._feature_names,
            "history": history,
        }

    @classmethod
    def _from_saved(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Restore an estimator from its `_config` and `_tensors`; raise KeyError, TypeError or ValueError."""
        parameters = config["parameters"]
        # The first files lack early_stopping; a positive validation_fraction implied it.
        if "gru_options" in parameters:  # JSON has no tuples
            options = parameters["gru_options"].items()
            own = {name: tuple(value) if isinstance(value, list) else value for name, value in options}
            parameters = {**parameters, "gru_options": own}
        estimator = cls(**{"early_stopping": parameters.get("validation_fraction", 0) > 0, **parameters})
        gru = GRU._from_saved(
            config["gru"], {k: v for k, v in tensors.items() if k.startswith("layers.") or k == "embedding"}
        )
        if config["output_size"] != len(tensors["head.bias"]):  # before allocating what the file claims
            raise ValueError(f"output_size: expected {len(tensors['head.bias'])}, got {config['output_size']}")
        expected = {"head.weight": (config["output_size"], gru.output_size), "head.bias": (config["output_size"],)}
        for name, shape in expected.items():
            if tensors[name].shape != shape or tensors[name].dtype != gru.dtype:
                raise ValueError(
                    f"{name}: expected {gru.dtype} of shape {shape}, "
                    f"got {tensors[name].dtype} of shape {tensors[name].shape}"
                )
        head = Linear.from_arrays(tensors["head.weight"], tensors["head.bias"])
        if config["pooling"] not in cls._poolings:
            raise ValueError(f"pooling: expected one of {', '.join(cls._poolings)}, got {config['pooling']!r}")
        estimator.model_ = _model(gru, config["pooling"], estimator.dropout, head, 0)
        names = config.get("feature_names")  # the first files lack it
        if names is not None and (len(names) != gru.input_size or not all(isinstance(name, str) for name in names)):
            raise ValueError(f"feature_names: expected {gru.input_size} names, got {names!r}")
        estimator._set_features(gru.input_size, names)
        estimator.scaler_ = Scaler.from_tensors("input", tensors, gru.input_size) if "input.mean" in tensors else None
        estimator.history_ = History(**config["history"])
        estimator.history_.check()
        estimator.n_iter_ = len(estimator.history_.train_loss)
        return estimator


def _model(gru: GRU, pooling: str, dropout: float, head: Linear, seed: int) -> Model:
    """Make the model of an estimator."""
    pooled = [] if pooling == "every" else [Pool(pooling)]
    dropped = [Dropout(dropout)] if dropout else []
    return Model([gru, *pooled, *dropped, head], seed=seed)
