"""Validation of the forms of layer normalisation."""

from __future__ import annotations

import numpy as np

from rgru._validation.scalars import is_number

EPSILONS = {"separate": 1e-5, "sum": 1e-3}
"""The forms, and the epsilons of haste and DreamerV3, where they come from."""


def as_layer_norm(name: str, value: object, dtype: str = "float64") -> tuple[str, float] | None:
    """Convert `value` to a form and its epsilon, in the range of `dtype`, or None.

    Raises
    ------
    TypeError
        If `value` is neither None, a string nor a sequence.
    ValueError
        If there is no such form, or the epsilon is not valid.
    """
    if value is None:
        return None
    if not isinstance(value, (str, tuple, list)):
        raise TypeError(f"{name}: expected a name, a tuple of a name and epsilon, or None, got {value!r}")
    form, *rest = (value,) if isinstance(value, str) else (value or ("",))
    if not isinstance(form, str) or form not in EPSILONS or len(rest) > 1:
        raise ValueError(f"{name}: expected 'separate', 'sum', or a tuple of one and epsilon, got {value!r}")
    epsilon = rest[0] if rest else EPSILONS[form]
    limits = np.finfo(dtype)
    if not is_number(epsilon) or not float(limits.tiny) <= epsilon <= float(limits.max):
        raise ValueError(f"{name}: expected a {dtype} above 0 as epsilon, got {epsilon!r}")
    return str(form), float(epsilon)
