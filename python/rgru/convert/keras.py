"""Keras: gates z, r, h; kernels (in, out); reset-after by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.activations import as_activation
from rgru._validation.scalars import as_bool, as_choice, as_int
from rgru.convert import as_parts, as_weights, check_setting, check_shape, gru_of
from rgru.nn._gate_order import biases_out, cell_in, cells_of, gates_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rgru._validation.activations import Activation
    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU


_ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "softsign", "elu")
_SLOPES = {2: 0.2, 3: 1 / 6}
"""The slope of the hard sigmoid by the version of Keras."""
_MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "product"}


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
    cells, afters, options = [], [], []
    for k, (weights, config) in enumerate(as_parts("layers", layers, "(weights, config)")):
        configs = _configs(f"layers[{k}].config", config)
        arrays = list(weights)
        kinds = [_check(name, one) for name, one in configs.items()]
        options.append(_options(f"layers[{k}].config", config, configs, version))
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
    return gru_of("layers", cells, reset_after=afters[0], **options[0])


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
    gru._check_only("Keras", "gate_activation", "activation", "reverse", "merge")
    if gru.num_layers > 1:
        why = "a layer above would read the reversed outputs backwards again"
        check_setting("gru.reverse", gru.reverse, False, why)
    config: dict[str, Any] = {
        "units": gru.hidden_size,
        "activation": _activation_out(gru, "activation", version),
        "recurrent_activation": _activation_out(gru, "gate_activation", version),
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
            "merge_mode": next(mode for mode, merge in _MERGES.items() if merge == gru.merge),
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


def _configs(name: str, config: Any) -> dict[str, Any]:
    """Return the configs of the GRU layers in a layer, by name: one, or a forward and a backward one."""
    if not isinstance(config, Mapping):
        raise TypeError(f"{name}: expected a dict as get_config() returns it, got {type(config).__name__}")
    if "layer" not in config:
        return {name: config}
    names = [f"{name}['layer']", f"{name}['backward_layer']"]
    forward, backward = config["layer"], config.get("backward_layer")
    for part, layer in zip(names, (forward, backward or forward), strict=True):
        kind = layer.get("class_name") if isinstance(layer, Mapping) else type(layer).__name__
        check_setting(f"{part}['class_name']", kind, "GRU", "rgru has no other layers")
        if not isinstance(layer.get("config"), Mapping):
            raise ValueError(f"{part}['config']: expected a dict, got {layer.get('config')!r}")
    first = dict(forward["config"])
    # Without a backward layer, Keras reverses the forward one.
    second = first | {"go_backwards": True} if backward is None else dict(backward["config"])
    return {names[0]: first, names[1]: second}


def _check(name: str, config: Mapping[str, Any]) -> tuple[int, bool, bool]:
    """Return units, use_bias and reset_after of a GRU layer's config."""
    if "units" not in config:
        got = ", ".join(config) or "nothing"
        raise ValueError(f"{name}: expected the config of a GRU or a Bidirectional, got {got}")
    return (
        as_int(f"{name}['units']", config["units"], 1),
        as_bool(f"{name}['use_bias']", config.get("use_bias", True)),
        as_bool(f"{name}['reset_after']", config.get("reset_after", True)),
    )


def _options(
    name: str, config: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], version: int | None
) -> dict[str, Any]:
    """Return the options of the GRU that a layer's config stands for, after a check that rgru has them."""
    options = []
    for part, (inner, one) in enumerate(configs.items()):
        backwards = as_bool(f"{inner}['go_backwards']", one.get("go_backwards", False))
        if len(configs) == 2:
            why = "the second layer of a Bidirectional runs backwards, the first does not"
            check_setting(f"{inner}['go_backwards']", backwards, bool(part), why)
        activations = {
            option: _activation_in(f"{inner}['{key}']", one.get(key, usual), version, gate=key != "activation")
            for option, key, usual in (
                ("gate_activation", "recurrent_activation", "sigmoid"),
                ("activation", "activation", "tanh"),
            )
        }
        options.append({**activations, "reverse": backwards and len(configs) == 1})
    for option, value in options[-1].items():
        check_setting(f"{name}: {option} of the backward layer", value, options[0][option], "both directions share it")
    if len(configs) == 2:
        mode = config.get("merge_mode", "concat")
        options[0]["merge"] = _MERGES[as_choice(f"{name}['merge_mode']", mode, tuple(_MERGES))]
    return options[0]


def _activation_in(name: str, value: Any, version: int | None, *, gate: bool) -> Activation:
    known = ("sigmoid", "hard_sigmoid") if gate else (*_ACTIVATIONS, "hard_sigmoid")
    kind = as_choice(name, "linear" if value is None else value, known)
    if kind != "hard_sigmoid":
        return as_activation(name, kind, gate=gate)
    if version is None:
        raise ValueError(f"version: expected 2 or 3 for {name}, whose slope is 0.2 in Keras 2 and 1/6 in 3, got None")
    return kind, _SLOPES[version], 0.5


def _activation_out(gru: GRU, option: str, version: int) -> str:
    value: Activation = getattr(gru, option)
    if isinstance(value, str):
        return value
    kind, *parameters = value
    known = {"elu": [1.0], "hard_sigmoid": [_SLOPES[version], 0.5]}[str(kind)]
    # As the cell has them: a float32 one has the slope 0.2 of Keras from ONNX too, where it is rounded.
    if any(gru.dtype.type(one) != gru.dtype.type(other) for one, other in zip(parameters, known, strict=True)):
        check_setting(f"gru.{option}: parameters of {kind}", parameters, known, f"Keras {version} has no other")
    return str(kind)


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
