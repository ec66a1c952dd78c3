"""Keras layers and models of GRUs and of whole models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._optional_imports import needed
from rgru._validation.scalars import as_int
from rgru.convert import check_setting
from rgru.convert._keras_settings import MERGES, activation_out, check_parameters
from rgru.model import Activation, Dropout, LayerNorm, Linear, Model, Pool
from rgru.nn._gate_order import biases_out, cells_of, gates_out
from rgru.nn._gru import GRU

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_weights(gru: GRU, *, version: int = 3) -> list[tuple[list[NDArray[Any]], dict[str, Any]]]:
    """Convert a GRU, with either cell, into the weights and settings of Keras layers; needs no Keras.

    Parameters
    ----------
    gru : GRU
        The GRU.
    version : {2, 3}, default 3
        The version of Keras, which decides the slope of its hard sigmoid.

    Returns
    -------
    list of (weights, config)
        Pairs as in `from_weights`. Make each layer by ``keras.layers.GRU.from_config(config)``, or ``Bidirectional``,
        build it, and call ``layer.set_weights(weights)``.

    Raises
    ------
    ValueError
        If the GRU has an option that Keras lacks: a clip, ``learned_h0``, another hard sigmoid than that of this
        version, an elu with another alpha than 1, or ``reverse`` with several layers.

    Examples
    --------
    >>> import rgru
    >>> from rgru.convert.keras import from_weights, to_weights
    >>> [(weights, config)] = to_weights(rgru.GRU(3, 4))
    >>> [array.shape for array in weights], config["reset_after"]
    ([(3, 12), (4, 12), (12,)], False)
    >>> from_weights([(weights, config)])
    GRU(3, 4)
    """
    as_int("version", version, 2, 3)
    gru._check_only("a Keras GRU", "gate_activation", "activation", "reverse", "merge")
    return _weights(gru, version)


def _weights(gru: GRU, version: int) -> list[tuple[list[NDArray[Any]], dict[str, Any]]]:
    if gru.num_layers > 1:
        why = "a layer above would read the reversed outputs backwards again"
        check_setting("gru.reverse", gru.reverse, False, why)
    config: dict[str, Any] = {
        "units": gru.hidden_size,
        "activation": activation_out(gru, "activation", version),
        "recurrent_activation": activation_out(gru, "gate_activation", version),
        "use_bias": gru.bias,
        "reset_after": gru.reset_after,
        "return_sequences": True,
        "dtype": gru.dtype.name,
    }
    if gru.reverse:
        config["go_backwards"] = True
    if gru.bidirectional:
        inner = {"module": "keras.layers", "class_name": "GRU", "config": config, "registered_name": None}
        config = {
            "layer": inner,
            "merge_mode": next(mode for mode, merge in MERGES.items() if merge == gru.merge),
            "dtype": gru.dtype.name,
        }
    layers = []
    for cells in cells_of(gru, gru.params):
        weights: list[NDArray[Any]] = []
        for cell in cells:
            weights += [gates_out(cell[name], "zrh").T for name in ("W", "U")]
            if gru.bias:
                biases = biases_out(cell, "zrh")
                weights.append(np.stack(biases) if gru.reset_after else biases[0])
        layers.append((weights, config))
    return layers


def to_keras(model: GRU | Model) -> Any:
    """Make a Keras model of a GRU, with either cell, or of a whole model.

    Parameters
    ----------
    model : GRU or Model
        The GRU or model.

    Returns
    -------
    keras.Sequential
        A GRU or Bidirectional layer for each layer of a GRU, which return all steps or are pooled as the model says,
        an Embedding before those of ids, Dropout between them if the GRU has dropout, and the layers of a `rgru.Model`
        under Keras's names. ``model.save(path)`` writes a file that `from_keras` reads.

    Raises
    ------
    ValueError
        If a layer has an option that Keras lacks, as in `to_weights`: a hard sigmoid with another slope, a clip from
        another number than 0, other features beside ids, or ``reverse`` without pooling by "last" in a `rgru.Model`,
        since Keras reverses the steps.
    ImportError
        If Keras is not installed.

    Examples
    --------
    >>> import keras
    >>> import rgru
    >>> from rgru.model import Linear, Pool
    >>> rgru.convert.keras.to_keras(rgru.GRU(3, 8, 2)).output_shape
    (None, None, 8)
    >>> rgru.convert.keras.to_keras(rgru.Model([rgru.GRU(3, 8), Pool("last"), Linear(8, 2)])).output_shape
    (None, 2)
    """
    keras = needed("keras", "keras")
    if not isinstance(model, (GRU, Model)):
        raise TypeError(f"model: expected a GRU or a Model, got {type(model).__name__}")
    layers = model.layers if isinstance(model, Model) else (model,)
    version, dtype = int(keras.__version__.split(".")[0]), model.dtype.name
    first = layers[0]
    ids = isinstance(first, GRU) and first.vocabulary is not None
    made: list[tuple[Any, list[NDArray[Any]]]] = []
    made.append((keras.Input((None,) if ids else (None, model.input_size), dtype="int64" if ids else dtype), []))
    for i, (layer, after) in enumerate(zip(layers, (*layers[1:], None), strict=True)):
        if isinstance(layer, GRU):
            last = isinstance(after, Pool) and after.kind == "last"
            if isinstance(model, Model) and not last:
                why = "Keras returns the steps in reverse order then"
                check_setting(f"layers[{i}].reverse", layer.reverse, False, why)
            made += _gru(keras.layers, layer, version, last=last)
        else:
            made += _layer(keras.layers, f"layers[{i}]", layer, dtype, version)
    sequential = keras.Sequential([layer for layer, _ in made])
    for layer, weights in made[1:]:
        layer.set_weights(weights)
    return sequential


def _gru(layers: Any, gru: GRU, version: int, *, last: bool) -> list[tuple[Any, list[NDArray[Any]]]]:
    """Return the layers for a GRU with their weights; the last one returns the final state if that is all."""
    gru._check_only(
        "a Keras model", "gate_activation", "activation", "reverse", "merge", "vocabulary", "embedding_size"
    )
    made: list[tuple[Any, list[NDArray[Any]]]] = []
    if gru.vocabulary is not None:
        check_setting("gru.input_size", gru.input_size, 1, "a Keras GRU has no other features beside ids")
        table = gru.params["embedding"]
        made.append((layers.Embedding(*table.shape, dtype=gru.dtype.name), [table]))
    kind = layers.Bidirectional if gru.bidirectional else layers.GRU
    pairs = _weights(gru, version)
    for k, (weights, config) in enumerate(pairs):
        if k and gru.dropout:
            made.append((layers.Dropout(gru.dropout, dtype=gru.dtype.name), []))
        if last and k == len(pairs) - 1:
            inner = config["layer"]["config"] if gru.bidirectional else config
            inner["return_sequences"] = False
        made.append((kind.from_config(config), weights))
    return made


def _layer(layers: Any, name: str, layer: Any, dtype: str, version: int) -> list[tuple[Any, list[NDArray[Any]]]]:
    if isinstance(layer, Linear):
        weights = [layer.weight.T] if layer.bias is None else [layer.weight.T, layer.bias]
        return [(layers.Dense(len(layer.weight), use_bias=layer.bias is not None, dtype=dtype), weights)]
    if isinstance(layer, LayerNorm):
        return [(layers.LayerNormalization(epsilon=layer.epsilon, dtype=dtype), [layer.gain, layer.bias])]
    if isinstance(layer, Dropout):
        return [(layers.Dropout(layer.rate, dtype=dtype), [])]
    if isinstance(layer, Pool):
        pools = {"mean": layers.GlobalAveragePooling1D, "max": layers.GlobalMaxPooling1D}
        return [(pools[layer.kind](dtype=dtype), [])] if layer.kind in pools else []
    assert isinstance(layer, Activation)
    return [(_activation(layers, name, layer, dtype, version), [])]


def _activation(layers: Any, name: str, layer: Activation, dtype: str, version: int) -> Any:
    kind, *parameters = (layer.activation,) if isinstance(layer.activation, str) else layer.activation
    if kind == "elu":
        return layers.ELU(parameters[0], dtype=dtype)
    if kind == "clip":
        why = "Keras limits numbers from 0 alone"
        check_setting(f"{name}.activation: the lower limit of clip", parameters[0], 0.0, why)
        return layers.ReLU(max_value=parameters[1], dtype=dtype)
    if kind == "leaky_relu":
        return layers.LeakyReLU(negative_slope=parameters[0], dtype=dtype)
    check_parameters(f"{name}.activation", layer.activation, np.dtype(dtype), version)
    return layers.Activation(kind, dtype=dtype)
