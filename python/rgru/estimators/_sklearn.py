"""What scikit-learn (1.6 or later) asks of estimators, without importing it before it is there."""

from __future__ import annotations

from typing import Any, Literal


class _NotFittedError(ValueError, AttributeError):
    """Stands in for scikit-learn's NotFittedError, which has the same parents."""


def not_fitted_error(message: str) -> ValueError:
    """Give scikit-learn's NotFittedError where it is installed, else a ValueError like it."""
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return _NotFittedError(message)
    error: ValueError = NotFittedError(message)
    return error


def tags(kind: Literal["classifier", "regressor"], *, multi_output: bool = False) -> Any:
    """Give the tags of an estimator over sequences: what its ``__sklearn_tags__`` returns.

    Parameters
    ----------
    kind : {"classifier", "regressor"}
    multi_output : bool, default False
        Whether it takes targets of more than one column.

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
