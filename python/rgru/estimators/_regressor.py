"""GRURegressor: scikit-learn's manner, for sequences and their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rgru._data.ragged import Ragged
from rgru._validation.scalars import as_precision
from rgru.estimators._base import SequenceEstimator
from rgru.estimators._scaling import Scaler
from rgru.estimators._sklearn import tags
from rgru.estimators._targets import check_rows, check_steps, r_squared, shape_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from typing_extensions import Self


class GRURegressor(SequenceEstimator):
    """Predict numbers from sequences with a GRU: one or several for each sequence, or for each of its steps.

    A GRU reads each sequence; a linear layer over its last state, its mean state or every state (`pooling`) gives the
    numbers. Trained with Adam on the mean squared error of standardised targets: each column of y is shifted and scaled
    to mean 0 and deviation 1 for the training, so that a learning rate suits every unit, and the predictions back.
    Works with scikit-learn as `GRUClassifier` does, and takes the same X. The parameters are described at ``__init__``.

    A sequence without steps is predicted from the layer's bias alone (or, for every step, gives no numbers). On
    the CPU, a prediction's bits depend on its sequence alone.

    Attributes
    ----------
    n_features_in_ : int
        I.
    feature_names_in_ : ndarray of object, shape (I,)
        The features' names, if X of `fit` had some (see `rgru.Ragged.feature_names`). Where later data have names, too,
        they have to be the same in the same order. Data without names are taken by position.
    history_ : rgru.train.History
        Losses (of the standardised targets), validation R^2 and speed of each epoch.
    n_iter_ : int
        The number of epochs.
    model_ : rgru.train._model.Model
    scaler_, target_scaler_ : rgru.estimators._scaling.Scaler or None, rgru.estimators._scaling.Scaler
        Mean and deviation of the features and of the targets.

    Examples
    --------
    >>> import numpy as np, rgru
    >>> X = np.random.default_rng(0).normal(size=(64, 10, 2))
    >>> sums = rgru.GRURegressor(hidden_size=8, max_epochs=2, random_state=0).fit(X, X.sum(axis=(1, 2)))
    >>> sums.predict(X[:3]).shape
    (3,)
    """

    _poolings = ("last", "mean", "every")
    _softmax = False

    target_scaler_: Scaler
    _single: bool

    def fit(self, X: Any, y: Any) -> Self:
        """Train anew on sequences and their targets.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
        y : array_like, shape (N,) or (N, K)
            For pooling "every", targets for each step: an array (N, T) or (N, T, K), a list of arrays (T_i,) or
            (T_i, K), a Ragged, or an Arrow list column.

        Returns
        -------
        GRURegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If X, y or a parameter is not as described; the message names it.
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            After Ctrl-C. If an epoch was completed, the estimator is fitted then, as far as it came.
        """
        x = self._check_training_sequences(X)
        rows, single = check_steps("y", y, x) if self.pooling == "every" else check_rows("y", y, len(x))
        scaler = Scaler.of(rows)
        scaled = scaler.apply(rows, as_precision("dtype", self.dtype))
        targets = Ragged(scaled, x.offsets) if self.pooling == "every" else scaled
        self._train(
            x,
            targets,
            output_size=rows.shape[1],
            loss="mean_squared_error",
            score=r_squared,
            fitted={"target_scaler_": scaler, "_single": single},
        )
        return self

    def predict(self, X: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """Predict the targets.

        Parameters
        ----------
        X
            As in `fit`.

        Returns
        -------
        ndarray of float64, shape (N,) or (N, K), as y in `fit`
            Of this type for every `dtype`: the model computes in units of y's deviation, and float32 would cut off the
            digits of a y that is far from 0 beside it.
            For pooling "every", an array (N, T) or (N, T, K) if X is an array, else a list of arrays (T_i,) or
            (T_i, K).

        Raises
        ------
        TypeError, ValueError
            If X is not as described, or the estimator is not fitted.
        """
        x = self._input(X)
        rows = self._predict_one(x)
        if self._single:
            rows = rows[:, 0]
        return shape_steps(rows, x, X) if self.model_.pooling == "every" else rows

    def score(self, X: Any, y: Any) -> float:
        """Give R^2, the coefficient of determination: the mean over the columns of y, over all steps for "every".

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        float
            1 if all is right, 0 for the quality of predicting the mean. A column of y that does not vary counts 1 if
            all of it is right, else 0.

        Raises
        ------
        TypeError, ValueError
            As `predict`, and if y does not fit.
        """
        x = self._input(X)
        predicted = self._predict_one(x)
        rows, _ = check_steps("y", y, x) if self.model_.pooling == "every" else check_rows("y", y, len(x))
        if rows.shape != predicted.shape:
            raise ValueError(f"y: expected {predicted.shape[1]} numbers per target as in fit, got {rows.shape[1]}")
        return r_squared(predicted, rows)

    def _finished(self, outputs: NDArray[Any]) -> NDArray[Any]:
        return self.target_scaler_.undo(outputs)

    def __sklearn_tags__(self) -> Any:
        return tags("regressor", multi_output=True)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        return {**super()._tensors(), **self.target_scaler_.tensors("target")}

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "single_target": self._single}

    @classmethod
    def _from_saved(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        estimator = super()._from_saved(config, tensors)
        estimator.target_scaler_ = Scaler.from_tensors("target", tensors, estimator.model_.output_size)
        estimator._single = bool(config["single_target"])
        return estimator
