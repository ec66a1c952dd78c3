"""GRUClassifier: scikit-learn's manner, for sequences and their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.estimators._base import SequenceEstimator
from rgru.estimators._labels import (
    check_labels,
    check_same_kind,
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

    A GRU reads each sequence; a linear layer over its last or its mean state (`pooling`) gives the scores of the
    classes. Trained with Adam on the cross-entropy. Works with scikit-learn's ``clone``, ``Pipeline``,
    ``cross_val_score`` and ``GridSearchCV``, and without scikit-learn. The parameters are described at ``__init__``.

    X is an array (N, T, I), a list of arrays (T_i, I), a `rgru.Ragged`, or a column or table of any Arrow library, as
    `rgru.Ragged.from_arrow` takes it, of any type of real numbers. A sequence without steps is classified by the
    layer's bias alone. On the CPU, a prediction's bits depend on its sequence alone: not on the others in X, on
    padding, or on the number of threads.

    Attributes
    ----------
    classes_ : ndarray, shape (C,)
        The labels, sorted.
    n_features_in_ : int
        I.
    feature_names_in_ : ndarray of object, shape (I,)
        The features' names, if X of `fit` had some (see `rgru.Ragged.feature_names`). Where later data have names, too,
        they have to be the same in the same order. Data without names are taken by position.
    history_ : rgru.train.History
        Losses (nats), validation accuracy and speed of each epoch.
    n_iter_ : int
        The number of epochs.
    model_ : rgru.train._model.Model
    scaler_ : rgru.estimators._scaling.Scaler or None
        Mean and deviation of the features.

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
        """Train anew on labelled sequences.

        Parameters
        ----------
        X : array_like of shape (N, T, I), list of (T_i, I) arrays, Ragged, or Arrow column or table
        y : array_like, shape (N,)
            Labels: integers, strings, or any others of one type that can be sorted, of at least two classes; none
            missing.

        Returns
        -------
        GRUClassifier
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
        """Give the probabilities of the classes.

        Parameters
        ----------
        X
            As in `fit`.

        Returns
        -------
        ndarray of `dtype`, shape (N, C)
            In the order of ``classes_``.

        Raises
        ------
        TypeError, ValueError
            If X is not as described, or the estimator is not fitted.
        """
        return self._predict_one(self._input(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Give the most probable classes.

        Parameters
        ----------
        X
            As in `fit`.

        Returns
        -------
        ndarray, shape (N,)
            Of the type of ``classes_``.

        Raises
        ------
        TypeError, ValueError
            As `predict_proba`.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def score(self, X: Any, y: ArrayLike) -> float:
        """Give the accuracy: the share of sequences whose predicted class is the label.

        Parameters
        ----------
        X
            As in `fit`.
        y : array_like, shape (N,)

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            As `predict_proba`, and if there are not N labels, some are missing, or they are of another type than those
            of `fit`: strings, say, and not numbers.
        """
        predicted = self.predict(X)
        labels = check_labels("y", y, len(predicted))
        check_same_kind("y", labels, self.classes_)
        return float(np.mean(predicted == labels))

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
