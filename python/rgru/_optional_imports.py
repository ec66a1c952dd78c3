"""Imports of optional libraries."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def install(extra: str) -> str:
    """Return the command that installs an extra.

    The package is not on PyPI yet, so ``pip install 'rgru[...]'`` would find no package, or another one.
    """
    return f"pip install '.[{extra}]' in a clone of rgru"


def needed(module: str, extra: str) -> Any:
    """Import a module of an optional library.

    Raises
    ------
    ImportError
        If the library is not installed, or a part of it is missing; with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        hint = install(extra)
        if module == "keras" and error.name == "tensorflow":  # the backend that Keras asks for by default
            hint = "set the environment variable KERAS_BACKEND to torch or jax"
        raise ImportError(f"{module} cannot be imported ({error}): {hint}") from error
