"""References to models for the workers of an engine: a small pickle, loaded once per process."""

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
    from rgru.model import Model

    AnyModel: TypeAlias = "GRU | Model | GRUClassifier | GRURegressor"

MOST_MODELS = 8
"""The number of models that a process keeps; beyond it, the least recently used one is dropped."""

_loaded: OrderedDict[str, AnyModel] = OrderedDict()
"""The models of this process by digest, the most recently used last."""

_lock = Lock()


def _renew_lock() -> None:
    """Replace the lock after a fork, since a thread of the parent may have held it."""
    global _lock  # noqa: PLW0603
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class ModelReference:
    """A picklable reference to a model: the path of its file, or the model itself.

    Parameters
    ----------
    model : path_like, GRU, Model, GRUClassifier, GRURegressor or ModelReference
        A file written by ``save``, which every worker finds at the same path; the pickle then contains the path and a
        digest of the content. Or a fitted model in memory, of which the pickle contains a copy.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is of another format, or incomplete.

    Examples
    --------
    >>> import pickle
    >>> import rgru
    >>> from rgru.integrations.model_reference import ModelReference
    >>> reference = ModelReference(rgru.GRU(3, 8))
    >>> pickle.loads(pickle.dumps(reference)).get()
    GRU(3, 8)
    """

    def __init__(self, model: str | os.PathLike[str] | AnyModel | ModelReference) -> None:
        self._path: str | None = None
        self._content = b""
        self._digest: str
        if isinstance(model, ModelReference):
            self._path, self._content, self._digest = model._path, model._content, model._digest
        elif isinstance(model, (str, os.PathLike)):
            self._path = str(Path(model).absolute())  # workers have other working directories
            self._digest = _digest(self._path)
            self.get()  # so that an invalid file is an error here, not in each worker
        elif _is_model(model):
            self._content = pickle.dumps(model, protocol=5)
            self._digest = hashlib.sha256(self._content).hexdigest()
        else:
            raise TypeError(
                f"model: expected a path, GRU, Model, GRUClassifier or GRURegressor, got {type(model).__name__}"
            )

    def get(self) -> AnyModel:
        """Return the model, which must not be changed: it is shared within the process.

        Each process loads it at the first call, and packs its weights at its first prediction.

        Returns
        -------
        GRU, Model, GRUClassifier or GRURegressor
            The model.

        Raises
        ------
        OSError
            If this machine cannot read the file.
        ValueError
            If the file's content has changed since the reference was made.

        Examples
        --------
        >>> import rgru
        >>> from rgru.integrations.model_reference import ModelReference
        >>> ModelReference(rgru.GRU(3, 8)).get()
        GRU(3, 8)
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
        """Return an empty batch of sequences for the model; its predictions have the type of all others.

        Returns
        -------
        Ragged
            A batch of 0 sequences.

        Examples
        --------
        >>> import rgru
        >>> from rgru.integrations.model_reference import ModelReference
        >>> ModelReference(rgru.GRU(3, 8)).no_sequences()
        Ragged(0 sequences, 0 steps, 3 features, float32)
        """
        model = self.get()
        width = getattr(model, "input_size", getattr(model, "n_features_in_", 1))
        return Ragged(np.zeros((0, width), np.float32), [0])

    def _load(self) -> AnyModel:
        if self._path is None:
            model: AnyModel = pickle.loads(self._content)
            return model
        found = _digest(self._path)
        if found != self._digest:
            raise ValueError(
                f"{self._path}: expected the file as it was when the job was made (SHA-256 {self._digest[:16]}...), "
                f"got other content (SHA-256 {found[:16]}...)"
            )
        return load(self._path)

    def __repr__(self) -> str:
        return f"ModelReference({self._path or f'{len(self._content)} bytes'})"


def _is_model(value: object) -> bool:
    if isinstance(value, GRU):
        return True
    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.model import Model

    return isinstance(value, (Model, GRUClassifier, GRURegressor))


def _digest(path: str) -> str:
    content = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            content.update(block)
    return content.hexdigest()
