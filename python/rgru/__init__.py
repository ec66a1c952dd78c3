"""rgru: gated recurrent units, fast on the CPU and the same bits every time.

An argument of a wrong type raises TypeError, one of a wrong value ValueError; the message names the argument, what was
expected and what was passed. ``Raises`` sections list other errors, and reasons that are not obvious.

>>> import numpy as np
>>> import rgru
>>> gru = rgru.GRU(input_size=3, hidden_size=8)
>>> y, h_n = gru(np.zeros((2, 5, 3), np.float32))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgru._core import __version__
from rgru._data.ragged import Ragged
from rgru._load import load
from rgru._runtime import info, set_num_threads
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from rgru import arrow, convert, datasets, gpu, model, onnx, plot
    from rgru._compare import compare
    from rgru.convert.keras import from_keras
    from rgru.convert.onnx import from_onnx
    from rgru.convert.torch import from_torch
    from rgru.estimators import GRUClassifier, GRURegressor
    from rgru.model import Model
    from rgru.sessions import Sessions

__all__ = [
    "GRU",
    "GRUClassifier",
    "GRURegressor",
    "Model",
    "Ragged",
    "Sessions",
    "__version__",
    "arrow",
    "compare",
    "convert",
    "datasets",
    "from_keras",
    "from_onnx",
    "from_torch",
    "gpu",
    "info",
    "load",
    "model",
    "onnx",
    "plot",
    "set_num_threads",
]

# Names that are imported at first use, and their modules: `import rgru` alone stays quick.
_LAZY = {
    "GRUClassifier": "rgru.estimators",
    "GRURegressor": "rgru.estimators",
    "Model": "rgru.model",
    "arrow": "rgru.arrow",
    "Sessions": "rgru.sessions",
    "compare": "rgru._compare",
    "convert": "rgru.convert",
    "datasets": "rgru.datasets",
    "from_keras": "rgru.convert.keras",
    "from_onnx": "rgru.convert.onnx",
    "from_torch": "rgru.convert.torch",
    "gpu": "rgru.gpu",
    "model": "rgru.model",
    "onnx": "rgru.onnx",
    "plot": "rgru.plot",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'rgru' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(_LAZY[name])
    found = module if module.__name__ == f"rgru.{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
