"""Libraries that an integration needs and that may not be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def install(extra: str) -> str:
    """Return the command that installs what an extra brings.

    The package is on no index yet, so that ``pip install 'rgru[...]'`` would find nothing, or something else.
    """
    return f"pip install '.[{extra}]' in a clone of rgru"


def needed(module: str, extra: str) -> Any:
    """Import a library.

    Raises
    ------
    ImportError
        If it is not installed, or a part of it is missing; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} cannot be imported ({error}): {install(extra)}") from error
