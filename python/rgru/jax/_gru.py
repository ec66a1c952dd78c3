"""The public function: what it is given, checked while JAX traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from rgru import _core
from rgru.jax._run import Cell, run
from rgru.nn._settings import Settings

if TYPE_CHECKING:
    from rgru._validation.activations import Activation


def gru(
    params: Mapping[str, Any],
    x: Any,
    h0: Any | None = None,
    lengths: Any | None = None,
    *,
    reset_after: bool = False,
    gate_activation: Activation = "sigmoid",
    activation: Activation = "tanh",
    clip: float | None = None,
    state_clip: float | None = None,
    layer_norm: str | tuple[str, float] | None = None,
    merge: str = "concat",
) -> tuple[jax.Array, jax.Array]:
    """Run a GRU over a batch of sequences, on rgru's kernels; for `jax.jit`, `jax.grad` and `jax.vmap`.

    Parameters
    ----------
    params : mapping of str to array_like
        Parameters by the names of rgru, as in ``dict(gru.params)``; see `rgru.nn.Params`. The names and shapes tell the
        sizes, the layers, the directions, and whether there are biases and learned initial states.
    x : array_like, shape (N, T, I), or (T, I) for one sequence
        Inputs, of float32 or, with ``jax_enable_x64``, of float64, as the parameters are.
    h0 : array_like, shape (L*D, N, H), or (L*D, H), optional
        States before the first step; by default zero, or the learned ones.
    lengths : array_like of int, shape (N,), or (), optional
        Number of valid steps of each sequence, from 0 to T; T by default.
    reset_after : bool, default False
        Which cell the parameters are of, as in `rgru.GRU`.
    gate_activation, activation : str or tuple
        As in `rgru.GRU`.
    clip, state_clip : float, optional
        As in `rgru.GRU`.
    layer_norm : {"separate", "sum"} or tuple, optional
        As in `rgru.GRU`.
    merge : {"concat", "sum", "mean", "product"}, default "concat"
        As in `rgru.GRU`.

    Returns
    -------
    y : jax.Array, shape (N, T, D*H), or (T, D*H)
        States of the last layer; 0 past a sequence's length. The bits are those of `rgru.GRU`.
    h_n : jax.Array, shape (L*D, N, H), or (L*D, H)
        States after each sequence's last valid step.

    Raises
    ------
    TypeError
        If `params` is no mapping, or arrays have other types.
    ValueError
        If parameters are missing or unknown, or shapes do not fit. Both errors come while JAX traces. Lengths outside
        of 0 to T are found when the function runs, as an error of JAX's runtime.
    NotImplementedError
        If a second derivative is taken.

    Notes
    -----
    The arrays go to the host and back, also from a GPU. The backward pass runs forward again to record what it needs,
    and each call packs the parameters. `jax.vmap` over sequences with the same parameters is one run forward, but one
    backward for each: where gradients are taken, N sequences as one batch are faster.

    Examples
    --------
    >>> import jax
    >>> import rgru
    >>> import rgru.jax
    >>> params = dict(rgru.GRU(3, 8, seed=0).params)
    >>> x = jax.numpy.ones((2, 5, 3))
    >>> y, h_n = jax.jit(rgru.jax.gru)(params, x)
    >>> y.shape, h_n.shape
    ((2, 5, 8), (1, 2, 8))
    >>> gradients = jax.grad(lambda params: rgru.jax.gru(params, x)[0].sum())(params)
    >>> gradients["layers.0.fwd.U"].shape
    (24, 8)
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping of names to arrays, got {type(params).__name__}")
    strange = [name for name in params if not isinstance(name, str)]
    if strange:
        raise TypeError(f"params: expected names of type str, got {strange[0]!r}")
    x = jnp.asarray(x)
    if x.dtype not in ("float32", "float64"):
        raise TypeError(f"x: expected float32 or float64, got {x.dtype}")
    if x.ndim not in (2, 3):
        raise ValueError(f"x: expected shape (N, T, I) or (T, I), got {x.shape}")
    settings = _settings(
        params,
        x.dtype.name,
        reset_after=reset_after,
        gate_activation=gate_activation,
        activation=activation,
        clip=clip,
        state_clip=state_clip,
        layer_norm=layer_norm,
        merge=merge,
    )
    cell, flat = Cell.of(settings), _flat(params, settings)
    one = x.ndim == 2
    _check("x", x, (*x.shape[:-1], settings.input_size), x.dtype)
    states = cell.states_shape(1 if one else x.shape[0])
    if h0 is not None:
        h0 = jnp.asarray(h0)
        _check("h0", h0, (states[0], states[2]) if one else states, x.dtype)
        h0 = h0[:, None] if one else h0
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        if not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise TypeError(f"lengths: expected integers, got {lengths.dtype}")
        _check("lengths", lengths, () if one else (x.shape[0],), lengths.dtype)
        lengths = lengths[None] if one else lengths
    y, h_n = run(cell, flat, x[None] if one else x, h0, lengths)
    return (y[0], h_n[:, 0]) if one else (y, h_n)


def _settings(params: Mapping[str, Any], dtype: str, **options: Any) -> Settings:
    """Return the settings of a GRU with such parameters."""
    directions = [direction for direction in ("fwd", "rev") if f"layers.0.{direction}.W" in params]
    if not directions or f"layers.0.{directions[0]}.U" not in params:
        names = ", ".join(map(str, params)) or "none"
        raise ValueError(f"params: expected layers.0.fwd.W, layers.0.fwd.U and so on, got {names}")
    first = f"layers.0.{directions[0]}"
    inputs, recurrent = jnp.shape(params[f"{first}.W"]), jnp.shape(params[f"{first}.U"])
    for name, shape, axes in (("W", inputs, "(3H, I)"), ("U", recurrent, "(3H, H)")):
        if len(shape) != 2:
            raise ValueError(f"params['{first}.{name}']: expected shape {axes}, got {shape}")
    layers = {name.split(".")[1] for name in params if name.startswith("layers.") and name.endswith(".W")}
    return Settings(
        inputs[1],
        recurrent[1],
        len(layers),
        bidirectional=len(directions) == 2,
        reverse=directions == ["rev"],
        bias=f"{first}.b" in params,
        learned_h0=f"{first}.h0" in params,
        dropout=0.0,
        dtype=dtype,
        **options,
    )


def _flat(params: Mapping[str, Any], settings: Settings) -> Any:
    """Return all parameters as one array (P,)."""
    shapes = {name: tuple(shape) for name, shape, _ in _core.layout(settings._core_sizes)}
    if set(params) != set(shapes):
        missing, strange = sorted(set(shapes) - set(params)), sorted(set(params) - set(shapes))
        raise ValueError(f"params: expected {', '.join(shapes)}; missing are {missing}, unexpected {strange}")
    arrays = {name: jnp.asarray(params[name]) for name in shapes}
    for name, shape in shapes.items():
        _check(f"params[{name!r}]", arrays[name], shape, settings.dtype)
    return jnp.concatenate([array.reshape(-1) for array in arrays.values()])


def _check(name: str, array: Any, shape: tuple[int, ...], dtype: Any) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype}, as x and the parameters share it, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
