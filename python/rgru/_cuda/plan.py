"""The choice of the kernels' configuration for a chip and the sizes of a layer: a pure function.

A team of blocks keeps U on the chip for all steps and computes a part of the batch; its blocks send each other the new
states in every step. Where U has no room on the chip, or the batch is large, a library's product and a small kernel
compute each step instead.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from rgru._cuda.cost_model import cost_of_persistent, cost_of_steps
from rgru._cuda.kernel_config import Exchange, LaunchShape, Precision, Steps, cluster_sizes, parts_of, up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rgru._cuda.kernel_config import CellSpec, Chip


@lru_cache(maxsize=4096)
def plan(chip: Chip, cell: CellSpec, count: int, directions: int) -> LaunchShape | Steps:
    """Choose the configuration with the lowest estimated time of one step.

    Parameters
    ----------
    chip : Chip
    cell : CellSpec
    count : int
        N, the sequences.
    directions : int
        D; two share the chip.

    Returns
    -------
    LaunchShape or Steps
        Of `cell`, but in float32 where that is faster than tf32, or the chip does not support tf32.

    Raises
    ------
    ValueError
        For bfloat16 on a chip that does not support it.

    Examples
    --------
    >>> from rgru._cuda.kernel_config import CellSpec, Chip, Precision
    >>> from rgru._cuda.plan import plan
    >>> hopper = Chip(capability=90, multiprocessors=132, shared_bytes=232448)
    >>> plan(hopper, CellSpec(Precision.FLOAT32, True, 32, False), 1, 1).exchange.name
    'BLOCK'
    """
    cell = replace(cell, precision=_supported(chip, cell.precision))
    best: LaunchShape | Steps = Steps(cell)
    least = cost_of_steps(chip, cell, count, directions)
    for precision in dict.fromkeys((cell.precision, _exact(cell.precision))) if count else ():
        for shape in launch_shapes(chip, replace(cell, precision=precision), count, directions):
            cost = cost_of_persistent(chip, shape, count, directions)
            if cost < least:
                best, least = shape, cost
    return best


def _exact(precision: Precision) -> Precision:
    """Return the precision without tf32, which is allowed and need not be used: padding may make it slower."""
    return Precision.FLOAT32 if precision in (Precision.TF32, Precision.TF32X3) else precision


def _supported(chip: Chip, precision: Precision) -> Precision:
    """Return the precision in which the chip can multiply: matrix units have tf32 and bfloat16 from capability 8.0."""
    if chip.capability >= 80:
        return precision
    if precision is Precision.BFLOAT16:
        major, minor = divmod(chip.capability, 10)
        raise ValueError(f"bfloat16: expected a GPU of compute capability 8.0 or newer, got {major}.{minor}")
    return _exact(precision)


def launch_shapes(chip: Chip, cell: CellSpec, count: int, directions: int) -> Iterator[LaunchShape]:
    """Yield all persistent launch shapes that the chip has room for.

    Parameters
    ----------
    chip, cell, count, directions
        As for `plan`; `count` is at least 1.

    Yields
    ------
    LaunchShape
        Some more than once. None for a cell with layer normalisation, where a gate depends on all rows of U.
    """
    if cell.options.layer_norm is not None:
        return
    number = cell.precision.number_bytes
    whole = 16 if cell.precision.matrix_units else max(4, 16 // number)
    batches = [1, 2, 4, 8, 16]
    if cell.precision.matrix_units and cell.precision is not Precision.TF32X3:  # which has no registers for more
        batches.append(32)
    for exchange, blocks in _teams(chip, cell.hidden, directions):
        units = up(-(-cell.hidden // blocks), whole)
        blocks = -(-cell.hidden // units)  # noqa: PLW2901 - padding may have made some needless
        at_once = chip.clusters_at_once(blocks) if exchange is Exchange.CLUSTER else chip.multiprocessors // blocks
        if at_once == 0:
            continue
        if (blocks == 1) != (exchange is Exchange.BLOCK):
            continue
        for batch in batches:
            if batch >= 2 * count and batch > batches[0]:
                continue  # half of it would be padding
            tiles = directions * -(-count // batch)
            room = max(directions, at_once // directions * directions)
            teams = min(tiles, room if exchange.through_memory else 4 * room)
            for shape in _thread_splits(cell, exchange, teams=teams, blocks=blocks, units=units, batch=batch):
                if shape.shared_bytes > chip.shared_bytes:
                    continue
                faster = replace(shape, together=True) if cell.backward and exchange.through_memory else shape
                yield faster if faster.shared_bytes <= chip.shared_bytes else shape


def _teams(chip: Chip, hidden: int, directions: int) -> Iterator[tuple[Exchange, int]]:
    """Yield the possible teams: the exchange, and the number of blocks."""
    yield Exchange.BLOCK, 1
    yield from ((Exchange.CLUSTER, blocks) for blocks in cluster_sizes(chip.capability))
    units = 4
    while units < hidden:
        blocks = -(-hidden // units)
        if blocks * directions <= chip.multiprocessors:
            yield Exchange.GRID, blocks
            yield Exchange.PACKETS, blocks
        units += 4 if units < 16 else 16


_WEIGHT_REGISTERS = 108
"""How many registers of a thread may hold weights and sums, in blocks of 256 threads, which may have 255."""
_REGISTERS_IN_FLIGHT = {Exchange.GRID: 32, Exchange.PACKETS: 32}
"""How many registers hold what is being loaded from other blocks."""
_REGISTERS_OF_SPLIT = 48
"""How many registers hold the parts of operands."""


def _thread_splits(
    cell: CellSpec, exchange: Exchange, *, teams: int, blocks: int, units: int, batch: int
) -> Iterator[LaunchShape]:
    """Yield the ways to share a block's products among its threads."""
    width = blocks * units
    if cell.precision.matrix_units:
        tiles, steps = units // 16, width * cell.precision.number_bytes // 32
        for slices in (1, 2, 4, 8, 16):
            warps = tiles * slices
            if not 4 <= warps <= 16 or (slices > steps and warps > 4):
                continue
            if warps > 8 and exchange is Exchange.PACKETS:
                continue  # no registers for the packets
            # A state takes a thread some 30 registers; a thread of 16 warps has no more than 128.
            states = -(-units * batch // (warps * 32))
            if states > (2 if warps > 8 else 6 if exchange.through_memory else 8):
                continue
            each = -(-steps // slices)
            # The accumulators, 3 * batch / 2 registers, and many states come first.
            free = (_WEIGHT_REGISTERS if warps <= 8 else 0) - 3 * up(batch, 8) // 2 - 16 * max(0, states - 3)
            free -= _REGISTERS_IN_FLIGHT.get(exchange, 0)
            free -= _REGISTERS_OF_SPLIT if cell.precision is Precision.TF32X3 else 0
            register_steps = min(each, max(0, free) // 12)
            shape = (cell, exchange, teams, blocks, units, batch, warps * 32, slices)
            yield LaunchShape(*shape, register_steps=register_steps)
        return
    sixteens = width * cell.precision.number_bytes // 16
    states = cell.precision.sum_bytes // 4
    for unit_tile, batch_tile in ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4), (4, 1), (4, 2)):
        if units % unit_tile or batch % batch_tile:
            continue
        tiles = units // unit_tile * (batch // batch_tile)
        for slices in sorted({min(most // tiles, sixteens) for most in (128, 256)} - {0}):
            threads = up(tiles * slices, 32)
            if slices > 32 and parts_of(tiles, slices, threads) == slices:
                continue  # adding them up would take longer than multiplying
            # What sums, inputs, further states of a thread, and the 100 registers of everything else leave.
            free = 140 - (3 * unit_tile * states + 8) * batch_tile - 16 * ((units * batch - 1) // threads)
            free -= _REGISTERS_IN_FLIGHT.get(exchange, 0)
            register_steps = min(-(-sixteens // slices), max(0, free) // (12 * unit_tile))
            shape = (cell, exchange, teams, blocks, units, batch, threads, slices)
            yield LaunchShape(*shape, unit_tile, batch_tile, register_steps)
