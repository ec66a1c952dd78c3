"""The layers of a Keras model: which are GRUs, and which of them one GRU of several layers can stand for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTED = ("BatchNormalization", "Dense", "Embedding", "LayerNormalization", "Normalization")
"""The layers besides GRUs whose weights a whole model needs."""

_FOR_ROWS = ("Activation", "BatchNormalization", "Dense", "Dropout", "LayerNormalization")
"""The layers that do to all steps at once what they do to each within a TimeDistributed."""


@dataclass(frozen=True)
class PlacedLayer:
    """A layer of a model, or of a model within it.

    Attributes
    ----------
    kind : str
        The name of its class.
    config : dict
        Its settings.
    places : tuple of (str, str)
        The names of the models around it and its own, each with that of its group in Keras's files: its class and,
        from the second of a class on, a number.
    before : str or None
        The name of the layer whose output it reads, if that is all it reads.
    wrapped : bool
        Whether a TimeDistributed of this name is around it.
    """

    kind: str
    config: dict[str, Any]
    places: tuple[tuple[str, str], ...]
    before: str | None
    wrapped: bool = False

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.places[-1][0]

    @property
    def gru(self) -> dict[str, Any] | None:
        """The settings of the GRU that the layer is or runs in both directions, or None."""
        if self.kind == "GRU":
            return self.config
        inner = self.config.get("layer") if self.kind == "Bidirectional" else None
        return inner["config"] if inner and inner["class_name"] == "GRU" else None

    def complete(self, major: int) -> dict[str, Any]:
        """Return the settings with the cell of Keras 2 where its first versions, which had only one, do not name it."""
        if major > 2 or self.gru is None or "reset_after" in self.gru:
            return self.config
        gru = {**self.gru, "reset_after": False}
        return gru if self.kind == "GRU" else {**self.config, "layer": {**self.config["layer"], "config": gru}}


@dataclass(frozen=True)
class KerasModel:
    """A model's settings as JSON, the version of Keras, and a function that returns a layer's weights."""

    config: Any
    version: str
    weights: Callable[[PlacedLayer], list[Any]]

    @property
    def major(self) -> int:
        """The major version: 2 or 3."""
        major = int(self.version.split(".")[0])
        if major not in (2, 3):
            raise ValueError(f"keras_version: expected 2 or 3, got {self.version}")
        return major

    @property
    def outputs(self) -> list[str] | None:
        """The names of the layers whose outputs the model returns; None for the last one, as in a Sequential."""
        inner = self.config["config"]
        return _names(inner["output_layers"]) if isinstance(inner, dict) and "output_layers" in inner else None


def layers_of(config: Any, around: tuple[tuple[str, str], ...] = ()) -> list[PlacedLayer]:
    """Return the layers of a model in their order, with those of models within it in their places."""
    inner = config["config"]
    listed = inner["layers"] if isinstance(inner, dict) else inner  # a list in Keras 2.1 and older
    counts: Counter[str] = Counter()
    found: list[PlacedLayer] = []
    previous = None
    for one in listed:
        kind, settings = one["class_name"], one["config"]
        name = one.get("name") or settings["name"]
        place = kind.lower() + (f"_{counts[kind]}" if counts[kind] else "")
        counts[kind] += 1
        before = _source(one["inbound_nodes"]) if "inbound_nodes" in one else previous
        previous = name
        places = (*around, (name, place))
        inner_layer = settings.get("layer") if kind == "TimeDistributed" else None
        if inner_layer and inner_layer["class_name"] in _FOR_ROWS:
            found.append(PlacedLayer(inner_layer["class_name"], inner_layer["config"], places, before, wrapped=True))
        elif isinstance(settings, list) or "layers" in settings:
            found += layers_of(one, places)
        else:
            found.append(PlacedLayer(kind, settings, places, before))
    return found


def _source(nodes: Any) -> str | None:
    """Return the name of the only layer whose output a layer reads, or None."""
    names = _names(nodes) if len(nodes) == 1 else []
    return names[0] if len(names) == 1 else None


def _names(node: Any) -> list[str]:
    """Return the names of layers in a node: in Keras 3 of tensors' histories, in Keras 2 of lists (name, 0, 0, {})."""
    if isinstance(node, dict):
        history = node.get("keras_history")
        return [history[0]] if history else [name for one in node.values() for name in _names(one)]
    if not isinstance(node, (list, tuple)):
        return []
    own = [node[0]] if len(node) > 2 and isinstance(node[0], str) and isinstance(node[1], int) else []
    return own + [name for one in node for name in _names(one)]


def choose(model: KerasModel, layer: str | None) -> tuple[list[PlacedLayer], float]:
    """Choose the layers that one GRU is to stand for: the named one, or the only stack of like GRUs.

    Parameters
    ----------
    model : KerasModel
    layer : str or None

    Returns
    -------
    layers : list of PlacedLayer
    dropout : float
        The rate of the Dropout layers between them.

    Raises
    ------
    ValueError
        If there is no such layer, or without a name not exactly one stack.
    """
    every = layers_of(model.config)
    grus = [one for one in every if one.gru is not None]
    listed = ", ".join(f"{one.name!r} ({one.kind}, {(one.gru or {}).get('units')} units)" for one in grus)
    if layer is not None:
        named = [one for one in grus if one.name == layer]
        if len(named) != 1:
            raise ValueError(
                f"layer: expected one of {listed or 'the GRU layers, of which there are none'}, got {layer!r}"
            )
        return named, 0.0
    if not grus:
        raise ValueError(f"expected a GRU among the layers, got {', '.join(sorted({one.kind for one in every}))}")
    stack, rates = grus[:1], set()
    for one in grus[1:]:
        before, rate = _through_dropout(every, one)
        rates.add(rate)
        if before != stack[-1].name or _shared(one) != _shared(stack[0]) or len(rates) > 1:
            raise ValueError(f"layer: expected one of {listed}, got None, though they are no stack of like layers")
        stack.append(one)
    return stack, max(rates, default=0.0)


def _through_dropout(every: list[PlacedLayer], layer: PlacedLayer) -> tuple[str | None, float]:
    """Return the name of the layer that feeds another one, and the rate of a Dropout between them."""
    for one in every:
        if one.name == layer.before and one.kind == "Dropout" and one.places[:-1] == layer.places[:-1]:
            return one.before, float(one.config["rate"])
    return layer.before, 0.0


def _shared(layer: PlacedLayer) -> tuple[Any, ...]:
    """Return what all layers of a GRU have in common."""
    gru = layer.gru or {}
    names = ("units", "reset_after", "activation", "recurrent_activation", "go_backwards", "dtype")
    return layer.places[:-1], layer.kind, layer.config.get("merge_mode"), [_plain(gru.get(name)) for name in names]


def _plain(value: Any) -> Any:
    """Return a setting without the numbers by which Keras recognises shared objects."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key != "shared_object_id"}
    return value
