"""The interface of `onnx.backend`, through which ONNX's own tests of operators run on rgru.

>>> import onnx
>>> import onnxruntime
>>> import rgru.onnx.backend
>>> rgru.onnx.backend.supports_device("CPU")
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert.onnx._model_file import read_model
from rgru.onnx._session import InferenceSession

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Prepared:
    """A model that is ready to run; see `onnx.backend.base.BackendRep`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        weights = {name for node in model.graph.node if node.op_type == "GRU" for name in node.input[1:4]}
        self._weights = weights & {one.name for one in model.graph.input}
        self._session = None if self._weights else InferenceSession(model, small_calls=False)

    def run(self, inputs: Sequence[Any] | Mapping[str, Any]) -> tuple[Any, ...]:
        """Run on arrays by name, or in the order of the model's inputs, and return all outputs."""
        if isinstance(inputs, dict):
            feeds = dict(inputs)
        else:
            feeds = dict(zip((one.name for one in self._model.graph.input), inputs, strict=True))
        session = self._session or InferenceSession(self._with_weights(feeds), small_calls=False)
        return tuple(session.run(None, {one.name: feeds[one.name] for one in session.get_inputs()}))

    def _with_weights(self, feeds: Mapping[str, Any]) -> Any:
        """Return the model with the weights of its GRUs, which in tests are inputs, as initialisers."""
        from onnx import ModelProto, numpy_helper

        model = ModelProto()
        model.CopyFrom(self._model)
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(feeds[name]), name) for name in self._weights)
        return model


def supports_device(device: str) -> bool:
    """Tell whether models run on a device of `onnx.backend.base.DeviceType`: the CPU alone."""
    return device.partition(":")[0] == "CPU"


def is_compatible(model: Any, device: str = "CPU", **kwargs: Any) -> bool:
    """Tell whether a model can be prepared; ONNX Runtime decides about what is no GRU."""
    return supports_device(device)


def prepare(model: Any, device: str = "CPU", **kwargs: Any) -> Prepared:
    """Return a model, ready to run."""
    if not supports_device(device):
        raise ValueError(f"device: expected 'CPU', got {device!r}")
    return Prepared(read_model(model)[1])


def run_model(model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
    """Run a model once."""
    return prepare(model, device).run(inputs)
