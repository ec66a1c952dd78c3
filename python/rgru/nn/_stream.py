"""Sequences whose steps arrive one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._validation.arrays import as_ndarray, as_real
from rgru.nn._ids import as_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rgru.nn._settings import Settings


class Stream:
    """Running sequences that keep their state; made by `GRU.stream`.

    The outputs have the same bits as those of one call over the whole sequences. Only one thread may use a stream at a
    time.

    As in a call of the GRU, inputs are not checked for NaN. A NaN enters the state of its sequence and stays there
    until `h` is assigned or `reset` is called. `rgru.Sessions` refuses NaN.

    Parameters
    ----------
    weights : object
        The packed parameters of a GRU.
    batch_size : int
        N, the number of sequences.
    settings : Settings
        Those of the GRU.

    Examples
    --------
    >>> import numpy as np
    >>> import rgru
    >>> stream = rgru.GRU(3, 8).stream(batch_size=2)
    >>> stream.step(np.zeros((2, 3), np.float32)).shape
    (2, 8)
    """

    __slots__ = ("_batch_size", "_core", "_dtype", "_settings", "_step")

    def __init__(self, weights: _core.Weights, batch_size: int, settings: Settings) -> None:
        self._core = _core.Stream(weights, batch_size)
        self._step = self._core.step
        self._batch_size, self._dtype, self._settings = batch_size, settings.dtype, settings

    def step(self, x: ArrayLike) -> NDArray[Any]:
        """Process one step of every sequence; after an error the states stay as they were.

        Parameters
        ----------
        x : array_like, shape (N, I)
            The inputs of the step; for a GRU that reads nothing but ids also integers (N,).

        Returns
        -------
        numpy.ndarray, shape (N, H)
            The states of the last layer after the step.

        Examples
        --------
        >>> import numpy as np
        >>> import rgru
        >>> stream = rgru.GRU(3, 8).stream()
        >>> stream.step([[0.1, 0.2, 0.3]]).shape
        (1, 8)
        """
        # The usual case skips validation, since a step may take less than a microsecond in the core.
        if type(x) is np.ndarray and x.dtype is self._dtype and x.ndim == 2:
            flags = x.flags
            if flags.c_contiguous and flags.aligned:
                return self._step(x)  # type: ignore[no-any-return]
        x = as_features(self._settings, x, "(N, I)")
        return self._step(as_real("x", x, self._dtype, 2, "(N, I)"))  # type: ignore[no-any-return]

    @property
    def batch_size(self) -> int:
        """N, the number of sequences."""
        return self._batch_size

    @property
    def h(self) -> NDArray[Any]:
        """The states of all layers, shape (L, N, H), as a copy; assign to replace them."""
        return self._core.get_state()  # type: ignore[no-any-return]

    @h.setter
    def h(self, value: ArrayLike) -> None:
        self._set_state("h", value)

    def _set_state(self, name: str, value: ArrayLike) -> None:
        states = as_real(name, value, self._dtype, 3, "(L, N, H)")
        expected = self._core.get_state().shape
        if states.shape != expected:
            raise ValueError(f"{name}: expected shape {expected} (L, N, H), got {states.shape}")
        self._core.set_state(states)

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Start sequences anew, from the GRU's initial states: zero, or the learned ones.

        Parameters
        ----------
        rows : array_like of bool, shape (N,), optional
            Which sequences; all by default.

        Examples
        --------
        >>> import rgru
        >>> stream = rgru.GRU(3, 8).stream()
        >>> y = stream.step([[0.1, 0.2, 0.3]])
        >>> stream.reset()
        >>> float(abs(stream.h).max())
        0.0
        """
        for n in np.flatnonzero(self._rows(rows)):
            self._core.restart(int(n))

    def _rows(self, rows: ArrayLike | None) -> NDArray[np.bool_]:
        if rows is None:
            return np.ones(self._batch_size, np.bool_)
        mask = as_ndarray("rows", rows, f"booleans of shape ({self._batch_size},)")
        if mask.dtype != np.bool_ or mask.shape != (self._batch_size,):
            expected = f"booleans of shape ({self._batch_size},) (N,)"
            raise ValueError(f"rows: expected {expected}, got {mask.dtype} of shape {mask.shape}")
        return mask

    def __repr__(self) -> str:
        return f"Stream(batch_size={self._batch_size})"
