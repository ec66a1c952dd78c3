"""GRUClassifier: labels for sequences, with scikit-learn's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.estimators._base import SequenceEstimator
from rgru.estimators._labels import (
    accuracy,
    check_labels,
    classes_from_json,
    classes_to_json,
    encode_labels,
)
from rgru.estimators._sklearn import tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self


class GRUClassifier(SequenceEstimator):
    """Classify sequences with a GRU.

    A GRU reads each sequence; a linear layer over its last or its mean state (`pooling`) computes the scores of the
    classes. It is trained with Adam on the cross-entropy. The estimator works with scikit-learn's ``clone``,
    ``Pipeline``, ``cross_val_score`` and ``GridSearchCV``, and does not need scikit-learn.

    X is an array (N, T, I), a list of arrays (T_i, I), a `rgru.Ragged`, or a column or table of any Arrow library, as
    `rgru.Ragged.from_arrow` takes it, of any type of real numbers. A sequence without steps is classified by the
    layer's bias alone. On the CPU, a prediction's bits depend on its sequence alone, not on the others in X, on
    padding, or on the number of threads.

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
    pooling : {"last", "mean"}, default "last"
        The head's input: the state after a sequence's last step (in the reverse direction, after its first), or the
        mean over its steps.
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
        The share of the sequences to hold out, above 0 and below 1: the same of each class, and at least one sequence
        in all. Used only with `early_stopping`.
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
    classes_ : ndarray, shape (C,)
        The labels, sorted.
    n_features_in_ : int
        I, the number of features.
    feature_names_in_ : ndarray of object, shape (I,)
        The features' names, if X of `fit` had names (see `rgru.Ragged.feature_names`). Later data with names must have
        the same ones in the same order; data without names are taken by position.
    history_ : rgru.train.History
        Losses (nats), validation accuracy and speed of each epoch.
    n_iter_ : int
        The number of epochs.
    model_ : Model
        The trained model.
    scaler_ : Scaler or None
        Mean and deviation of the features; None if `standardize` is False.

    Examples
    --------
    >>> import rgru
    >>> X, y = rgru.datasets.load_japanese_vowels("train")
    >>> speakers = rgru.GRUClassifier(hidden_size=16, bidirectional=True, max_epochs=3, random_state=0).fit(X, y)
    >>> speakers.predict(X[:2]).shape, speakers.predict_proba(X[:2]).shape
    ((2,), (2, 9))
    """

    _poolings = ("last", "mean")
    _softmax = True

    classes_: NDArray[Any]

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Train on labelled sequences, from new initial weights.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
            The sequences.
        y : array_like, shape (N,)
            Labels of at least two classes, none missing: integers, strings, or any other single type that can be
            sorted.

        Returns
        -------
        GRUClassifier
            The estimator itself.

        Raises
        ------
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            After Ctrl-C. If an epoch was completed, the estimator is then fitted with the completed epochs.
        """
        x = self._check_training_sequences(X)
        classes, codes = encode_labels("y", y, len(x))
        self._train(
            x,
            codes,
            output_size=len(classes),
            loss="cross_entropy",
            score=_accuracy,
            fitted={"classes_": classes},
            labels=codes,
        )
        return self

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
            The sequences.

        Returns
        -------
        ndarray of `dtype`, shape (N, C)
            The probabilities, in the order of ``classes_``.
        """
        return self._predict_one(self._input(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the most probable classes.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
            The sequences.

        Returns
        -------
        ndarray, shape (N,)
            The labels, of the type of ``classes_``.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def score(self, X: Any, y: ArrayLike) -> float:
        """Return the accuracy: the share of sequences whose predicted class is the label.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
            The sequences.
        y : array_like, shape (N,)
            Their labels, of the type of those in `fit` (strings or numbers, say), none missing.

        Returns
        -------
        float
            The accuracy, from 0 to 1.
        """
        predicted = self.predict(X)
        return accuracy("y", predicted, check_labels("y", y, len(predicted)), self.classes_)

    def __sklearn_tags__(self) -> Any:
        return tags("classifier")

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "classes": classes_to_json(self.classes_)}

    @classmethod
    def _from_saved(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        estimator = super()._from_saved(config, tensors)
        estimator.classes_ = classes_from_json(config["classes"])
        if estimator.classes_.shape != (estimator.model_.output_size,):
            raise ValueError(f"classes: expected {estimator.model_.output_size}, got {len(estimator.classes_)}")
        return estimator


def _accuracy(outputs: NDArray[Any], codes: NDArray[np.int64]) -> float:
    return float(np.mean(outputs.argmax(axis=1) == codes))
