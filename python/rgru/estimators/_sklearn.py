"""Parts of scikit-learn (1.6 or later) for the estimators, which import it only when these are called."""

from __future__ import annotations

from typing import Any, Literal


class _NotFittedError(ValueError, AttributeError):
    """A substitute for scikit-learn's NotFittedError, with the same base classes."""


def not_fitted_error(message: str) -> ValueError:
    """Return scikit-learn's NotFittedError if it is installed, else a ValueError like it."""
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return _NotFittedError(message)
    error: ValueError = NotFittedError(message)
    return error


def tags(kind: Literal["classifier", "regressor"], *, multi_output: bool = False) -> Any:
    """Return the tags of an estimator over sequences, for its ``__sklearn_tags__``.

    Parameters
    ----------
    kind : {"classifier", "regressor"}
        The kind of estimator.
    multi_output : bool, default False
        Whether it accepts targets of more than one column.

    Returns
    -------
    sklearn.utils.Tags
    """
    from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

    return Tags(
        estimator_type=kind,
        target_tags=TargetTags(required=True, multi_output=multi_output),
        classifier_tags=ClassifierTags() if kind == "classifier" else None,
        regressor_tags=RegressorTags() if kind == "regressor" else None,
        input_tags=InputTags(two_d_array=False, three_d_array=True),
    )


def mime_bundle(estimator: Any) -> dict[str, str]:
    """Return the representations of an estimator for notebooks by MIME type, with scikit-learn's diagram if installed.

    Parameters
    ----------
    estimator : GRUClassifier or GRURegressor

    Returns
    -------
    dict of str to str
        "text/plain" and, where scikit-learn is installed and set to display diagrams, "text/html".
    """
    bundle = {"text/plain": repr(estimator)}
    try:
        from sklearn import get_config
        from sklearn.utils import estimator_html_repr
    except ImportError:
        return bundle
    if get_config()["display"] == "diagram":
        bundle["text/html"] = estimator_html_repr(estimator)
    return bundle
