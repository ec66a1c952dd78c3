"""One layer on a device, in one or two directions: products of the input, the recurrence, and the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._cuda.dtypes import number_type, sum_type
from rgru._cuda.kernel_config import Exchange, Precision, Steps
from rgru._cuda.layer_norm import LayerNorm
from rgru._cuda.layer_tape import LayerTape
from rgru._cuda.stepwise import step_back, step_through

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array
    from rgru._cuda.kernel_config import LaunchShape
    from rgru._cuda.layer_weights import LayerWeights
    from rgru._cuda.sequences import Sequences


def forward(
    weights: LayerWeights,
    x: Array,
    sequences: Sequences,
    *,
    h0: Array | None,
    keep: bool,
    y: Array | None = None,
    h_n: Array | None = None,
    factors: Array | None = None,
    masks: Array | None = None,
) -> tuple[Array, Array, LayerTape | None]:
    """Run a layer forward.

    Parameters
    ----------
    weights : LayerWeights
    x : array, shape (S, I)
        The padding has no effect without `keep`, and must be zero with it.
    sequences : Sequences
    h0 : array, shape (D, N, H), optional
        By default the learned initial states, or zero.
    keep : bool
        Whether to keep a tape.
    y : array, shape (S, D*H), optional
        Written, except for the padding, which must be zero; by default a new array.
    h_n : array, shape (D, N, H), optional
        Written; by default a new array.
    factors : array of uint8, shape (S, D*H), optional
        Of a cell with zoneout in training: `rgru._cuda.masks.zoneout_factors`.
    masks : array, shape (D, N, H), optional
        Of recurrent dropout in training: `rgru._cuda.masks.recurrent_masks`.

    Returns
    -------
    y : array, shape (S, D*H)
    h_n : array, shape (D, N, H)
    tape : LayerTape or None
    """
    device, precision = weights.device, weights.precision
    xp, number, sums = device.xp, number_type(precision), sum_type(precision)
    directions, hidden, count, rows = weights.directions, weights.hidden, sequences.count, sequences.rows
    # First: it raises an error for what the chip does not support.
    form = weights.form(count, backward=False, masked=masks is not None)
    learned = weights.learned(count) if h0 is None else None
    if learned is not None:
        h0 = learned
    if y is None:
        y = (xp.empty if sequences.whole else xp.zeros)((rows, directions * hidden), number)
    if h_n is None:
        h_n = xp.empty((directions, count, hidden), number)
    gx = xp.empty((rows, directions * 3 * hidden), sums)
    device.multiply(x, weights.w.T, gx, precision)
    gates = a_hh = None
    if keep:
        gates = gx if number == sums else xp.empty(gx.shape, number)
        a_hh = xp.empty(y.shape, number) if weights.reset_after else None
    norm = None if weights.g is None else LayerNorm(weights, sequences, keep=keep)
    if isinstance(form, Steps):
        written = {"y": y, "h_n": h_n, "gates": gates, "a_hh": a_hh}
        step_through(form, weights, sequences, gx=gx, h0=h0, **written, factors=factors, masks=masks, norm=norm)
    elif count:
        published, arrivals = _exchange_memory(device, form)
        arguments = (
            *(weights.packed(form), gx, weights.b, weights.b_hh, h0, sequences.first, sequences.length),
            *(sequences.order, y, h_n, gates, a_hh, published, arrivals, count, directions, factors, masks),
        )
        device.launch(form, "recurrence_forward", form.teams * form.blocks, form.threads, arguments)
    return y, h_n, LayerTape(x, gates, a_hh, y, h0, masks, norm, learned is not None) if keep else None


def backward(
    weights: LayerWeights,
    tape: LayerTape,
    sequences: Sequences,
    *,
    dy: Array | None,
    dh_n: Array | None,
    gradients: list[Mapping[str, Array]],
    dh0: Array | None = None,
) -> tuple[Array, Array]:
    """Run the backward pass of `forward`.

    Parameters
    ----------
    weights : LayerWeights
    tape : LayerTape
    sequences : Sequences
    dy : array, shape (S, D*H), optional
    dh_n : array, shape (D, N, H), optional
    gradients : list of mapping
        Written: for each direction the gradients of its parameters, named as in `LayerWeights`.
    dh0 : array, shape (D, N, H), optional
        Written; by default a new array.

    Returns
    -------
    dx : array, shape (S, I)
    dh0 : array, shape (D, N, H)
    """
    device, precision = weights.device, weights.precision
    xp, number = device.xp, number_type(precision)
    directions, hidden, count, rows = weights.directions, weights.hidden, sequences.count, sequences.rows
    allocate = xp.empty if sequences.whole else xp.zeros
    da = allocate((rows, directions * 3 * hidden), number)
    da_own = allocate((rows, directions * hidden), number)
    previous = allocate((rows, directions * hidden), number)
    if dh0 is None:
        dh0 = xp.empty((directions, count, hidden), number)
    du = None if tape.norm is None else allocate(da.shape, number)
    form = weights.form(count, backward=True, masked=tape.masks is not None)
    if isinstance(form, Steps):
        written = {"da": da, "da_own": da_own, "previous": previous, "dh0": dh0, "du": du}
        step_back(form, weights, tape, sequences, dy=dy, dh_n=dh_n, **written)
    elif count:
        published, arrivals = _exchange_memory(device, form)
        arguments = (
            *(weights.packed(form), tape.gates, tape.a_hh, tape.y, tape.h0, dy, dh_n, sequences.first),
            *(sequences.length, sequences.order, da, da_own, previous, dh0, published, arrivals, count, directions),
            tape.masks,
        )
        device.launch(form, "recurrence_backward", form.teams * form.blocks, form.threads, arguments)
    for direction, into in enumerate(gradients):
        if tape.norm is None:
            _bias_gradients(weights, direction, da, da_own, into)
        else:
            tape.norm.gradients(direction, da, da_own, into)
        if "h0" in into:
            into["h0"][...] = dh0[direction].sum(axis=0, dtype=sum_type(precision)) if tape.learned else 0
    if tape.norm is not None:
        assert isinstance(form, Steps)
        da = tape.norm.inputs_back(form, da, du)
    for direction, into in enumerate(gradients):
        _weight_gradients(weights, direction, tape.x, da=da, da_own=da_own, du=du, previous=previous, into=into)
    dx = xp.empty(tape.x.shape, number)
    device.multiply(da, weights.w, dx, precision)
    return dx, dh0


def _bias_gradients(weights: LayerWeights, direction: int, da: Array, da_own: Array, into: Mapping[str, Array]) -> None:
    """Compute the gradients of the biases of a direction, sums over all steps, by products with ones."""
    if "b" not in into:
        return
    device, hidden = weights.device, weights.hidden
    precision = Precision.FLOAT32 if weights.precision is Precision.TF32 else weights.precision  # nothing is rounded
    ones = device.xp.ones((1, len(da)), da.dtype)
    device.multiply(ones, da[:, direction * 3 * hidden : (direction + 1) * 3 * hidden], into["b"][None], precision)
    if "b_hh" in into:
        own = da_own[:, direction * hidden : (direction + 1) * hidden]
        device.multiply(ones, own, into["b_hh"][None], precision)


def _weight_gradients(
    weights: LayerWeights,
    direction: int,
    x: Array,
    *,
    da: Array,
    da_own: Array,
    du: Array | None,
    previous: Array,
    into: Mapping[str, Array],
) -> None:
    """Compute the gradients of W and U of a direction, by products over all steps.

    They are those of W x, `da`, and of U h, `du`, if the two differ in more than the candidate.
    """
    device, precision, hidden = weights.device, weights.precision, weights.hidden
    gates = slice(direction * 3 * hidden, (direction + 1) * 3 * hidden)
    own = da_own[:, direction * hidden : (direction + 1) * hidden]
    read = previous[:, direction * hidden : (direction + 1) * hidden]
    device.multiply(da[:, gates].T, x, into["W"], precision)
    if du is not None:
        device.multiply(du[:, gates].T, read, into["U"], precision)
        return
    device.multiply(da[:, gates][:, : 2 * hidden].T, read, into["U"][: 2 * hidden], precision)
    if weights.reset_after:
        device.multiply(own.T, read, into["U"][2 * hidden :], precision)
    else:
        device.multiply(da[:, gates][:, 2 * hidden :].T, own, into["U"][2 * hidden :], precision)


_ARRIVALS_PITCH = 32
"""As in kernels/tiling.cuh."""


def _exchange_memory(device: Device, shape: LaunchShape) -> tuple[Any, Any]:
    """Allocate the memory through which blocks exchange states, and the counters of their arrivals; None if unused."""
    if not shape.published_bytes:
        return None, None
    if shape.exchange is Exchange.PACKETS:
        return device.xp.zeros(shape.published_bytes, np.uint8), None
    arrivals = device.xp.zeros((shape.teams, _ARRIVALS_PITCH), np.uint32)
    return device.xp.empty(shape.published_bytes, np.uint8), arrivals
