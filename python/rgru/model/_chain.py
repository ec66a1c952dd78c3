"""The layers of a model in a row: their sizes, checked, and their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rgru.model._activation import Activation, Dropout
from rgru.model._gru_layer import GruLayer
from rgru.model._layer_norm import LayerNorm
from rgru.model._linear import Linear
from rgru.model._pool import Pool
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from rgru.model._layer import Layer

_KINDS: tuple[type[Any], ...] = (GRU, Linear, LayerNorm, Activation, Dropout, Pool)


class Chain:
    """Layers, from the input on.

    Parameters
    ----------
    layers : sequence
        `rgru.GRU` and layers of `rgru.model`.

    Attributes
    ----------
    layers : tuple
        The layers as they were given.
    steps : tuple of Layer
        The same, with GRUs wrapped.
    input_size, output_size : int
        The features of the first layer's input and of the last one's output.
    widest : int
        The largest number of features of a step within the model.
    """

    def __init__(self, layers: Any) -> None:
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise TypeError(f"layers: expected a list of layers, got {type(layers).__name__}")
        self.layers: tuple[Any, ...] = tuple(layers)
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, _KINDS):
                expected = ", ".join(kind.__name__ for kind in _KINDS)
                raise TypeError(f"layers[{i}]: expected one of {expected}, got {type(layer).__name__}")
        self.grus = [layer for layer in self.layers if isinstance(layer, GRU)]
        if not self.grus:
            raise ValueError(f"layers: expected at least one GRU, got {list(self.layers)}")
        self.dtype: np.dtype[Any] = self.grus[0].dtype
        self._check_order()
        self.steps: tuple[Layer, ...] = tuple(
            GruLayer(layer, last=_is_last(after)) if isinstance(layer, GRU) else layer
            for layer, after in zip(self.layers, (*self.layers[1:], None), strict=True)
        )
        self._measure()

    @property
    def every(self) -> bool:
        """Whether no layer pools."""
        return not any(isinstance(layer, Pool) for layer in self.layers)

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """All parameters, by the number of their layer and their name: ``"2.weight"``."""
        return {f"{i}.{name}": array for i, step in enumerate(self.steps) for name, array in step._tensors.items()}

    @property
    def config(self) -> dict[str, Any]:
        """All layers with their arguments, as JSON values."""
        return {
            "dtype": self.dtype.name,
            "layers": [
                {"layer": type(layer).__name__, **step._config}
                for layer, step in zip(self.layers, self.steps, strict=True)
            ],
        }

    @classmethod
    def from_saved(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Restore layers from their `config` and `tensors`; raise KeyError, TypeError or ValueError."""
        kinds, left, layers = {kind.__name__: kind for kind in _KINDS}, dict(tensors), []
        for i, described in enumerate(config["layers"]):
            own = {name: left.pop(name) for name in list(left) if name.startswith(f"{i}.")}
            given = {name.partition(".")[2]: array for name, array in own.items()}
            arguments = {name: value for name, value in described.items() if name != "layer"}
            kind = kinds[described["layer"]]
            if kind is GRU:
                layers.append(GRU._from_saved(arguments, given))
                continue
            layers.append(kind._from_saved(arguments, given))
            if given:
                raise ValueError(f"layers[{i}]: unexpected tensors {sorted(given)}")
        if left:
            raise ValueError(f"tensors: expected those of {len(layers)} layers, got {sorted(left)}, too")
        chain = cls(layers)
        if config["dtype"] != chain.dtype.name:
            raise ValueError(f"dtype: expected {config['dtype']}, got parameters in {chain.dtype.name}")
        return chain

    def _check_order(self) -> None:
        pooled = False
        for i, layer in enumerate(self.layers):
            before = self.layers[i - 1] if i else None
            dtype = getattr(layer, "dtype", self.dtype)
            if dtype != self.dtype:
                raise ValueError(f"layers[{i}]: expected {self.dtype.name} as the first GRU has, got {dtype.name}")
            if pooled and isinstance(layer, (GRU, Pool)):
                raise ValueError(f"layers[{i}]: expected a layer for single rows after Pool, got {layer!r}")
            if _is_last(layer) and not isinstance(before, GRU):
                raise ValueError(f"layers[{i}]: expected a GRU right before {layer!r}, got {before!r}")
            if i and isinstance(layer, GRU) and layer.vocabulary is not None:
                raise ValueError(f"layers[{i}]: expected a GRU that reads ids as the first layer, got it after another")
            pooled |= isinstance(layer, Pool)
        if isinstance(self.layers[0], Pool):
            raise ValueError(f"layers[0]: expected a GRU before {self.layers[0]!r}")

    def _measure(self) -> None:
        features, pooled = None, False
        first, self.widest = None, 1
        for i, (layer, step) in enumerate(zip(self.layers, self.steps, strict=True)):
            try:
                after = step._output_size(features)
            except ValueError as error:
                raise ValueError(f"layers[{i}]: expected {layer!r} to follow {error}") from None
            if first is None and after is not None:
                first = _input_size(layer)
            features, pooled = after, pooled or isinstance(layer, Pool)
            if not pooled and features is not None:
                self.widest = max(self.widest, features)
        assert first is not None  # a GRU has its sizes
        assert features is not None
        self.input_size: int = first
        self.output_size: int = features


def _input_size(layer: Any) -> int:
    if isinstance(layer, GRU):
        return layer.input_size
    return int(layer._config["input_size"] if isinstance(layer, Linear) else layer._config["size"])


def _is_last(layer: object) -> bool:
    return isinstance(layer, Pool) and layer.kind == "last"
