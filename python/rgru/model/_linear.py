"""A linear layer."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._validation.arrays import as_real, own
from rgru._validation.scalars import as_bool, as_int, as_precision
from rgru.model._layer import RowLayer, check_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray
    from typing_extensions import Self

    from rgru._backends.base import Backend


class Linear(RowLayer):
    """A linear layer of a `rgru.Model`: y = x W^T + b for each row x.

    Parameters
    ----------
    input_size : int
        K, at least 1.
    output_size : int
        O, at least 1.
    bias : bool, default True
        Whether there is a b; it begins at 0.
    dtype : dtype_like, default "float32"
        The type of all numbers: float32 or float64.
    seed : int, optional
        The seed of the initial W, which is uniform within +-1/sqrt(K); by default a random one.

    Attributes
    ----------
    weight : ndarray, shape (O, K)
        W. It may be written to, or replaced by an array of the same shape.
    bias : ndarray, shape (O,), or None
        b, likewise.

    Examples
    --------
    >>> import rgru
    >>> model = rgru.Model([rgru.GRU(3, 8), rgru.model.Pool("last"), rgru.model.Linear(8, 2)])
    >>> model.layers[2].weight.shape
    (2, 8)
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        features, outputs = as_int("input_size", input_size, 1), as_int("output_size", output_size, 1)
        given = int.from_bytes(os.urandom(8), "little") if seed is None else as_int("seed", seed, 0, 2**64 - 1)
        kind = as_precision("dtype", dtype)
        # Only exactly rounded operations, so that a seed gives the same numbers everywhere: no power, and not
        # `uniform`, whose product and sum some compilers fuse.
        signs = 2.0 * np.random.default_rng(given).random((outputs, features)) - 1.0
        self._weight: NDArray[Any] = (signs / math.sqrt(features)).astype(kind)
        self._bias: NDArray[Any] | None = np.zeros(outputs, kind) if as_bool("bias", bias) else None

    @classmethod
    def from_arrays(cls, weight: ArrayLike, bias: ArrayLike | None = None) -> Self:
        """Make a layer of its parameters, which are copied.

        Parameters
        ----------
        weight : array_like, shape (O, K)
            The matrix W, in float32 or float64.
        bias : array_like, shape (O,), optional
            The vector b, of the same type; none by default.

        Returns
        -------
        Linear
            The layer.

        Examples
        --------
        >>> import numpy as np
        >>> from rgru.model import Linear
        >>> Linear.from_arrays(np.ones((2, 3), np.float32))
        Linear(3, 2, bias=False)
        """
        layer = cls.__new__(cls)
        layer._weight = as_real("weight", weight, None, 2, "(O, K)").copy()
        if 0 in layer._weight.shape:
            raise ValueError(f"weight: expected shape (O, K) of at least (1, 1), got {layer._weight.shape}")
        layer._bias = None if bias is None else np.empty(len(layer._weight), layer.dtype)
        if bias is not None:
            layer.bias = bias
        return layer

    @property
    def weight(self) -> NDArray[Any]:
        """The matrix W, shape (O, K)."""
        return self._weight

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self._weight = _like("weight", value, self._weight)

    @property
    def bias(self) -> Any:
        """The vector b, shape (O,), or None."""
        return self._bias

    @bias.setter
    def bias(self, value: ArrayLike) -> None:
        if self._bias is None:
            raise ValueError("bias: expected none for a layer with bias=False")
        self._bias = _like("bias", value, self._bias)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of all numbers."""
        return self._weight.dtype

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        """The parameters by name."""
        return {"weight": self._weight} if self._bias is None else {"weight": self._weight, "bias": self._bias}

    @property
    def _config(self) -> dict[str, Any]:
        """The sizes."""
        outputs, features = self._weight.shape
        return {"input_size": features, "output_size": outputs, "bias": self._bias is not None}

    @classmethod
    def _from_saved(cls, config: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        """Restore a layer from its `_config` and `_tensors`."""
        layer = cls.from_arrays(tensors.pop("weight"), tensors.pop("bias") if config["bias"] else None)
        if layer._config != config:
            raise ValueError(f"expected {config}, got weights of {layer._config}")
        return layer

    def _output_size(self, features: int | None) -> int:
        """Return O."""
        check_features(features, self._weight.shape[1])
        return len(self._weight)

    def _resident(self, backend: Backend, arrays: list[Any]) -> Any:
        """Return W and b, which is 0 if there is none."""
        outputs = len(self._weight)
        return arrays if len(arrays) > 1 else [*arrays, backend.array(np.zeros(outputs, self.dtype))]

    def _apply(self, backend: Backend, x: Any, given: Any) -> Any:
        return backend.linear(x, *given)

    def _record_rows(self, backend: Backend, x: Any, given: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        return backend.linear(x, *given), x

    def _backward_rows(self, backend: Backend, saved: Any, dy: Any, given: Any) -> tuple[Any, list[Any]]:
        dx, d_weight, d_bias = backend.linear_backward(saved, given[0], dy)
        return dx, [d_weight] if self._bias is None else [d_weight, d_bias]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Arrays that joblib has mapped are read-only.
        self.__dict__.update({name: value if value is None else own(value) for name, value in state.items()})

    def __repr__(self) -> str:
        outputs, features = self._weight.shape
        return f"Linear({features}, {outputs}{'' if self._bias is not None else ', bias=False'})"


def _like(name: str, value: ArrayLike, old: NDArray[Any]) -> NDArray[Any]:
    array = as_real(name, value, old.dtype, old.ndim, "(O, K)"[: 3 + 3 * (old.ndim - 1)])
    if array.shape != old.shape:
        raise ValueError(f"{name}: expected shape {old.shape}, got {array.shape}")
    copy: NDArray[Any] = array.copy()
    return copy
