"""Whole models: their GRUs on rgru's kernels, and back on Keras's."""

from __future__ import annotations

from typing import Any

import keras

from rgru.keras._gru import GRU

_NAMES = {
    keras.layers.GRU: {"module": "keras.layers", "class_name": "GRU", "registered_name": None},
    GRU: {"module": GRU.__module__, "class_name": "GRU", "registered_name": keras.saving.get_registered_name(GRU)},
}
"""How the settings of wrappers and models name the two classes."""


def convert(model: Any) -> Any:
    """Make a copy of a model whose `keras.layers.GRU` are `rgru.keras.GRU`, within wrappers and nested models too.

    Parameters
    ----------
    model : keras.Model
        A Sequential or functional model. It stays as it is.

    Returns
    -------
    keras.Model
        The copy, with copies of all weights, and compiled alike if the model is, with a new optimiser. Other layers,
        such as subclasses and an RNN of GRUCells, are copied as they are.

    Raises
    ------
    TypeError
        If `model` is no model, or of a class of its own, which Keras cannot copy.
    ValueError
        If a GRU has a setting that `rgru.keras.GRU` refuses, with the layer's name.

    Examples
    --------
    >>> import keras
    >>> import rgru.keras
    >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.Bidirectional(keras.layers.GRU(8))])
    >>> type(rgru.keras.convert(model).layers[0].forward_layer)
    <class 'rgru.keras._gru.GRU'>
    """
    return _copy(model, keras.layers.GRU, GRU)


def revert(model: Any) -> Any:
    """Make a copy of a model whose `rgru.keras.GRU` are `keras.layers.GRU` again, such as for a file or an export.

    Parameters
    ----------
    model : keras.Model
        A Sequential or functional model. It stays as it is.

    Returns
    -------
    keras.Model
        The copy, as from `rgru.keras.convert`.

    Raises
    ------
    TypeError
        As `rgru.keras.convert` does.

    Examples
    --------
    >>> import keras
    >>> import rgru.keras
    >>> model = keras.Sequential([keras.Input((None, 3)), rgru.keras.GRU(8)])
    >>> type(rgru.keras.revert(model).layers[0]) is keras.layers.GRU
    True
    """
    return _copy(model, GRU, keras.layers.GRU)


def _copy(model: Any, old: Any, new: Any) -> Any:
    """Copy a model with one class in the place of the other."""
    if not isinstance(model, keras.Model) or "layers" not in model.get_config():
        raise TypeError(f"model: expected a Sequential or functional keras.Model, got {type(model).__name__}")

    def copy(layer: Any) -> Any:
        kind = new if type(layer) is old else type(layer)
        return kind.from_config(_renamed(layer.get_config(), _NAMES[old], _NAMES[new]))

    found = keras.models.clone_model(model, clone_function=copy)
    if model.built:
        found.set_weights(model.get_weights())
    return found


def _renamed(config: Any, old: dict[str, Any], new: dict[str, Any]) -> Any:
    """Return settings in which all layers of one class, at any depth, are of the other."""
    if isinstance(config, (list, tuple)):
        return type(config)(_renamed(one, old, new) for one in config)
    if not isinstance(config, dict):
        return config
    found = {key: _renamed(value, old, new) for key, value in config.items()}
    return found | new if all(config.get(key, ...) == name for key, name in old.items()) else found
