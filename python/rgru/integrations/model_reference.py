"""Models on their way to the workers of an engine: a small pickle, loaded once a process."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rgru._data.ragged import Ragged
from rgru._load import load
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from rgru.estimators import GRUClassifier, GRURegressor

    AnyModel: TypeAlias = "GRU | GRUClassifier | GRURegressor"

MOST_MODELS = 8
"""How many a process keeps; of more, the ones that were used longest ago go."""

_loaded: OrderedDict[str, AnyModel] = OrderedDict()
"""The models of this process by digest, those used last at the end."""

_lock = Lock()


def _renew_lock() -> None:
    """Another thread may have held the lock when this process forked, and is not here to give it back."""
    global _lock  # noqa: PLW0603
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Shipped:
    """A model that travels: as the path of its file, or whole.

    Parameters
    ----------
    model : path_like, GRU, GRUClassifier or GRURegressor
        A file that ``save`` has written, which every worker finds at the same path; the pickle then holds the path and
        a digest of the content. Or a model, in memory and fitted, which the pickle holds as it is now.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file.
    TypeError
        If `model` is none of these.

    Examples
    --------
    >>> import pickle, rgru
    >>> from rgru.integrations.model_reference import Shipped
    >>> shipped = Shipped(rgru.GRU(3, 8))
    >>> pickle.loads(pickle.dumps(shipped)).get()
    GRU(3, 8)
    """

    def __init__(self, model: str | os.PathLike[str] | AnyModel | Shipped) -> None:
        self._path: str | None = None
        self._content = b""
        self._digest: str
        if isinstance(model, Shipped):
            self._path, self._content, self._digest = model._path, model._content, model._digest
        elif isinstance(model, (str, os.PathLike)):
            self._path = str(Path(model).absolute())  # workers have other working directories
            self._digest = _digest(self._path)
            self.get()  # what is wrong with the file is told here, not by each worker
        elif _is_model(model):
            self._content = pickle.dumps(model, protocol=5)
            self._digest = hashlib.sha256(self._content).hexdigest()
        else:
            raise TypeError(f"model: expected a path, GRU, GRUClassifier or GRURegressor, got {type(model).__name__}")

    def get(self) -> AnyModel:
        """Give the model, not to be changed: all users of this process share it.

        It is loaded the first time that a process asks for it, and its weights are packed at its first prediction.

        Raises
        ------
        OSError
            If this machine cannot read the file.
        ValueError
            If the file is another than where this was made.
        """
        with _lock:
            model = _loaded.get(self._digest)
            if model is None:
                model = _loaded[self._digest] = self._load()
                if len(_loaded) > MOST_MODELS:
                    _loaded.popitem(last=False)
            _loaded.move_to_end(self._digest)
            return model

    def no_sequences(self) -> Ragged:
        """Give sequences for the model, none of them: what it makes of them has the type of its predictions."""
        model = self.get()
        width = model.input_size if isinstance(model, GRU) else getattr(model, "n_features_in_", 1)
        return Ragged(np.zeros((0, width), np.float32), [0])

    def _load(self) -> AnyModel:
        if self._path is None:
            model: AnyModel = pickle.loads(self._content)
            return model
        found = _digest(self._path)
        if found != self._digest:
            raise ValueError(
                f"{self._path}: expected the file as it was when the job was made (SHA-256 {self._digest[:16]}...), "
                f"got another (SHA-256 {found[:16]}...)"
            )
        return load(self._path)

    def __repr__(self) -> str:
        return f"Shipped({self._path or f'{len(self._content)} bytes'})"


def _is_model(value: object) -> bool:
    if isinstance(value, GRU):
        return True
    from rgru.estimators import GRUClassifier, GRURegressor

    return isinstance(value, (GRUClassifier, GRURegressor))


def _digest(path: str) -> str:
    content = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            content.update(block)
    return content.hexdigest()
