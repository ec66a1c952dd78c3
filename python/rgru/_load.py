"""From a file to the model that it holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rgru._files.model_file import check_kind, read
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from rgru.estimators import GRUClassifier, GRURegressor

KINDS = ("GRU", "GRUClassifier", "GRURegressor")


def load(path: str | os.PathLike[str]) -> GRU | GRUClassifier | GRURegressor:
    """Read a GRU or an estimator from a file that its ``save`` has written.

    Parameters
    ----------
    path : path_like

    Returns
    -------
    GRU, GRUClassifier or GRURegressor
        What was saved, bit for bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, of an unknown version, or not whole; the message names the file and what is wrong.
    """
    kind, config, tensors = read(path)
    name = os.fspath(path)
    check_kind(name, kind, KINDS)
    try:
        if kind == "GRU":
            return GRU._from_saved(config, tensors)
        from rgru import estimators

        return estimators.from_saved(kind, config, tensors)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: not a whole {kind} ({error})") from error
