"""The way back: what `GRU.record` keeps, and the gradients that come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from rgru._data.ragged import Ragged
from rgru.nn._params import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from rgru.nn._params import Layout

Batch = TypeVar("Batch")
"""The kind of batch that went in: a padded array or a Ragged."""


class Gradients(Generic[Batch]):
    """Gradients of a scalar with respect to all that went into `GRU.record`.

    Attributes
    ----------
    x : numpy.ndarray, shape (N, T, I), or Ragged
        As the `x` that went in; 0 past a sequence's length.
    h0 : numpy.ndarray, shape (L*D, N, H)
        Also where no `h0` was given.
    flat : numpy.ndarray, shape (P,)
        Of all parameters, one after the other, in the order of ``GRU.params``.
    params : dict of str to numpy.ndarray
        Views of `flat` by the parameters' names.
    """

    __slots__ = ("_layout", "flat", "h0", "x")

    def __init__(self, x: Batch, h0: NDArray[Any], flat: NDArray[Any], layout: Layout) -> None:
        self.x, self.h0, self.flat, self._layout = x, h0, flat, layout

    @property
    def params(self) -> dict[str, NDArray[Any]]:
        """Views of `flat` by the parameters' names."""
        return named(self.flat, self._layout)


class Tape(Generic[Batch]):
    """What one run of `GRU.record` keeps for the backward pass."""

    __slots__ = ("_as_real", "_core", "_dtype", "_layout", "_offsets")

    def __init__(
        self,
        core: Any,
        layout: Layout,
        dtype: np.dtype[Any],
        offsets: NDArray[np.int64] | None,
        as_real: Callable[..., NDArray[Any]],
    ) -> None:
        """Wrap a tape of the core or of a GPU, with the judge of arrays there."""
        self._core, self._layout, self._dtype, self._offsets, self._as_real = core, layout, dtype, offsets, as_real

    def backward(self, dy: ArrayLike | Ragged | None = None, dh_n: ArrayLike | None = None) -> Gradients[Batch]:
        """Walk back through the run.

        Parameters
        ----------
        dy : array_like of the shape of y, or Ragged over the same offsets, optional
            The scalar's gradient with respect to `y`; zero by default. Past a sequence's length it is not read. After
            a run over a Ragged, a plain (S, D*H) array over the same steps is taken too.
        dh_n : array_like, shape (L*D, N, H), optional
            The scalar's gradient with respect to `h_n`; zero by default.

        Returns
        -------
        Gradients
            They do not depend on the number of threads.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or neither is given.
        """
        if dy is None and dh_n is None:
            raise ValueError("dy, dh_n: expected at least one of them, got None for both")
        values = None if dy is None else self._values(dy)
        states = None if dh_n is None else self._as_real("dh_n", dh_n, self._dtype, 3, "(L*D, N, H)")
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
