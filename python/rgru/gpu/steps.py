"""The walk step by step, where U has no room on the chip: a product of the library and a small kernel for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgru.gpu.numbers import number_type, sum_type

if TYPE_CHECKING:
    from rgru.gpu.device import Array
    from rgru.gpu.layer import LayerTape, LayerWeights
    from rgru.gpu.plan import Steps
    from rgru.gpu.sequences import Sequences

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
) -> None:
    """Fill y, h_n and, unless None, gates and a_hh; shapes as in `rgru.gpu.layer.forward`."""
    device, precision = weights.device, weights.precision
    xp, count, hidden, directions = device.xp, sequences.count, weights.hidden, weights.directions
    blocks = -(-count * hidden // _THREADS)
    where = (sequences.first, sequences.length, sequences.order)

    def walk(direction: int) -> None:
        u = weights.u[direction]
        h = xp.empty((count, hidden), sum_type(precision))
        read = xp.empty((count, hidden), number_type(precision))
        products = xp.empty((count, 3 * hidden), sum_type(precision))
        done = xp.empty(1, np.int32)
        end = (count, directions, direction)

        def launch(name: str, *arguments: Array | int | None) -> None:
            device.launch(form, name, blocks, _THREADS, arguments)

        def step(offset: int) -> None:
            if weights.reset_after:
                device.multiply(read, u.T, products, precision)
            else:
                device.multiply(read, u[: 2 * hidden].T, products[:, : 2 * hidden], precision)
                launch("step_reset", products, gx, weights.b, *where, h, read, done, offset, *end)
                device.multiply(read, u[2 * hidden :].T, products[:, 2 * hidden :], precision)
            launch(
                *("step_forward", products, gx, weights.b, weights.b_hh, *where, h, read),
                *(y, h_n, gates, a_hh, done, offset, *end),
            )

        launch("begin", h0, *where, h, read, h_n, done, *end)
        device.repeat(step, lambda by: device.launch(form, "advance", 1, 1, (done, by)), sequences.steps)

    if count:
        device.side_by_side(walk, directions)


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
) -> None:
    """Fill da, da_own, previous and dh0; shapes as in `rgru.gpu.layer.backward`."""
    device, precision = weights.device, weights.precision
    xp, count, hidden, directions = device.xp, sequences.count, weights.hidden, weights.directions
    blocks = -(-count * hidden // _THREADS)
    where = (sequences.first, sequences.length, sequences.order)

    def walk(direction: int) -> None:
        u = weights.u[direction]
        dh = xp.empty((count, hidden), sum_type(precision))
        slopes = xp.empty((count, 3 * hidden), number_type(precision))
        drh = None if weights.reset_after else xp.empty((count, hidden), sum_type(precision))
        done = xp.empty(1, np.int32)
        end = (sequences.steps, count, directions, direction)

        def launch(name: str, *arguments: Array | int | None) -> None:
            device.launch(form, name, blocks, _THREADS, arguments)

        def step(offset: int) -> None:
            launch(
                *("step_backward", tape.gates, tape.a_hh, tape.y, tape.h0, dy, *where, dh, slopes),
                *(da, da_own, previous, done, offset, *end),
            )
            if drh is None:
                device.multiply(slopes, u, dh, precision, add=True)
            else:
                device.multiply(slopes[:, 2 * hidden :], u[2 * hidden :], drh, precision)
                launch(
                    "step_backward_reset", drh, tape.gates, tape.y, tape.h0, *where, dh, slopes, da, done, offset, *end
                )
                device.multiply(slopes[:, : 2 * hidden], u[: 2 * hidden], dh, precision, add=True)

        launch("begin_backward", dh_n, sequences.order, dh, done, count, direction)
        device.repeat(step, lambda by: device.launch(form, "advance", 1, 1, (done, by)), sequences.steps)
        launch("end_backward", dh, sequences.order, dh0, count, direction)

    if count:
        device.side_by_side(walk, directions)
