"""Layer normalisation of the rows of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.arrays import as_real, own
from rgru._validation.scalars import as_int, as_precision, is_number
from rgru.model._layer import RowLayer, check_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray
    from typing_extensions import Self

    from rgru._backends.base import Backend


class LayerNorm(RowLayer):
    """Layer normalisation (`Ba et al. 2016 <https://arxiv.org/abs/1607.06450>`_) of each row, in a `rgru.Model`.

    y = g (x - mean(x)) / sqrt(var(x) + epsilon) + b, with the mean and the variance over the K features of a row.

    Parameters
    ----------
    size : int
        K, at least 1.
    epsilon : float, default 1e-5
        Above 0.
    dtype : dtype_like, default "float32"
        The type of all numbers: float32 or float64.

    Attributes
    ----------
    gain : ndarray, shape (K,)
        g, which begins at 1. It may be written to.
    bias : ndarray, shape (K,)
        b, which begins at 0. It may be written to.

    Examples
    --------
    >>> import rgru
    >>> rgru.Model([rgru.model.LayerNorm(3), rgru.GRU(3, 8)])
    Model([LayerNorm(3), GRU(3, 8)])
    """

    def __init__(self, size: int, *, epsilon: float = 1e-5, dtype: DTypeLike = "float32") -> None:
        size, kind = as_int("size", size, 1), as_precision("dtype", dtype)
        self.gain: NDArray[Any] = np.ones(size, kind)
        self.bias: NDArray[Any] = np.zeros(size, kind)
        self.epsilon = _as_epsilon(epsilon)

    @classmethod
    def from_arrays(cls, gain: ArrayLike, bias: ArrayLike, *, epsilon: float = 1e-5) -> Self:
        """Make a layer of its parameters, which are copied.

        Parameters
        ----------
        gain, bias : array_like, shape (K,)
            The vectors g and b, in float32 or float64.
        epsilon : float, default 1e-5
            Above 0.

        Returns
        -------
        LayerNorm
            The layer.

        Examples
        --------
        >>> import numpy as np
        >>> from rgru.model import LayerNorm
        >>> LayerNorm.from_arrays(np.ones(3), np.zeros(3), epsilon=1e-3)
        LayerNorm(3, epsilon=0.001)
        """
        g = as_real("gain", gain, None, 1, "(K,)")
        layer = cls(len(g), epsilon=epsilon, dtype=g.dtype)
        b = as_real("bias", bias, g.dtype, 1, "(K,)")
        if b.shape != g.shape:
            raise ValueError(f"bias: expected shape {g.shape}, got {b.shape}")
        layer.gain[...], layer.bias[...] = g, b
        return layer

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of all numbers."""
        return self.gain.dtype

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        """The parameters by name."""
        return {"gain": self.gain, "bias": self.bias}

    @property
    def _config(self) -> dict[str, Any]:
        """The size and epsilon."""
        return {"size": len(self.gain), "epsilon": self.epsilon}

    @classmethod
    def _from_saved(cls, config: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        """Restore a layer from its `_config` and `_tensors`."""
        layer = cls.from_arrays(tensors.pop("gain"), tensors.pop("bias"), epsilon=config["epsilon"])
        if layer._config != config:
            raise ValueError(f"expected {config}, got parameters of {layer._config}")
        return layer

    def _output_size(self, features: int | None) -> int:
        """Return K."""
        check_features(features, len(self.gain))
        return len(self.gain)

    def _apply(self, backend: Backend, x: Any, given: Any) -> Any:
        gain, bias = given
        normal, _ = backend.normalise(x, self.epsilon)
        return normal * gain + bias

    def _record_rows(self, backend: Backend, x: Any, given: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        gain, bias = given
        normal, scales = backend.normalise(x, self.epsilon)
        return normal * gain + bias, (normal, scales)

    def _backward_rows(self, backend: Backend, saved: Any, dy: Any, given: Any) -> tuple[Any, list[Any]]:
        normal, scales = saved
        dx = backend.normalise_backward(dy * given[0], normal, scales)
        return dx, [(dy * normal).sum(axis=0), dy.sum(axis=0)]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Arrays that joblib has mapped are read-only.
        self.__dict__.update({name: own(value) if name != "epsilon" else value for name, value in state.items()})

    def __repr__(self) -> str:
        return f"LayerNorm({len(self.gain)}{'' if self.epsilon == 1e-5 else f', epsilon={self.epsilon}'})"


def _as_epsilon(value: object) -> float:
    if not is_number(value) or not 0 < value < float("inf"):
        raise ValueError(f"epsilon: expected a number above 0, got {value!r}")
    return float(value)
