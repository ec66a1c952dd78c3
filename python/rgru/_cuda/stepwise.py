"""The recurrence step by step, where U has no room on the chip: the library's products and small kernels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rgru._cuda.dtypes import number_type, sum_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from rgru._cuda.device import Device
    from rgru._cuda.dtypes import Array
    from rgru._cuda.kernel_config import Steps
    from rgru._cuda.layer_norm import LayerNorm
    from rgru._cuda.layer_tape import LayerTape
    from rgru._cuda.layer_weights import LayerWeights
    from rgru._cuda.sequences import Sequences

_THREADS = 256


def step_through(
    form: Steps,
    weights: LayerWeights,
    sequences: Sequences,
    *,
    gx: Array,
    h0: Array | None,
    y: Array,
    h_n: Array,
    gates: Array | None,
    a_hh: Array | None,
    factors: Array | None,
    masks: Array | None,
    norm: LayerNorm | None,
) -> None:
    """Run the forward pass of a layer.

    Parameters
    ----------
    form : Steps
    weights : LayerWeights
    sequences : Sequences
    gx : array, shape (S, D*3H)
        W x.
    h0 : array, shape (D, N, H), or None
    y, h_n : array, shape (S, D*H) and (D, N, H)
        Written.
    gates, a_hh : array, shape (S, D*3H) and (S, D*H), or None
        Written: the tape. `gates` may be `gx`.
    factors : array of uint8, shape (S, D*H), or None
        Of zoneout, in training.
    masks : array, shape (D, N, H), or None
        Of recurrent dropout, in training.
    norm : LayerNorm or None
        Its tape is written. In the form of the sum `gx` is overwritten.
    """
    device, precision = weights.device, weights.precision
    xp, count, hidden, directions = device.xp, sequences.count, weights.hidden, weights.directions
    where = (sequences.first, sequences.length, sequences.order)
    biases = (weights.b, weights.b_hh)
    if norm is not None:
        norm.inputs(form, gx)
        if not norm.separate:  # it adds them to the sum
            biases = (None, None)

    def run(direction: int) -> None:
        u = weights.u[direction]
        h = xp.empty((count, hidden), sum_type(precision))
        read = xp.empty((count, hidden), number_type(precision))
        products = xp.empty((count, 3 * hidden), sum_type(precision))
        done = xp.empty(1, np.int32)
        end = (count, directions, direction)

        def launch(running: int, name: str, *arguments: Array | int | None) -> None:
            device.launch(form, name, -(-running * hidden // _THREADS), _THREADS, arguments)

        def step(offset: int, running: int) -> None:
            states, into = read[:running], products[:running]
            if weights.reset_after:
                device.multiply(states, u.T, into, precision)
                if norm is not None:
                    norm.step(form, into, gx, running=running, done=done, offset=offset, direction=direction)
            else:
                device.multiply(states, u[: 2 * hidden].T, into[:, : 2 * hidden], precision)
                launch(running, "step_reset", products, gx, weights.b, *where, h, read, done, offset, *end, masks)
                device.multiply(states, u[2 * hidden :].T, into[:, 2 * hidden :], precision)
            launch(
                *(running, "step_forward", products, gx, *biases, *where, h, read),
                *(y, h_n, gates, a_hh, done, offset, *end, factors, masks),
            )

        launch(count, "begin", h0, *where, h, read, h_n, done, *end, masks)
        _take_steps(form, device, sequences, step, done)

    if count:
        device.side_by_side(run, directions)


def step_back(
    form: Steps,
    weights: LayerWeights,
    tape: LayerTape,
    sequences: Sequences,
    *,
    dy: Array | None,
    dh_n: Array | None,
    da: Array,
    da_own: Array,
    previous: Array,
    dh0: Array,
    du: Array | None,
) -> None:
    """Run the backward pass of a layer.

    Parameters
    ----------
    form : Steps
    weights : LayerWeights
    tape : LayerTape
    sequences : Sequences
    dy : array, shape (S, D*H), or None
    dh_n : array, shape (D, N, H), or None
    da, da_own, previous : array, shape (S, D*3H), (S, D*H), (S, D*H)
        Written: the factors of the gradients of the weights, as ``store_gate_gradients`` in ``kernels/layout.cuh``
        describes them.
    dh0 : array, shape (D, N, H)
        Written.
    du : array, shape (S, D*3H), or None
        Written, with layer normalisation: the gradients of U h.
    """
    device, precision = weights.device, weights.precision
    xp, count, hidden, directions = device.xp, sequences.count, weights.hidden, weights.directions
    where = (sequences.first, sequences.length, sequences.order)
    total = sequences.steps if sequences.running is None else len(sequences.running)

    def run(direction: int) -> None:
        u = weights.u[direction]
        dh = xp.empty((count, hidden), sum_type(precision))
        read = xp.empty((count, 3 * hidden), number_type(precision))  # gradients of the gates
        drh = None if weights.reset_after else xp.empty((count, hidden), sum_type(precision))
        # What comes back through U, if it is not simply added to dh.
        returned = None if tape.masks is None else xp.zeros((count, hidden), sum_type(precision))
        back, add = (dh, True) if returned is None else (returned, False)
        done = xp.empty(1, np.int32)
        end = (total, count, directions, direction)

        def launch(running: int, name: str, *arguments: Array | int | None) -> None:
            device.launch(form, name, -(-running * hidden // _THREADS), _THREADS, arguments)

        def step(offset: int, running: int) -> None:
            launch(
                *(running, "step_backward", tape.gates, tape.a_hh, tape.y, tape.h0, dy, *where, dh, read),
                *(da, da_own, previous, done, offset, *end, returned, tape.masks),
            )
            if tape.norm is not None:
                assert du is not None
                place = {"done": done, "offset": offset, "total": total, "direction": direction}
                tape.norm.step_back(form, read, du, running=running, **place)
            if drh is None:
                device.multiply(read[:running], u, back[:running], precision, add=add)
            else:
                device.multiply(read[:running, 2 * hidden :], u[2 * hidden :], drh[:running], precision)
                launch(
                    *(running, "step_backward_reset", drh, tape.gates, tape.y, tape.h0, *where, dh, read, da),
                    *(done, offset, *end, tape.masks),
                )
                of_gates = read[:running, : 2 * hidden]
                device.multiply(of_gates, u[: 2 * hidden], back[:running], precision, add=add)

        launch(count, "begin_backward", dh_n, sequences.order, dh, done, count, direction)
        _take_steps(form, device, sequences, step, done, back=True)
        launch(count, "end_backward", dh, sequences.order, dh0, count, directions, direction, returned, tape.masks)

    if count:
        device.side_by_side(run, directions)


def _take_steps(
    form: Steps,
    device: Device,
    sequences: Sequences,
    step: Callable[[int, int], None],
    done: Array,
    *,
    back: bool = False,
) -> None:
    """Launch all steps, each for the sequences that have it, if the host knows which ones do."""
    if sequences.running is None:
        count = sequences.count
        advance = partial(device.launch, form, "advance", 1, 1)
        device.repeat(lambda offset: step(offset, count), lambda by: advance((done, by)), sequences.steps)
        return
    for offset, running in enumerate(sequences.running[::-1] if back else sequences.running):
        step(offset, running)
