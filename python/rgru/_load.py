"""Loading of a model from a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rgru._files.model_file import check_kind, read
from rgru.nn._gru import GRU

if TYPE_CHECKING:
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
    kind, config, tensors = read(path)
    name = os.fspath(path)
    check_kind(name, kind, KINDS)
    try:
        if kind == "GRU":
            return GRU._from_saved(config, tensors)
        if kind == "Model":
            from rgru.model import Model

            return Model._from_saved(config, tensors)
        from rgru import estimators

        estimator: type[GRUClassifier | GRURegressor] = getattr(estimators, kind)
        return estimator._from_saved(config, tensors)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: not a whole {kind} ({error})") from error
