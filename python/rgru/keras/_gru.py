"""The layer in the place of `keras.layers.GRU`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from rgru.convert._keras_settings import options_of
from rgru.nn._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKENDS = "torch", "jax"


@keras.saving.register_keras_serializable("rgru")
class GRU(keras.layers.GRU):
    """A `keras.layers.GRU` that runs on rgru's kernels, forward and backward, with the backends torch and jax.

    Arguments, attributes, weights with their initial values, inputs and outputs are those of `keras.layers.GRU`.

    Parameters
    ----------
    units : int
        H, the units of the layer.
    *args
        As of `keras.layers.GRU`.
    **kwargs
        As of `keras.layers.GRU`. `activation` is tanh, relu, linear, softsign, elu, sigmoid or hard_sigmoid, and
        `recurrent_activation` sigmoid or hard_sigmoid. `unroll` has no effect.

    Raises
    ------
    NotImplementedError
        If the backend is another one.
    ValueError
        If an activation is another one, `recurrent_dropout` is not 0, `dropout` is not 0 with ``implementation=1``,
        which drops other features for each gate, or `use_cudnn` is true.

    Notes
    -----
    Masks may have holes. Masked steps are passed over and cost no time. In another dtype than float32 and float64
    inputs, weights and outputs are rounded to it as in Keras, and all between is computed in float32.

    A saved model names the class ``rgru>GRU``, and loads where `rgru.keras` is imported. `rgru.keras.revert` makes a
    model that loads everywhere. Files of weights are the same as those of `keras.layers.GRU`.

    Examples
    --------
    >>> import keras
    >>> import rgru.keras
    >>> model = keras.Sequential([keras.Input((None, 3)), rgru.keras.GRU(8), keras.layers.Dense(2)])
    >>> model(keras.ops.ones((4, 5, 3))).shape[1]
    2
    """

    def __init__(self, units: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(units, *args, **kwargs)
        if keras.backend.backend() not in _BACKENDS:
            raise NotImplementedError(f"KERAS_BACKEND: expected torch or jax, got {keras.backend.backend()}")
        if self.recurrent_dropout:
            raise ValueError(f"{self.name}: expected recurrent_dropout=0, got {self.recurrent_dropout}")
        if self.dropout and self.cell.implementation != 2:
            got = f"dropout={self.dropout}, implementation={self.cell.implementation}"
            raise ValueError(f"{self.name}: expected dropout=0 without implementation=2, got {got}")
        if self.use_cudnn is True:
            raise ValueError(f"{self.name}: expected use_cudnn='auto' or False, got True")
        config = {**self.get_config(), "go_backwards": False}  # `inner_loop` reverses the steps, as Keras does
        self._options = options_of(self.name, config, {self.name: config}, version=3)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """Run over all steps; Keras calls it.

        Parameters
        ----------
        sequences : tensor, shape (N, T, I)
            Inputs.
        initial_state : tensor, shape (N, H), or list of it
            States before the first step.
        mask : tensor of bool, shape (N, T), or list of it, or None
            False for steps that are passed over.
        training : bool, default False
            Whether inputs are dropped.

        Returns
        -------
        last_output : tensor, shape (N, H)
            The output of the last step.
        outputs : tensor, shape (N, T, H)
            The outputs of all steps; at masked ones that of the step before, or 0 with ``zero_output_for_mask``.
        states : list of tensor, shape (N, H)
            The state after the last step that is not masked.
        """
        x, h0, mask = sequences, _only(initial_state), _only(mask)
        if training and self.dropout:
            x = x * ops.expand_dims(self.cell.get_dropout_mask(x[:, 0, :]), 1)
        if self.go_backwards:
            x, mask = ops.flip(x, 1), None if mask is None else ops.flip(mask, 1)
        if mask is None:
            y, h_n = self._run(x, h0, None)
            return h_n, y, [h_n]
        # The valid steps first, as a sequence of its own; `counts` are those up to each step.
        mask, steps = ops.cast(mask, "bool"), ops.arange(x.shape[1])
        order = ops.argsort(ops.where(mask, steps, steps + x.shape[1]), axis=1)
        counts = ops.cumsum(ops.cast(mask, "int32"), axis=1)
        y, h_n = self._run(ops.take_along_axis(x, order[:, :, None], axis=1), h0, counts[:, -1])
        y = ops.take_along_axis(y, ops.maximum(counts - 1, 0)[:, :, None], axis=1)
        kept, others = mask, ops.zeros_like(y)
        if not self.zero_output_for_mask:
            kept = counts > 0
            if keras.backend.backend() == "jax":  # Keras repeats the initial state there, and zero on PyTorch
                others = ops.broadcast_to(ops.cast(h0, y.dtype)[:, None], y.shape)
        y = ops.where(kept[:, :, None], y, others)
        return y[:, -1], y, [h_n]

    def _run(self, x: Any, h0: Any, lengths: Any | None) -> tuple[Any, Any]:
        """Return the outputs (N, T, H) and the last states (N, H)."""
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        settings = Settings(
            x.shape[-1],
            self.units,
            1,
            bidirectional=False,
            reset_after=self.reset_after,
            bias=self.use_bias,
            dropout=0.0,
            dtype=dtype,
            **self._options,
        )
        flat = ops.concatenate([ops.reshape(ops.cast(one, dtype), (-1,)) for one in self._core_parameters()])
        y, h_n = _runner()(settings, flat, ops.cast(x, dtype), ops.cast(h0, dtype)[None], lengths)
        return y, h_n[0]

    def _core_parameters(self) -> list[Any]:
        """Return rgru's parameters W, U and, with biases, b and b_hh; see `rgru.nn._gate_order`."""
        cell = self.cell
        found = [ops.transpose(_gates(one)) for one in (cell.kernel, cell.recurrent_kernel)]
        if not self.use_bias:
            return found
        if not self.reset_after:
            return [*found, _gates(cell.bias)]
        bias, recurrent = _gates(cell.bias[0]), _gates(cell.bias[1])
        b_hh = recurrent[2 * self.units :]
        return [*found, bias + ops.concatenate([recurrent[: 2 * self.units], ops.zeros_like(b_hh)]), b_hh]


def _only(value: Any) -> Any:
    """Return the one tensor of a list, or the value itself."""
    return value[0] if isinstance(value, (list, tuple)) else value


def _gates(columns: Any) -> Any:
    """Return rgru's gates r, -z, h~ (..., 3H) for Keras's z, r, h."""
    z, r, h = ops.split(ops.convert_to_tensor(columns), 3, axis=-1)
    return ops.concatenate([r, -z, h], axis=-1)


def _runner() -> Callable[..., Any]:
    """Return the function that runs the core on the backend's tensors."""
    if keras.backend.backend() == "torch":
        from rgru.keras._torch import run as run_torch

        return run_torch  # type: ignore[no-any-return]
    from rgru.jax._run import Cell, run

    return lambda settings, *arrays: run(Cell.of(settings), *arrays)
