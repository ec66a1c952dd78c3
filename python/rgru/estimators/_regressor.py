"""GRURegressor: numbers for sequences, with scikit-learn's API."""

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

    A GRU reads each sequence; a linear layer over its last state, its mean state or every state (`pooling`) computes
    the numbers. It is trained with Adam on the mean squared error of standardised targets: each column of y is shifted
    and scaled to mean 0 and deviation 1 for the training, so that one learning rate suits every unit, and predictions
    are scaled back. The estimator works with scikit-learn as `GRUClassifier` does, and takes the same X.

    A sequence without steps is predicted from the layer's bias alone (with pooling "every" it has no predictions). On
    the CPU, a prediction's bits depend on its sequence alone.

    Parameters
    ----------
    hidden_size : int, default 64
        H, the units of each layer and direction.
    num_layers : int, default 1
        L, the number of layers.
    bidirectional : bool, default False
        Whether each layer also reads the sequences backwards.
    reset_after : bool, default False
        Which of the two GRU cells to use; see `rgru.GRU`.
    dropout : float, default 0.0
        The share of features that are hidden in training, between the layers and before the head; from 0 to below 1.
    gru_options : dict, optional
        Further options of `rgru.GRU` by name: its activations, clips, direction, merge and learned initial states, such
        as ``{"activation": "relu", "learned_h0": True}``.
    pooling : {"last", "mean", "every"}, default "last"
        The head's input: the state after a sequence's last step (in the reverse direction, after its first), the mean
        over its steps, or, for an output at every step, every state.
    learning_rate : float, default 0.005
        Adam's initial step size, which falls along half a cosine to 0 at the end of `max_epochs`.
    batch_size : int, default 32
        Sequences per step of Adam.
    max_epochs : int, default 100
        The maximum number of passes over the training data.
    early_stopping : bool, default False
        Whether `fit` holds out a part of the sequences, stops when their loss no longer falls, and keeps the weights
        of the epoch with the lowest. By default it trains on all sequences for `max_epochs` and keeps the last weights.
    validation_fraction : float, default 0.1
        The share of the sequences to hold out, above 0 and below 1, and at least one sequence. Used only with
        `early_stopping`.
    patience : int or None, default 20
        Stop after this number of epochs without a lower validation loss; None trains for `max_epochs`. Used only with
        `early_stopping`.
    max_grad_norm : float or None, default 1.0
        The largest global L2 norm of a batch's gradients; larger ones are scaled down. None sets no limit.
    standardize : bool, default True
        Whether to shift and scale each feature to mean 0 and deviation 1 over all steps in `fit`.
    dtype : dtype_like, default "float32"
        The precision of all computations: float32 or float64.
    device : str, default "cpu"
        The device that computes: "cpu", "cuda" (the first GPU), "cuda:1" and so on. ``set_params`` changes it for a
        fitted estimator too. X, y and all results are arrays on the host in any case. Files do not store it: an
        estimator from `rgru.load` computes on the CPU until this is set.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None, default None
        The seed of initial weights, dropout, validation split and order. With the same int and version of NumPy, `fit`
        has the same bits on every machine's CPU; on a GPU it is repeatable.
    verbose : bool, default False
        Whether to report each epoch on stderr: as a progress bar if that is a terminal and tqdm is installed, else, as
        in notebooks and logs, as a line.

    Attributes
    ----------
    n_features_in_ : int
        I, the number of features.
    feature_names_in_ : ndarray of object, shape (I,)
        The features' names, if X of `fit` had names (see `rgru.Ragged.feature_names`). Later data with names must have
        the same ones in the same order; data without names are taken by position.
    history_ : rgru.train.History
        Losses (of the standardised targets), validation R^2 and speed of each epoch.
    n_iter_ : int
        The number of epochs.
    model_ : Model
        The trained model.
    scaler_ : Scaler or None
        Mean and deviation of the features; None if `standardize` is False.
    target_scaler_ : Scaler
        Mean and deviation of the targets.

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
        """Train on sequences and their targets, from new initial weights.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
            The sequences.
        y : array_like, shape (N,) or (N, K)
            The targets. With pooling "every", targets for each step: an array (N, T) or (N, T, K), a list of arrays
            (T_i,) or (T_i, K), a Ragged, or an Arrow list column.

        Returns
        -------
        GRURegressor
            The estimator itself.

        Raises
        ------
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            After Ctrl-C. If an epoch was completed, the estimator is then fitted with the completed epochs.
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
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
            The sequences.

        Returns
        -------
        ndarray of float64, shape (N,) or (N, K), as y in `fit`
            The predictions. They are float64 for every `dtype`: the model computes in units of y's deviation, and
            float32 has too few digits for a y whose mean is large compared with it.
            With pooling "every", an array (N, T) or (N, T, K) if X is an array, else a list of arrays (T_i,) or
            (T_i, K).
        """
        x = self._input(X)
        rows = self._predict_one(x)
        if self._single:
            rows = rows[:, 0]
        return shape_steps(rows, x, X) if self.model_.every else rows

    def score(self, X: Any, y: Any) -> float:
        """Return R^2, the coefficient of determination, as its mean over the columns of y.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
            The sequences.
        y : array_like, shape (N,) or (N, K)
            The targets; with pooling "every", of each step, as in `fit`. All steps then count alike.

        Returns
        -------
        float
            1 for perfect predictions, 0 for predictions as good as the mean of y. A constant column of y counts 1 if
            all its predictions are exact, else 0.
        """
        x = self._input(X)
        predicted = self._predict_one(x)
        rows, _ = check_steps("y", y, x) if self.model_.every else check_rows("y", y, len(x))
        if len(rows) == 0:
            raise ValueError("y: expected at least one target for a score, got none")
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
