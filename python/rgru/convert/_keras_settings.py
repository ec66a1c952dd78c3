"""The settings of Keras layers, as options of a GRU and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rgru._validation.activations import as_activation
from rgru._validation.scalars import as_bool, as_choice, as_int
from rgru.convert import check_setting

if TYPE_CHECKING:
    import numpy as np

    from rgru._validation.activations import Activation
    from rgru.nn._gru import GRU

_ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "softsign", "elu")
SLOPES = {2: 0.2, 3: 1 / 6}
"""The slope of the hard sigmoid by the version of Keras."""
MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "product"}


_NO_EFFECT = (
    *("name", "trainable", "dtype", "build_config", "batch_input_shape", "batch_shape", "input_dim", "input_length"),
    *("return_sequences", "return_state", "stateful", "unroll", "time_major", "zero_output_for_mask", "implementation"),
    *("kernel_initializer", "recurrent_initializer", "bias_initializer", "dropout", "recurrent_dropout", "seed"),
    *("kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer"),
    *("kernel_constraint", "recurrent_constraint", "bias_constraint"),
)
"""Settings of how a layer is trained and run, which its equations do not depend on."""
_READ = ("units", "use_bias", "reset_after", "activation", "recurrent_activation", "go_backwards")


def configs_of(name: str, config: Any) -> dict[str, Any]:
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


def cell_of(name: str, config: Mapping[str, Any]) -> tuple[int, bool, bool]:
    """Return units, use_bias and reset_after of a GRU layer's config."""
    if "units" not in config:
        got = ", ".join(config) or "nothing"
        raise ValueError(f"{name}: expected the config of a GRU or a Bidirectional, got {got}")
    strange = [key for key in config if key not in (*_READ, *_NO_EFFECT)]
    if strange:
        raise ValueError(f"{name}: expected settings of a Keras GRU, got {', '.join(map(repr, strange))}")
    return (
        as_int(f"{name}['units']", config["units"], 1),
        as_bool(f"{name}['use_bias']", config.get("use_bias", True)),
        as_bool(f"{name}['reset_after']", config.get("reset_after", True)),
    )


def options_of(
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
        options[0]["merge"] = MERGES[as_choice(f"{name}['merge_mode']", mode, tuple(MERGES))]
    return options[0]


def _activation_in(name: str, value: Any, version: int | None, *, gate: bool) -> Activation:
    known = ("sigmoid", "hard_sigmoid") if gate else (*_ACTIVATIONS, "hard_sigmoid")
    kind = as_choice(name, "linear" if value is None else value, known)
    if kind != "hard_sigmoid":
        return as_activation(name, kind, gate=gate)
    if version is None:
        raise ValueError(f"version: expected 2 or 3 for {name}, whose slope is 0.2 in Keras 2 and 1/6 in 3, got None")
    return kind, SLOPES[version], 0.5


def activation_out(gru: GRU, option: str, version: int) -> str:
    """Return the name that Keras has for an activation of a GRU.

    Raises
    ------
    ValueError
        If it has other parameters than Keras's.
    """
    value: Activation = getattr(gru, option)
    check_parameters(f"gru.{option}", value, gru.dtype, version)
    return value if isinstance(value, str) else str(value[0])


def check_parameters(name: str, value: Activation, dtype: np.dtype[Any], version: int) -> None:
    """Refuse an activation with other parameters than Keras's."""
    kind, *parameters = (value,) if isinstance(value, str) else value
    known = {"elu": [1.0], "hard_sigmoid": [SLOPES[version], 0.5]}.get(str(kind), [])
    # As the cell has them: a float32 one has the slope 0.2 of Keras from ONNX too, where it is rounded.
    if any(dtype.type(one) != dtype.type(other) for one, other in zip(parameters, known, strict=True)):
        check_setting(f"{name}: parameters of {kind}", parameters, known, f"Keras {version} has no other")
