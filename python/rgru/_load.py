"""Loading of a model from a file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rgru._files.model_file import restore
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.model import Model

KINDS = ("GRU", "Model", "GRUClassifier", "GRURegressor")


def load(path: str | os.PathLike[str]) -> GRU | Model | GRUClassifier | GRURegressor:
    """Read a GRU, a model or an estimator from a file that its ``save`` has written.

    Parameters
    ----------
    path : path_like
        The file.

    Returns
    -------
    GRU, Model, GRUClassifier or GRURegressor
        The saved model, with the same bits.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is of another format or version, or is incomplete.

    Examples
    --------
    >>> import os, tempfile
    >>> import rgru
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.safetensors")
    ...     rgru.GRU(3, 8).save(path)
    ...     rgru.load(path)
    GRU(3, 8)
    """
    model: GRU | Model | GRUClassifier | GRURegressor = restore(path, {k: partial(_from_saved, k) for k in KINDS})
    return model


def _from_saved(kind: str, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Any:
    if kind == "GRU":
        return GRU._from_saved(config, tensors)
    if kind == "Model":
        from rgru.model import Model

        return Model._from_saved(config, tensors)
    from rgru import estimators

    return getattr(estimators, kind)._from_saved(config, tensors)
