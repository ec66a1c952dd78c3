"""The options of a cell as the kernels are compiled for them: its activations, clips, direction, zoneout, norm."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST = {4: 3.4028234663852886e38, 8: 1.7976931348623157e308}
"""The largest number of a type, by its bytes."""


class Activation(IntEnum):
    """The functions of ``kernels/activations.cuh``, which uses the same numbers."""

    SIGMOID = 0
    HARD_SIGMOID = 1
    TANH = 2
    RELU = 3
    LINEAR = 4
    SOFTSIGN = 5
    ELU = 6


@dataclass(frozen=True)
class CellOptions:
    """The options of a cell, as `rgru.GRU` takes them; by default those of the plain cell.

    Attributes
    ----------
    gate_activation, activation : str or tuple
    clip, state_clip : float or None
    reverse : bool
    zoneout : float
    layer_norm : tuple of (str, float) or None

    Examples
    --------
    >>> from rgru._cuda.cell_options import CellOptions
    >>> CellOptions().macros(4)
    {}
    >>> macros = CellOptions(activation="relu", clip=2.0).macros(4)
    >>> macros["CANDIDATE_LOW"], macros["CANDIDATE_HIGH"]
    (0.0, 2.0)
    """

    gate_activation: str | tuple[str | float, ...] = "sigmoid"
    activation: str | tuple[str | float, ...] = "tanh"
    clip: float | None = None
    state_clip: float | None = None
    reverse: bool = False
    zoneout: float = 0.0
    layer_norm: tuple[str, float] | None = None

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> CellOptions:
        """Return the options among the settings of a GRU."""
        found = cls(**{name: sizes[name] for name in cls.__dataclass_fields__})
        return PLAIN if found == PLAIN else found

    @property
    def backward(self) -> CellOptions:
        """The options of the backward pass, which zoneout does not change: it reads what is left of the update gate."""
        return replace(self, zoneout=0.0) if self.zoneout else self

    def macros(self, sum_bytes: int) -> dict[str, int | float]:
        """Return the macros of the kernels for these options, where they are not the usual ones.

        Parameters
        ----------
        sum_bytes : int
            Bytes of a sum, the type that the functions compute in.
        """
        return {} if self is PLAIN else _macros(self, sum_bytes).copy()


PLAIN = CellOptions()


@cache  # every launch asks
def _macros(options: CellOptions, sum_bytes: int) -> dict[str, int | float]:
    macros: dict[str, int | float] = {"REVERSE": 1} if options.reverse else {}
    if options.zoneout:
        macros["ZONEOUT"] = 1.0 - options.zoneout
    if options.layer_norm is not None:
        macros["LAYER_NORM"] = options.layer_norm[1]
    if replace(options, reverse=False, zoneout=0.0, layer_norm=None) == PLAIN:
        return macros
    macros["CUSTOM_CELL"] = 1
    for name, activation in (("GATE", options.gate_activation), ("CANDIDATE", options.activation)):
        function = _function(activation, options.clip, _LARGEST[sum_bytes])
        macros |= {f"{name}_{key}": value for key, value in function.items()}
    if options.state_clip is not None and options.state_clip <= _LARGEST[sum_bytes]:
        macros["STATE_CLIP"] = options.state_clip
    return macros


def _function(activation: str | tuple[str | float, ...], clip: float | None, largest: float) -> dict[str, int | float]:
    """Return the macros of one function: the kind, its parameters, and between which values it is not constant.

    All functions increase, so that to clip the argument is to clip the value.
    """
    name, *given = (activation,) if isinstance(activation, str) else activation
    kind = Activation[str(name).upper()]
    alpha, beta = ([max(-largest, min(float(number), largest)) for number in given] + [0.0, 0.0])[:2]
    low, high = {Activation.HARD_SIGMOID: (0.0, 1.0), Activation.RELU: (0.0, math.inf)}.get(kind, (-math.inf, math.inf))
    if clip is not None:
        ends = (_curve(kind, alpha, beta, end) for end in (-clip, clip))
        low, high = (max(low, min(end, high)) for end in ends)
    has_low, has_high = low >= -largest, high <= largest  # as the type of sums sees them
    return {
        "KIND": int(kind),
        "ALPHA": alpha,
        "BETA": beta,
        "BOUNDS": has_low + 2 * has_high,
        "LOW": low if has_low else 0.0,
        "HIGH": high if has_high else 0.0,
    }


def _curve(kind: Activation, alpha: float, beta: float, a: float) -> float:
    """Return an activation before its flat ends."""
    if kind is Activation.SIGMOID:
        small = math.exp(-abs(a))
        return 1 / (1 + small) if a > 0 else small / (1 + small)
    if kind is Activation.HARD_SIGMOID:
        return alpha * a + beta
    if kind is Activation.TANH:
        return math.tanh(a)
    if kind is Activation.SOFTSIGN:
        return a / (1 + abs(a))
    if kind is Activation.ELU and a < 0:
        return alpha * math.expm1(a)
    return a
