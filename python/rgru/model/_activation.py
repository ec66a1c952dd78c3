"""Activations and dropout: layers without parameters."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from rgru._validation.activations import as_activation
from rgru._validation.scalars import as_probability, is_number
from rgru.model._layer import RowLayer

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

    from rgru._backends.base import Backend
    from rgru._validation.activations import Activation as Name


class Activation(RowLayer):
    """An activation of a `rgru.Model`, applied to each number of a row, or for softmax to the row.

    Parameters
    ----------
    activation : str or tuple
        Those of `rgru.GRU`'s candidate: ``"tanh"``, ``"relu"``, ``"sigmoid"``, ``"softsign"``, ``"linear"``,
        ``("elu", alpha)``, ``("hard_sigmoid", alpha, beta)``; also ``("leaky_relu", slope)``, ``"silu"``, which is
        x sigmoid(x), ``("clip", low, high)``, where one of the limits may be None, and ``"softmax"``.

    Examples
    --------
    >>> import rgru
    >>> from rgru.model import Activation, Linear, Pool
    >>> rgru.Model([rgru.GRU(3, 8), Pool("last"), Linear(8, 4), Activation("softmax")])
    Model([GRU(3, 8), Pool('last'), Linear(8, 4), Activation('softmax')])
    """

    def __init__(self, activation: Name) -> None:
        self.activation: Name = _as_name(activation)

    @property
    def _config(self) -> dict[str, Any]:
        """The activation."""
        return {"activation": self.activation}

    @classmethod
    def _from_saved(cls, config: dict[str, Any], tensors: dict[str, Any]) -> Self:
        """Restore a layer from its `_config`."""
        return cls(**config)

    @property
    def _kind(self) -> str:
        return self.activation if isinstance(self.activation, str) else str(self.activation[0])

    def _apply(self, backend: Backend, x: Any, given: Any) -> Any:
        if self._kind == "softmax":
            return backend.softmax(x)
        if self._kind == "silu":
            return x * backend.activate(x, "sigmoid")
        if self._kind == "leaky_relu":
            return backend.xp.where(x > 0, x, x * x.dtype.type(self.activation[1]))
        if self._kind == "clip":
            low, high = self._numbers(x)
            return backend.xp.where(x < low, low, backend.xp.where(x > high, high, x))
        return backend.activate(x, self.activation)

    def _numbers(self, x: Any) -> list[Any]:
        # No limit is NaN, which nothing is beyond.
        return [x.dtype.type("nan" if one is None else one) for one in self.activation[1:]]

    def _record_rows(self, backend: Backend, x: Any, given: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        y = self._apply(backend, x, given)
        return y, (x, y)

    def _backward_rows(self, backend: Backend, saved: Any, dy: Any, given: Any) -> tuple[Any, list[Any]]:
        x, y = saved
        where, number = backend.xp.where, x.dtype.type
        parameters = self._numbers(x) if isinstance(self.activation, tuple) else []
        match self._kind:
            case "linear":
                slope = number(1)
            case "tanh":
                slope = 1 - y * y
            case "sigmoid":
                slope = y * (1 - y)
            case "softsign":
                rest = 1 - abs(y)
                slope = rest * rest
            case "relu":
                slope = where(x > 0, number(1), number(0))
            case "leaky_relu":
                slope = where(x > 0, number(1), parameters[0])
            case "elu":
                slope = where(x > 0, number(1), y + parameters[0])
            case "hard_sigmoid":
                slope = where((y > 0) & (y < 1), parameters[0], number(0))
            case "clip":
                slope = where(x == y, number(1), number(0))
            case "silu":
                gate = backend.activate(x, "sigmoid")
                slope = gate + y * (1 - gate)
            case _:  # softmax
                return y * (dy - (y * dy).sum(axis=1, keepdims=True)), []
        return dy * slope, []

    def __repr__(self) -> str:
        return f"Activation({self.activation!r})"


def _as_name(value: Any) -> Name:
    if value in ("softmax", "silu"):
        return str(value)
    if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] == "leaky_relu":
        if not is_number(value[1]) or not 0 <= value[1] < float("inf"):
            raise ValueError(f"activation: expected a slope from 0, got {value[1]!r}")
        return "leaky_relu", float(value[1])
    if isinstance(value, (tuple, list)) and len(value) == 3 and value[0] == "clip":
        return _as_clip(*value[1:])  # type: ignore[no-any-return]
    try:
        return as_activation("activation", value, gate=False)
    except ValueError as error:
        more = ", or 'softmax', 'silu', ('leaky_relu', slope) or ('clip', low, high)"
        raise ValueError(str(error).replace(", got ", f"{more}, got ", 1)) from None


def _as_clip(*limits: Any) -> Any:
    given = [one for one in limits if one is not None]
    if not given or not all(is_number(one) and isfinite(one) for one in given) or given != sorted(set(given)):
        raise ValueError(f"activation: expected one or two finite limits of clip, the lower one first, got {limits}")
    return ("clip", *(None if one is None else float(one) for one in limits))


class Dropout(RowLayer):
    """Dropout of a `rgru.Model`: training hides a share of the features, and scales the others up.

    Parameters
    ----------
    rate : float
        The share that is hidden, from 0 to below 1.

    Examples
    --------
    >>> import rgru
    >>> from rgru.model import Dropout, Linear, Pool
    >>> rgru.Model([rgru.GRU(3, 8), Pool("mean"), Dropout(0.2), Linear(8, 4)])
    Model([GRU(3, 8), Pool('mean'), Dropout(0.2), Linear(8, 4)])
    """

    def __init__(self, rate: float) -> None:
        self.rate = as_probability("rate", rate)

    @property
    def _config(self) -> dict[str, Any]:
        """The rate."""
        return {"rate": self.rate}

    @classmethod
    def _from_saved(cls, config: dict[str, Any], tensors: dict[str, Any]) -> Self:
        """Restore a layer from its `_config`."""
        return cls(**config)

    def _apply(self, backend: Backend, x: Any, given: Any) -> Any:
        return x

    def _record_rows(self, backend: Backend, x: Any, given: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        # Drawn on the host, so that the mask is the same for every device. The mean of the features stays.
        kept = backend.array(rng.random(x.shape, "float32") >= self.rate)
        mask = kept.astype(x.dtype) / x.dtype.type(1.0 - self.rate)
        return x * mask, mask

    def _backward_rows(self, backend: Backend, saved: Any, dy: Any, given: Any) -> tuple[Any, list[Any]]:
        return dy * saved, []

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"
