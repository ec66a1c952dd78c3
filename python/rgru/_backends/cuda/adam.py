"""Adam over arrays of any array module, with the arithmetic of the CPU core."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) over lists of arrays, with clipping by the global norm.

    It has the interface of `_core.Adam`.

    Parameters
    ----------
    xp : module
        NumPy, or a module with the same functions: CuPy.
    lr : float
        Step size; may be changed between steps.
    beta1, beta2 : float
        Decay rates of the two moments, in [0, 1).
    eps : float
        Added to the square root of the second moment.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from rgru._backends.cuda.adam import Adam
    >>> adam = Adam(np, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8)
    >>> w = np.ones(2)
    >>> norm = adam.step([w], [np.array([3.0, -4.0])], None)
    >>> float(norm), w.round(3)
    (5.0, array([0.9, 1.1]))
    """

    def __init__(self, xp: Any, lr: float, beta1: float, beta2: float, eps: float) -> None:
        for name, value, fits, expected in (
            ("lr", lr, lr > 0.0 and math.isfinite(lr), "a positive number"),
            ("beta1", beta1, 0.0 <= beta1 < 1.0, "a number in [0, 1)"),
            ("beta2", beta2, 0.0 <= beta2 < 1.0, "a number in [0, 1)"),
            ("eps", eps, eps >= 1e-30 and math.isfinite(eps), "a number of at least 1e-30"),
        ):
            if not fits:
                raise ValueError(f"{name}: expected {expected}, got {value}")
        self._xp, self.lr, self._beta1, self._beta2, self._eps = xp, lr, beta1, beta2, eps
        self._steps = 0
        self._shapes: list[tuple[int, ...]] = []
        self._first: Any = None  # the moments of all arrays, concatenated
        self._second: Any = None

    def step(self, params: list[Any], grads: list[Any], max_norm: float | None) -> Any:
        """Update the parameters by one step.

        No array changes if the norm is not finite; the caller can check the norm later and still has the parameters.

        Parameters
        ----------
        params : list of array
            All of one dtype, with the same shapes in every call; updated in place.
        grads : list of array
            With the shapes of `params`.
        max_norm : float or None
            If the global L2 norm of the gradients is larger, they are scaled down to it.

        Returns
        -------
        0-d array of float64
            The norm before clipping.

        Raises
        ------
        ValueError
            If shapes differ, or `max_norm` is not positive.
        """
        xp, dtype = self._xp, params[0].dtype
        self._check(params, grads, max_norm)
        gradient = xp.concatenate([array.ravel() for array in grads])
        if self._first is None:
            self._first, self._second = xp.zeros_like(gradient), xp.zeros_like(gradient)
        norm = xp.sqrt(xp.square(gradient, dtype=np.float64).sum())
        finite = xp.isfinite(norm)
        self._steps += 1
        rate = self.lr / (1.0 - self._beta1**self._steps)
        # In the parameters' dtype: an array of float64, even of one number, would promote the results to float64.
        settings = xp.asarray(np.array([[1.0, 1.0, 0.0], [self._beta1, self._beta2, -rate]], dtype))
        decay1, decay2, rate = xp.where(finite, settings[1], settings[0])
        if max_norm is not None:
            gradient *= (max_norm / xp.maximum(norm, max_norm)).astype(dtype)
        gradient = xp.where(finite, gradient, dtype.type(0))
        self._first *= decay1
        self._first += gradient * (1.0 - self._beta1)
        self._second *= decay2
        self._second += gradient * (1.0 - self._beta2) * gradient
        change = xp.sqrt(self._second * (1.0 / (1.0 - self._beta2**self._steps)))
        change += self._eps
        xp.divide(self._first, change, out=change)
        change *= rate
        start = 0
        for array in params:
            end = start + array.size
            xp.add(array, change[start:end].reshape(array.shape), out=array)
            start = end
        return norm

    def _check(self, params: list[Any], grads: list[Any], max_norm: float | None) -> None:
        if max_norm is not None and not max_norm > 0.0:
            raise ValueError(f"max_norm: expected a positive number, got {max_norm}")
        shapes = [array.shape for array in params]
        self._shapes = self._shapes or shapes
        for name, found in (("params", shapes), ("grads", [array.shape for array in grads])):
            if found != self._shapes:
                raise ValueError(f"{name}: expected arrays of shapes {self._shapes}, got {found}")
