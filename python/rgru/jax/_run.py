"""Runs of the core as a function of JAX, with its derivative.

JAX calls back to the host. A mapped axis of `jax.vmap` arrives there as an axis in front, of size 1 where an array is
not mapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from rgru import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rgru.nn._settings import Settings

_RANKS = 1, 3, 3, 1
"""The dimensions of the parameters (P,), x (N, T, I), h0 (L*D, N, H) and lengths (N,)."""


@dataclass(frozen=True)
class Cell:
    """The settings of a GRU, in a form that JAX compares: as the core takes them, and the features of an output."""

    sizes: tuple[tuple[str, Any], ...]
    outputs: int

    @classmethod
    def of(cls, settings: Settings) -> Cell:
        """Return those of a GRU."""
        return cls(tuple(settings._core_sizes.items()), settings.output_size)

    def weights(self, flat: NDArray[Any], *, training: bool) -> Any:
        """Pack the parameters (P,)."""
        return _core.Weights(flat, dict(self.sizes), training=training)

    def states_shape(self, batch: int) -> tuple[int, int, int]:
        """Return (L*D, N, H)."""
        sizes = dict(self.sizes)
        return sizes["num_layers"] * (1 + sizes["bidirectional"]), batch, sizes["hidden_size"]


@dataclass(frozen=True)
class _Forward:
    """The callback of a run: y (N, T, K) and h_n (L*D, N, H)."""

    cell: Cell

    def __call__(self, *values: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        arrays = _arrays(values)
        if arrays[0].size != arrays[0].shape[-1]:
            return _each(self._run, arrays, _RANKS)  # type: ignore[return-value]
        return self._folded(arrays)

    def _folded(self, arrays: list[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Run once, with all mapped axes as a part of the batch: the parameters are the same."""
        mapped = _mapped(arrays, _RANKS)
        flat, x, h0, lengths = _broadcast(arrays, _RANKS, mapped)
        batch, time, features = x.shape[-3:]
        count = math.prod(mapped) * batch
        if h0 is not None:
            h0 = np.moveaxis(h0, -3, 0).reshape(h0.shape[-3], count, h0.shape[-1])
        lengths = None if lengths is None else lengths.reshape(-1)
        y, h_n = self._run(flat[(0,) * len(mapped)], x.reshape(count, time, features), h0, lengths)
        y = y.reshape(*mapped, batch, time, y.shape[-1])
        return y, np.moveaxis(h_n.reshape(len(h_n), *mapped, batch, h_n.shape[-1]), 0, -3)

    def _run(self, flat: Any, x: Any, h0: Any, lengths: Any) -> Any:
        return self.cell.weights(_packed(flat), training=False).forward(
            _packed(x), _packed(h0), _packed(lengths, np.int64), None
        )


@dataclass(frozen=True)
class _Backward:
    """The callback of the derivative: those of the parameters, x and h0. It runs forward again, for the tape."""

    cell: Cell

    def __call__(self, *values: Any) -> Any:
        return _each(self._run, _arrays(values), (*_RANKS, 3, 3))

    def _run(self, *arrays: Any) -> Any:
        flat, x, h0, lengths, dy, dh_n = arrays
        weights = self.cell.weights(_packed(flat), training=True)
        _, _, tape = weights.forward_tape(_packed(x), _packed(h0), _packed(lengths, np.int64), None, 0.0, None, None)
        dx, dh0, dflat = tape.backward(_packed(dy), _packed(dh_n))
        return dflat, dx, dh0


def _arrays(values: Sequence[Any]) -> list[Any]:
    return [None if value is None else np.asarray(value) for value in values]


def _packed(array: Any, dtype: Any = None) -> Any:
    return None if array is None else np.ascontiguousarray(array, dtype)


def _mapped(arrays: list[Any], ranks: tuple[int, ...]) -> tuple[int, ...]:
    """Return the mapped axes."""
    shapes = [one.shape[: one.ndim - rank] for one, rank in zip(arrays, ranks, strict=True) if one is not None]
    return np.broadcast_shapes(*shapes)


def _broadcast(arrays: list[Any], ranks: tuple[int, ...], mapped: tuple[int, ...]) -> list[Any]:
    """Return the arrays with all the mapped axes."""
    return [
        None if one is None else np.broadcast_to(one, mapped + one.shape[one.ndim - rank :])
        for one, rank in zip(arrays, ranks, strict=True)
    ]


def _each(function: Callable[..., Any], arrays: list[Any], ranks: tuple[int, ...]) -> tuple[NDArray[Any], ...]:
    """Run for each place of the mapped axes by itself."""
    mapped = _mapped(arrays, ranks)
    whole = _broadcast(arrays, ranks, mapped)
    found = [function(*(None if one is None else one[place] for one in whole)) for place in np.ndindex(mapped)]
    return tuple(np.reshape(parts, mapped + parts[0].shape) for parts in zip(*found, strict=True))


def _call(cell: Cell, flat: Any, x: Any, h0: Any | None, lengths: Any | None) -> Any:
    shapes = (*x.shape[:2], cell.outputs), cell.states_shape(x.shape[0])
    results = tuple(jax.ShapeDtypeStruct(shape, x.dtype) for shape in shapes)
    return jax.pure_callback(_Forward(cell), results, flat, x, h0, lengths, vmap_method="expand_dims")


def _call_back(cell: Cell, *arrays: Any) -> Any:
    flat, x, _, _, _, dh_n = arrays
    results = tuple(jax.ShapeDtypeStruct(one.shape, x.dtype) for one in (flat, x, dh_n))
    return jax.pure_callback(_Backward(cell), results, *arrays, vmap_method="expand_dims")


def _second_derivative(*_: Any) -> Any:
    raise NotImplementedError("rgru.jax: expected first derivatives only, got a derivative of a gradient")


_recorded = jax.custom_jvp(_call, nondiff_argnums=(0,))
_recorded.defjvp(_second_derivative)
_gradients = jax.custom_jvp(_call_back, nondiff_argnums=(0,))
_gradients.defjvp(_second_derivative)


def _forward(cell: Cell, *inputs: Any) -> tuple[Any, Any]:
    return _recorded(cell, *inputs), inputs


def _backward(cell: Cell, inputs: Any, cotangents: Any) -> tuple[Any, ...]:
    dflat, dx, dh0 = _gradients(cell, *inputs, *cotangents)
    return dflat, dx, None if inputs[2] is None else dh0, None


run = jax.custom_vjp(_call, nondiff_argnums=(0,))
"""Run over a batch: ``run(cell, flat, x, h0, lengths)`` returns y and h_n; h0 and lengths may be None."""
run.defvjp(_forward, _backward)
