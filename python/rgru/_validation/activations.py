"""Validation of the names of activations, and of their parameters."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from rgru._validation.scalars import is_number

Activation: TypeAlias = "str | tuple[str | float, ...]"
"""The name of an activation, or a tuple of its name and its parameters."""

_PARAMETERS: dict[str, tuple[str, ...]] = {
    "sigmoid": (),
    "hard_sigmoid": ("alpha", "beta"),
    "tanh": (),
    "relu": (),
    "linear": (),
    "softsign": (),
    "elu": ("alpha",),
}
_GATES = ("sigmoid", "hard_sigmoid")


def as_activation(name: str, value: object, *, gate: bool, dtype: str = "float64") -> Activation:
    """Convert `value` to a name, or to a tuple of a name and its parameters as floats, in the range of `dtype`.

    Raises
    ------
    TypeError
        If `value` is neither a string nor a sequence.
    ValueError
        If there is no such activation, gates cannot have it, or its parameters are missing or not valid.
    """
    if not isinstance(value, (str, tuple, list)):
        raise TypeError(f"{name}: expected a name, or a tuple of a name and parameters, got {value!r}")
    kind, *parameters = (value,) if isinstance(value, str) else (value or ("",))
    kind = str(kind) if isinstance(kind, str) else ""
    known = _GATES if gate else tuple(_PARAMETERS)
    if kind not in known:
        why = ", whose values are in [0, 1]" if gate and kind in _PARAMETERS else ""
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}{why}, got {value!r}")
    if kind == "elu" and not parameters:
        parameters = [1.0]
    wanted = _PARAMETERS[kind]
    smallest, largest = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)
    if len(parameters) != len(wanted):
        form = f"({kind!r}, {', '.join(wanted)})" if wanted else repr(kind)
        if kind == "hard_sigmoid":
            form += ": ('hard_sigmoid', 0.2, 0.5) is that of Keras 2 and the default of ONNX, ('hard_sigmoid', 1/6, "
            form += "0.5) that of Keras 3 and PyTorch"
        raise ValueError(f"{name}: expected {form}, got {value!r}")
    for parameter, number in zip(wanted, parameters, strict=True):
        if not is_number(number) or not abs(number) <= largest or (parameter == "alpha" and not number >= smallest):
            expected = f"a {dtype} above 0" if parameter == "alpha" else f"a finite {dtype}"
            raise ValueError(f"{name}: expected {expected} as {parameter}, got {number!r}")
    return (kind, *map(float, parameters)) if parameters else kind
