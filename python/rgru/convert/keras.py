"""Keras: gates z, r, h; kernels (in, out); reset-after by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.scalars import as_bool, as_int
from rgru.convert import as_parts, as_weights, check_setting, check_shape, gru_of
from rgru.nn._gate_order import biases_out, cell_in, cells_of, gates_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rgru.nn._gate_order import CellArrays
    from rgru.nn._gru import GRU


def from_weights(layers: Sequence[tuple[Sequence[ArrayLike], Mapping[str, Any]]]) -> GRU:
    """Make a GRU of the weights and settings of Keras layers; needs no Keras.

    Parameters
    ----------
    layers : list of (weights, config)
        Pairs ``(layer.get_weights(), layer.get_config())``, from the input on: all of GRU (or GRUCell), or all of
        Bidirectional with a GRU inside. The weights are kernel (I, 3H), recurrent kernel (H, 3H) and, with
        ``use_bias``, bias, (2, 3H) with ``reset_after`` and else (3H,); in a Bidirectional, the weights of the backward
        layer follow. Keys that a config lacks have the defaults of Keras 3.

    Returns
    -------
    GRU
        A GRU with the layers' cell, sizes and dtype. Settings for how a layer runs (``return_sequences``, ``stateful``,
        ``time_major``...) have no effect. Neither has its dropout, which acts on inputs and states in training.

    Raises
    ------
    ValueError
        If the sizes of layers do not match, or a layer has a feature that rgru lacks: an ``activation`` other than
        tanh, a ``recurrent_activation`` other than sigmoid, ``go_backwards`` outside of a Bidirectional, a
        ``merge_mode`` other than concat.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru.convert.keras import from_weights
    >>> weights = [np.zeros((3, 12), np.float32), np.zeros((4, 12), np.float32), np.zeros((2, 12), np.float32)]
    >>> from_weights([(weights, {"units": 4, "activation": "tanh", "reset_after": True})])
    GRU(3, 4, reset_after=True)
    """
    cells, afters = [], []
    for k, (weights, config) in enumerate(as_parts("layers", layers, "(weights, config)")):
        configs = _configs(f"layers[{k}].config", config)
        arrays = list(weights)
        kinds = [_check(name, one, backwards) for backwards, (name, one) in enumerate(configs.items())]
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
    return gru_of("layers", cells, reset_after=afters[0])


def to_weights(gru: GRU) -> list[tuple[list[NDArray[Any]], dict[str, Any]]]:
    """Convert a GRU, with either cell, into the weights and settings of Keras layers; needs no Keras.

    Parameters
    ----------
    gru : GRU
        The GRU.

    Returns
    -------
    list of (weights, config)
        Pairs as in `from_weights`. Make each layer by ``keras.layers.GRU.from_config(config)``, or ``Bidirectional``,
        build it, and call ``layer.set_weights(weights)``.

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
    config: dict[str, Any] = {
        "units": gru.hidden_size,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": gru.bias,
        "reset_after": gru.reset_after,
        "return_sequences": True,
        "dtype": gru.dtype.name,
    }
    if gru.bidirectional:
        inner = {"module": "keras.layers", "class_name": "GRU", "config": config, "registered_name": None}
        config = {"layer": inner, "merge_mode": "concat", "dtype": gru.dtype.name}
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
    check_setting(f"{name}['merge_mode']", config.get("merge_mode", "concat"), "concat", "rgru has no other")
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


def _check(name: str, config: Mapping[str, Any], backwards: int) -> tuple[int, bool, bool]:
    """Return units, use_bias and reset_after of a GRU layer's config, after a check that rgru supports the rest."""
    if "units" not in config:
        got = ", ".join(config) or "nothing"
        raise ValueError(f"{name}: expected the config of a GRU or a Bidirectional, got {got}")
    check_setting(f"{name}['activation']", config.get("activation", "tanh"), "tanh", "rgru has no other")
    recurrent = config.get("recurrent_activation", "sigmoid")
    check_setting(f"{name}['recurrent_activation']", recurrent, "sigmoid", "rgru has no other")
    check_setting(
        f"{name}['go_backwards']",
        config.get("go_backwards", False),
        bool(backwards),
        "only the second layer of a Bidirectional runs backwards; for a single layer, reverse x and y in time",
    )
    return (
        as_int(f"{name}['units']", config["units"], 1),
        as_bool(f"{name}['use_bias']", config.get("use_bias", True)),
        as_bool(f"{name}['reset_after']", config.get("reset_after", True)),
    )


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
