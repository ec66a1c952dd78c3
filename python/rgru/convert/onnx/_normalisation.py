"""Layer normalisation as exporters write it out for versions of ONNX before 17: means, squares and a square root."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Part:
    """A value within layer normalisation of rows.

    Attributes
    ----------
    kind : str
        "mean", "centred" (the rows less it), "squares" (of these), "variance" (their mean, plus epsilon), "deviation"
        (its root), or "result".
    rows : str
        The value with the rows.
    epsilon : float
    """

    kind: str
    rows: str
    epsilon: float = 0.0


def part_of(  # noqa: PLR0911
    node: Any, parts: Mapping[str, Part], over_features: bool, number: Callable[[str], NDArray[Any] | None]
) -> Part | None:
    """Return the part that a node computes, or None if it is none.

    Parameters
    ----------
    node : onnx.NodeProto
    parts : mapping of str to Part
        Those before, by the names of their values.
    over_features : bool
        For ReduceMean: whether it is over the last axis, which stays.
    number : callable
        Returns the constant of a name, or None.
    """
    first, second = (*node.input, "", "")[:2]
    one, other = parts.get(first), parts.get(second)
    kinds = one and one.kind, other and other.kind
    match node.op_type, *kinds:
        case "ReduceMean", None, _ if over_features:
            return Part("mean", first)
        case "Sub", None, "mean" if other and other.rows == first:
            return replace(other, kind="centred")
        case "Mul", "centred", "centred" if one == other:
            return replace(other, kind="squares") if other else None
        case "Pow", "centred", None if one and _is_scalar(number(second), 2):
            return replace(one, kind="squares")
        case "ReduceMean", "squares", _ if over_features and one:
            return replace(one, kind="variance")
        case ("Add", "variance", None) | ("Add", None, "variance"):
            before, epsilon = (one, number(second)) if one else (other, number(first))
            if before and _is_scalar(epsilon):
                assert epsilon is not None
                return replace(before, epsilon=before.epsilon + float(epsilon.reshape(())))
        case "Sqrt", "variance", None if one:
            return replace(one, kind="deviation")
        case "Div", "centred", "deviation" if one and other and one.rows == other.rows:
            return replace(other, kind="result")
    return None


def _is_scalar(array: NDArray[Any] | None, value: float | None = None) -> bool:
    return array is not None and array.size == 1 and (value is None or bool(np.all(array == value)))
