"""The backward pass: the record of a run of `GRU.record`, and its gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from rgru._data.ragged import Ragged
from rgru.nn._modules import device_of
from rgru.nn._params import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from rgru.nn._params import Layout

Batch = TypeVar("Batch")
"""The kind of batch that went in: a padded array or a Ragged."""


class Gradients(Generic[Batch]):
    """Gradients of a scalar with respect to the inputs of `GRU.record` and the parameters.

    Parameters
    ----------
    x : numpy.ndarray, shape (N, T, I), or Ragged
        Gradient of the input, in its form; 0 past a sequence's length.
    h0 : numpy.ndarray, shape (L*D, N, H)
        Gradient of the initial states, also if no `h0` was passed.
    flat : numpy.ndarray, shape (P,)
        Gradients of all parameters, concatenated in the order of ``GRU.params``.
    layout : dict
        Shape of each parameter and its start in `flat`, by name.

    Attributes
    ----------
    x, h0, flat
        The arrays above.
    params : dict of str to numpy.ndarray
        Views of `flat` by the parameters' names.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> y, _, tape = rgru.GRU(3, 8).record(np.zeros((2, 5, 3), np.float32))
    >>> gradients = tape.backward(np.ones_like(y))
    >>> gradients.x.shape, gradients.h0.shape, gradients.params["layers.0.fwd.U"].shape
    ((2, 5, 3), (1, 2, 8), (24, 8))
    """

    __slots__ = ("_layout", "flat", "h0", "x")

    def __init__(self, x: Batch, h0: NDArray[Any], flat: NDArray[Any], layout: Layout) -> None:
        self.x, self.h0, self.flat, self._layout = x, h0, flat, layout

    @property
    def params(self) -> dict[str, NDArray[Any]]:
        """Views of `flat` by the parameters' names."""
        return named(self.flat, self._layout)


class Tape(Generic[Batch]):
    """The record of one run of `GRU.record`, for the backward pass; it may be used more than once.

    Parameters
    ----------
    core : object
        The tape of the core or of a GPU.
    layout : dict
        Shape of each parameter and its start in the flat array, by name.
    dtype : numpy.dtype
        The type of ``y``.
    offsets : numpy.ndarray of int64, shape (N + 1,), or None
        The offsets of a ragged ``x``.
    as_real : callable
        The validator of arrays on the device of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> y, h_n, tape = rgru.GRU(3, 8).record(np.zeros((2, 5, 3), np.float32))
    >>> tape.backward(dh_n=np.ones_like(h_n)).flat.shape
    (288,)
    """

    __slots__ = ("_as_real", "_core", "_dtype", "_layout", "_offsets")

    def __init__(
        self,
        core: Any,
        layout: Layout,
        dtype: np.dtype[Any],
        offsets: NDArray[np.int64] | None,
        as_real: Callable[..., NDArray[Any]],
    ) -> None:
        self._core, self._layout, self._dtype, self._offsets, self._as_real = core, layout, dtype, offsets, as_real

    def backward(self, dy: ArrayLike | Ragged | None = None, dh_n: ArrayLike | None = None) -> Gradients[Batch]:
        """Compute the gradients of a scalar from its gradients with respect to the outputs.

        At least one of `dy` and `dh_n` is required.

        Parameters
        ----------
        dy : array_like of the shape of y, or Ragged over the same offsets, optional
            Gradient with respect to `y`; zero by default. Steps past a sequence's length are not read. After a run
            over a Ragged, a plain array (S, D*H) over the same steps is accepted too.
        dh_n : array_like, shape (L*D, N, H), optional
            Gradient with respect to `h_n`; zero by default.

        Returns
        -------
        Gradients
            Gradients with the same bits for any number of threads.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> y, _, tape = rgru.GRU(3, 8).record(np.zeros((2, 5, 3), np.float32))
        >>> tape.backward(np.ones_like(y)).params["layers.0.fwd.b"].shape
        (24,)
        """
        if dy is None and dh_n is None:
            raise ValueError("dy, dh_n: expected at least one of them, got None for both")
        values = None if dy is None else self._values(dy)
        states = None if dh_n is None else self._as_real("dh_n", dh_n, self._dtype, 3, "(L*D, N, H)")
        with device_of(states if values is None else values):
            dx, dh0, flat = self._core.backward(values, states)
        x: Any = dx if self._offsets is None else Ragged._over(dx, self._offsets)
        return Gradients(x, dh0, flat, self._layout)

    def _values(self, dy: ArrayLike | Ragged) -> NDArray[Any]:
        if self._offsets is None:
            return self._as_real("dy", dy, self._dtype, 3, "(N, T, D*H)")
        if not isinstance(dy, Ragged):
            return self._as_real("dy", dy, self._dtype, 2, "(S, D*H)")
        if dy.offsets is not self._offsets and not np.array_equal(dy.offsets, self._offsets):
            raise ValueError(f"dy: expected a Ragged over the offsets of x, {self._offsets}, got {dy.offsets}")
        return self._as_real("dy", dy.values, self._dtype)
