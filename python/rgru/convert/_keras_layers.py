"""Whole models of Keras, whose layers are in a row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert import check_setting, widened
from rgru.convert._keras_model import WEIGHTED
from rgru.convert._keras_settings import SLOPES
from rgru.convert._layers import Embedding, affine, batch_norm, model_of
from rgru.model import Activation, Dropout, LayerNorm, Linear, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rgru.convert._keras_model import KerasModel, PlacedLayer
    from rgru.model import Model
    from rgru.nn._gru import GRU

_ACTIVATIONS = ("tanh", "sigmoid", "relu", "softsign", "softmax", "silu")


_BESIDE_MASKS = ("GlobalMaxPooling1D", "Softmax")
"""Layers over the steps that treat masked ones, if any, in other ways than leaving them out."""


def keras_model(
    model: KerasModel, layers: list[PlacedLayer], gru_from: Callable[[PlacedLayer], GRU], *, ignore_masks: bool
) -> Model:
    """Make a model of layers in a row.

    Parameters
    ----------
    model : KerasModel
    layers : list of PlacedLayer
        All layers of the model.
    gru_from : callable
        Makes a GRU of a layer.
    ignore_masks : bool
        Whether masks are left out.

    Raises
    ------
    ValueError
        If the layers are in no row, or one of them is not a layer of a `rgru.Model`: the error names it.
    """
    found: list[Any] = []
    before, masked = None, False
    for layer in layers:
        if len(layer.places) > 1 or (before is not None and layer.before != before):
            raise _cannot(layer, f"an input from {layer.before!r} in the place of {before!r}")
        before = layer.name
        pooled = any(isinstance(one, Pool) for one in found)
        layer = _with_last_axis(layer, 2 if pooled else 3)  # noqa: PLW2901
        if layer.kind == "Masking" or layer.config.get("mask_zero", False):
            if not ignore_masks:
                what = layer.kind + (" with mask_zero" if layer.kind == "Embedding" else "")
                raise ValueError(f"{_cannot(layer, what)}, and ignore_masks=True leaves masks to the lengths of calls")
            masked = True
        if masked and not pooled and layer.kind in _BESIDE_MASKS:
            raise _cannot(layer, f"{layer.kind} of masked steps")
        if layer.gru is not None:
            found += _gru(layer, gru_from)
            continue
        convert = _CONVERT.get(layer.kind)
        if convert is None or (layer.kind in ("InputLayer", "Embedding") and found):
            raise _cannot(layer, layer.kind)
        arrays = [widened(array) for array in model.weights(layer)] if layer.kind in WEIGHTED else []
        found += convert(layer, arrays, model.major)
    outputs = model.outputs
    if outputs is not None and outputs != [before]:
        raise _cannot(layers[-1], f"the outputs {outputs}")
    return model_of(found)


def _with_last_axis(layer: PlacedLayer, axes: int) -> PlacedLayer:
    """Return a layer with its axis, which Keras 2 counts from the first one, counted from the last one."""
    axis = layer.config.get("axis")
    axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    return replace(layer, config={**layer.config, "axis": -1 if axis == axes - 1 else axis}) if axis else layer


def _gru(layer: PlacedLayer, gru_from: Callable[[PlacedLayer], GRU]) -> list[Any]:
    settings, gru = layer.gru or {}, gru_from(layer)
    for name, why in (("return_state", "a model has one output"), ("stateful", "a call begins anew")):
        check_setting(f"{layer.name}['{name}']", settings.get(name, False), False, why)
    if not settings.get("return_sequences", False):
        return [gru, Pool("last")]
    why = "Keras returns the steps in reverse order then"
    check_setting(f"{layer.name}['go_backwards']", gru.reverse, False, why)
    return [gru]


def _embedding(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    return [Embedding(arrays[0])]


def _dropout(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    check_setting(f"{layer.name}['noise_shape']", layer.config.get("noise_shape"), None, "each number has its own mask")
    return [Dropout(float(layer.config["rate"]))]


def _dense(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    kernel, *bias = arrays
    linear = Linear.from_arrays(np.ascontiguousarray(kernel.T), *bias)
    return [linear, *_named(layer, layer.config.get("activation", "linear"), major)]


def _layer_norm(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    config, left = layer.config, list(arrays)
    check_setting(f"{layer.name}['axis']", config.get("axis", -1), -1, "rows")
    check_setting(f"{layer.name}['rms_scaling']", config.get("rms_scaling", False), False, "rgru subtracts the mean")
    if not left:
        raise _cannot(layer, "a LayerNormalization without gains and biases")
    gain = left.pop(0) if config.get("scale", True) else np.ones_like(left[0])
    bias = left.pop(0) if config.get("center", True) else np.zeros_like(gain)
    return [LayerNorm.from_arrays(gain, bias, epsilon=float(config.get("epsilon", 1e-3)))]


def _batch_norm(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    config, left = layer.config, list(arrays)
    check_setting(f"{layer.name}['axis']", config.get("axis", -1), -1, "it has to be that of features")
    gain = left.pop(0) if config.get("scale", True) else None
    bias = left.pop(0) if config.get("center", True) else None
    mean, variance = left
    return [batch_norm(mean, variance, float(config.get("epsilon", 1e-3)), gain, bias, dtype=mean.dtype)]


def _normalization(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    config = layer.config
    check_setting(f"{layer.name}['axis']", config.get("axis", -1), -1, "it has to be that of features")
    check_setting(f"{layer.name}['invert']", config.get("invert", False), False, "rgru has no such scaling")
    given = arrays[:2] if config.get("mean") is None else [config["mean"], config["variance"]]
    if len(given) < 2:
        raise _cannot(layer, "a Normalization that has not been adapted")
    mean, variance = (np.asarray(one, np.float64).ravel() for one in given)
    gain = 1.0 / np.maximum(np.sqrt(variance), 1e-7)
    dtype = config.get("dtype")  # in Keras 3 a policy
    name = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
    return [affine(gain, -mean * gain, len(mean), "float64" if name == "float64" else "float32")]


def _nothing(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    return []


def _activation(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    return _named(layer, layer.config["activation"], major)


def _relu(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    largest, slope = layer.config.get("max_value"), float(layer.config.get("negative_slope") or 0.0)
    check_setting(f"{layer.name}['threshold']", layer.config.get("threshold", 0.0), 0.0, "rgru has no such ReLU")
    if largest is not None:
        check_setting(f"{layer.name}['negative_slope']", slope, 0.0, "rgru has no such ReLU with a largest value")
        return [Activation(("clip", 0.0, largest))]
    return [Activation(("leaky_relu", slope) if slope else "relu")]


def _leaky_relu(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    slope = layer.config.get("negative_slope", layer.config.get("alpha", 0.3))
    return [Activation(("leaky_relu", float(slope)))]


def _elu(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    return [Activation(("elu", float(layer.config.get("alpha", 1.0))))]


def _softmax(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
    check_setting(f"{layer.name}['axis']", layer.config.get("axis", -1), -1, "softmax is over the features")
    return [Activation("softmax")]


def _pooling(kind: str) -> Callable[..., list[Any]]:
    def convert(layer: PlacedLayer, arrays: list[NDArray[Any]], major: int) -> list[Any]:
        for name, usual in (("data_format", "channels_last"), ("keepdims", False)):
            check_setting(f"{layer.name}['{name}']", layer.config.get(name, usual), usual, "rgru pools over steps")
        return [Pool(kind)]

    return convert


_CONVERT: dict[str, Callable[..., list[Any]]] = {
    "InputLayer": _nothing,
    "Embedding": _embedding,
    "Normalization": _normalization,
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "Dense": _dense,
    "LayerNormalization": _layer_norm,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "GlobalAveragePooling1D": _pooling("mean"),
    "GlobalMaxPooling1D": _pooling("max"),
    # Layers that act in training alone are left out.
    **dict.fromkeys(("ActivityRegularization", "GaussianNoise", "Identity", "SpatialDropout1D"), _nothing),
    "Masking": _nothing,
}


def _named(layer: PlacedLayer, name: Any, major: int) -> list[Any]:
    """Return the layer of an activation by its name in Keras."""
    if name in ("linear", None):
        return []
    if name in _ACTIVATIONS:
        return [Activation(name)]
    special: dict[Any, Any] = {
        "swish": "silu",
        "elu": ("elu", 1.0),
        "hard_sigmoid": ("hard_sigmoid", SLOPES[major], 0.5),
        "leaky_relu": ("leaky_relu", 0.2),
        "relu6": ("clip", 0.0, 6.0),
    }
    if not isinstance(name, str) or name not in special:
        raise _cannot(layer, f"the activation {name!r}")
    return [Activation(special[name])]


def _cannot(layer: PlacedLayer, what: str) -> ValueError:
    return ValueError(
        f"expected layers in a row ({', '.join(('GRU', 'Bidirectional', *_CONVERT))}), got {what} at {layer.name!r}; "
        "layer= converts a GRU by itself"
    )
