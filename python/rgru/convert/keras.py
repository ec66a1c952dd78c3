"""Keras: gates z, r, h; kernels (in, out); reset-after by default."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_bool, as_int
from rgru.convert import as_parts, as_weights, check_setting, check_shape, gru_of, widened
from rgru.convert._keras_model import KerasModel, choose, layers_of
from rgru.convert._keras_process import read_model
from rgru.convert._keras_settings import cell_of, configs_of, options_of
from rgru.convert._to_keras import to_keras, to_weights
from rgru.nn._gate_order import cell_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from rgru.convert._keras_model import PlacedLayer
    from rgru.model import Model
    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU

__all__ = ["from_keras", "from_weights", "to_keras", "to_weights"]


def from_keras(source: Any, layer: str | None = None, *, ignore_masks: bool = False) -> Any:
    """Make a GRU of a Keras layer, or a whole model of a Keras model or its file.

    Parameters
    ----------
    source : keras.layers.GRU, keras.layers.Bidirectional, keras.Model, or path_like
        A layer, a model, or a file that ``model.save`` has written: ``.keras``, or ``.h5`` of Keras 2 or 3. Files need
        h5py and no Keras, and nothing in them is executed.
    layer : str, optional
        The name of one GRU layer of the model, which is then taken by itself. Without it, the model's layers must be in
        a row: an embedding, GRUs, Dense, normalisation, Dropout, activations, pooling over time. Other layers that
        act in training alone are left out. A model of nothing but like GRU layers becomes one GRU; Dropout layers of
        one rate between them become its `dropout`.
    ignore_masks : bool, default False
        Whether a whole model with masks (Masking, or an Embedding with `mask_zero`) is converted without them. Then
        leave the masked steps out of what the model reads: with `lengths` those at the end, in a `rgru.Ragged` all of
        them. Outputs that are no longer steps are the same.

    Returns
    -------
    GRU or Model
        A GRU with the layers' cell, sizes, settings and dtype, as from `rgru.convert.keras.from_weights`; for a model
        with other layers a `rgru.Model`. The file or Keras itself tells the version that decides the slope of
        hard_sigmoid. float16 becomes float32.

    Raises
    ------
    TypeError
        If `source` is something else, such as a layer of another class.
    ValueError
        If the model has no GRU layer of this name; or without a name, if it has layers that are not in a row or that
        `rgru.Model` does not have; if a layer has a feature that rgru lacks; or if the file is damaged, of another
        form, or has weights without settings, as ``save_weights`` writes them.
    OSError
        If the file cannot be read.
    ImportError
        If the file is read without h5py.

    Examples
    --------
    >>> import keras
    >>> import rgru
    >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(8), keras.layers.Dense(2)])
    >>> rgru.from_keras(model)
    Model([GRU(3, 8, reset_after=True), Pool('last'), Linear(8, 2)])
    """
    if layer is not None and not isinstance(layer, str):
        raise TypeError(f"layer: expected str or None, got {type(layer).__name__}")
    as_bool("ignore_masks", ignore_masks)
    if isinstance(source, (str, os.PathLike)):
        try:
            return _from_model(read_model(source), layer, ignore_masks=ignore_masks)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            told = error if isinstance(error, (TypeError, ValueError)) else f"unexpected settings: {error!r}"
            raise ValueError(f"{os.fspath(source)}: {told}") from error
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(source, keras.layers.Layer):
        got = type(source).__name__
        raise TypeError(f"source: expected a Keras layer or model, or a path, got {got}")
    if isinstance(source, keras.Model):
        return _from_model(_live_model(source, keras.__version__), layer, ignore_masks=ignore_masks)
    if type(source) not in (keras.layers.GRU, keras.layers.Bidirectional):
        kind = f"{type(source).__module__}.{type(source).__qualname__}"
        raise TypeError(f"source: expected keras.layers.GRU or Bidirectional, or a model, got {kind}")
    if layer is not None:
        raise ValueError(f"layer: expected None with a layer as source, got {layer!r}")
    pair = [widened(one) for one in source.get_weights()], source.get_config()
    return _from_layers([pair], int(keras.__version__.split(".")[0]))


def _live_model(source: Any, version: str) -> KerasModel:
    config = source.get_config()
    if "layers" not in config:
        raise TypeError(f"source: expected a Sequential or functional model, got {type(source).__name__}; pass a layer")

    def weights(layer: PlacedLayer) -> list[Any]:
        found = source
        for name, _ in layer.places:
            found = found.get_layer(name)
        return list(found.get_weights())

    return KerasModel({"config": config}, version, weights)


def _from_model(model: KerasModel, layer: str | None, *, ignore_masks: bool) -> GRU | Model:
    every = layers_of(model.config)
    if layer is None and any(one.gru is None and one.kind not in ("InputLayer", "Dropout") for one in every):
        from rgru.convert._keras_layers import keras_model

        return keras_model(model, every, lambda one: _from_placed(model, [one], 0.0), ignore_masks=ignore_masks)
    return _from_placed(model, *choose(model, layer))


def _from_placed(model: KerasModel, layers: Sequence[PlacedLayer], dropout: float) -> GRU:
    pairs = [([widened(one) for one in model.weights(each)], each.complete(model.major)) for each in layers]
    return _from_layers(pairs, model.major, dropout)


def from_weights(layers: Sequence[tuple[Sequence[ArrayLike], Mapping[str, Any]]], *, version: int | None = None) -> GRU:
    """Make a GRU of the weights and settings of Keras layers; needs no Keras.

    Parameters
    ----------
    layers : list of (weights, config)
        Pairs ``(layer.get_weights(), layer.get_config())``, from the input on: all of GRU (or GRUCell), or all of
        Bidirectional with a GRU inside. The weights are kernel (I, 3H), recurrent kernel (H, 3H) and, with
        ``use_bias``, bias, (2, 3H) with ``reset_after`` and else (3H,); in a Bidirectional, the weights of the backward
        layer follow. Keys that a config lacks have the defaults of Keras 3.
    version : {2, 3}, optional
        The version of Keras that the layers are of. It is needed for hard_sigmoid alone, whose slope is 0.2 in Keras 2
        and 1/6 in Keras 3. The settings do not tell it.

    Returns
    -------
    GRU
        A GRU with the layers' cell, sizes and dtype. Settings for how a layer runs (``return_sequences``, ``stateful``,
        ``time_major``...) have no effect. Neither has its dropout, which acts on inputs and states in training.

    Raises
    ------
    ValueError
        If the sizes of layers do not match, or a layer has a feature that rgru lacks: an ``activation`` other than
        tanh, relu, linear, softsign, elu, sigmoid and hard_sigmoid, a ``recurrent_activation`` other than sigmoid and
        hard_sigmoid, layers that differ in these or in ``merge_mode``, or several layers with ``go_backwards``.

    Notes
    -----
    A Keras layer with ``go_backwards`` returns its sequence of outputs from the last step to the first. rgru returns
    every output at its step: reverse them in time to compare.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.keras import from_weights
    >>> weights = [np.zeros((3, 12), np.float32), np.zeros((4, 12), np.float32), np.zeros((2, 12), np.float32)]
    >>> from_weights([(weights, {"units": 4, "activation": "tanh", "reset_after": True})])
    GRU(3, 4, reset_after=True)
    """
    if version is not None:
        as_int("version", version, 2, 3)
    return _from_layers(layers, version)


def _from_layers(layers: Any, version: int | None, dropout: float = 0.0) -> GRU:
    cells, afters, options = [], [], []
    for k, (weights, config) in enumerate(as_parts("layers", layers, "(weights, config)")):
        configs = configs_of(f"layers[{k}].config", config)
        arrays = list(weights)
        kinds = [cell_of(name, one) for name, one in configs.items()]
        options.append(options_of(f"layers[{k}].config", config, configs, version))
        for option, value in options[-1].items():
            check_setting(f"layers[{k}].config: {option}", value, options[0][option], "all layers of a GRU share it")
        for name, (_, _, after) in zip(configs, kinds, strict=True):
            afters.append(after)
            check_setting(f"{name}['reset_after']", after, afters[0], "all layers of a GRU have the same cell")
        counts = [3 if use_bias else 2 for _, use_bias, _ in kinds]
        if len(arrays) != sum(counts):
            raise ValueError(f"layers[{k}].weights: expected {sum(counts)} arrays, got {len(arrays)}")
        starts = np.cumsum([0, *counts[:-1]])
        cells.append(
            [
                _cell(f"layers[{k}].weights", start, arrays[start : start + count], kind)
                for start, count, kind in zip(starts.tolist(), counts, kinds, strict=True)
            ]
        )
    if len(cells) > 1:
        why = "a layer above would read the reversed outputs backwards again"
        check_setting("layers[0].config['go_backwards']", options[0]["reverse"], False, why)
    return gru_of("layers", cells, reset_after=afters[0], dropout=dropout, **options[0])


def _cell(name: str, start: int, arrays: list[Any], kind: tuple[int, bool, bool]) -> CellArrays:
    units, use_bias, reset_after = kind
    names = [f"{name}[{start + i}]" for i in range(len(arrays))]
    kernel = as_weights(names[0], arrays[0], "(I, 3H)")
    recurrent = as_weights(names[1], arrays[1], "(H, 3H)", kernel.dtype)
    check_shape(names[0], kernel, (len(kernel), 3 * units), "(I, 3H)")
    check_shape(names[1], recurrent, (units, 3 * units), "(H, 3H)")
    biases = []
    if use_bias:
        axes, shape = ("(2, 3H)", (2, 3 * units)) if reset_after else ("(3H,)", (3 * units,))
        bias = as_weights(names[2], arrays[2], axes, kernel.dtype)
        check_shape(names[2], bias, shape, axes)
        biases = list(bias) if reset_after else [bias, np.zeros_like(bias)]
    return cell_in(kernel.T, recurrent.T, biases, "zrh", reset_after)
