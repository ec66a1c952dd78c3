"""A cost model of the kernels: estimated cycles of one time step.

The constants are guesses until they have been measured (``benches/gpu``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rgru._cuda.kernel_config import Exchange, Precision

if TYPE_CHECKING:
    from rgru._cuda.kernel_config import CellSpec, Chip, LaunchShape

_WAIT = {Exchange.BLOCK: 60, Exchange.CLUSTER: 300, Exchange.GRID: 1900, Exchange.PACKETS: 1000}
"""Cycles until the states of the other blocks have come: a barrier of the block; stores to other multiprocessors, some
180 on an H100 (Luo et al., 2024, arXiv:2402.13499), and their barrier; through the second-level cache, behind a counter
or without."""
_ROUND_TRIP = 600
"""Cycles of a load from the second-level cache, with the barrier after it."""
_SPLIT = 5
"""Cycles of a warp's scheduler, of which a multiprocessor has four, to split a number of each of its lanes."""
_POINTWISE = 400
_LAUNCH = 4500
"""Cycles of a kernel of a graph, with the gap before it."""


def cost_of_persistent(chip: Chip, shape: LaunchShape, count: int, directions: int) -> float:
    """Estimate the cycles per step of one persistent launch.

    Parameters
    ----------
    chip : Chip
    shape : LaunchShape
    count : int
        N, the sequences.
    directions : int
        D.

    Returns
    -------
    float
    """
    cell = shape.cell
    products = _cost_by_matrix_units(shape) if cell.precision.matrix_units else _cost_by_threads(shape)
    fetched = 0.0
    if shape.exchange.through_memory:
        # The bandwidth of one multiprocessor alone, and its share of that of the second-level cache.
        rate = min(48.0, 24.0 * chip.multiprocessors / (shape.teams * shape.blocks))
        fetched = shape.channels * shape.exchanged_bytes / rate
        fetched += _ROUND_TRIP * (shape.channels - cell.exchanges if not shape.together else 0)
        if shape.exchange is Exchange.PACKETS:  # unpacking takes some 10 instructions
            fetched += 10 * shape.channels * -(-shape.exchanged_bytes // 16 // shape.threads)
    elif shape.exchange is Exchange.CLUSTER:
        fetched = shape.channels * shape.exchanged_bytes / 24
    pairs = math.ceil(shape.units * shape.batch / shape.threads)
    step = cell.exchanges * (_WAIT[shape.exchange] + 150) + products + fetched + _POINTWISE * pairs
    return step * math.ceil(directions * -(-count // shape.batch) / shape.teams) * _slowdown(chip, shape)


def _cost_by_matrix_units(shape: LaunchShape) -> float:
    number = shape.cell.precision.number_bytes
    steps, columns = shape.tiles * (shape.width * number // 32), -(-shape.batch // 8)
    made = 3 * steps * columns * 2.0
    if shape.cell.precision is Precision.TF32X3:
        # Or splitting 12 numbers of U and 2 of each column, and adding, takes longer.
        made = max(3 * made, steps * ((12 + 2 * columns) * _SPLIT + 12 * columns) / 4)
    read = 3 * shape.units * shape.width * number / 128 * (1 - _share_in_registers(shape))
    return max(made, read) + 3 * shape.parts * shape.batch * shape.units * shape.cell.precision.sum_bytes * 2 / 128


def _cost_by_threads(shape: LaunchShape) -> float:
    """Multiply-adds, and shared memory at 128 bytes a cycle: a warp reads 512 bytes where a thread reads 16."""
    cell, warps, double = shape.cell, shape.threads // 32, shape.cell.precision.sum_bytes // 4
    rows, passes = 3 * shape.unit_tile, 1 if cell.reset_after and not cell.backward else 3
    sums = rows * shape.batch_tile
    made = sums * shape.slice_steps * (16 // cell.precision.number_bytes) * double * max(1.0, warps / 4)
    in_shared = shape.slice_steps - shape.register_steps
    read = 4 * (passes * shape.batch_tile * shape.slice_steps + rows * in_shared)
    meeting = sums * double * (1 + (int(math.log2(32 // shape.tiles)) if shape.parts < shape.slices else 0))
    added = 3 * shape.parts * double * -(-shape.units * shape.batch // 32)
    return max(1.2 * made, warps * (read + meeting) + added) + 6 * shape.parts


def _share_in_registers(shape: LaunchShape) -> float:
    steps = shape.width * shape.cell.precision.number_bytes // 32
    return min(1.0, shape.register_steps * shape.slices / steps)


def _slowdown(chip: Chip, shape: LaunchShape) -> float:
    """Return the factor by which teams beyond the room slow a step down.

    Clusters wait for each other; blocks share a multiprocessor.
    """
    if shape.exchange is Exchange.CLUSTER:
        return math.ceil(shape.teams / chip.clusters_at_once(shape.blocks))
    return max(1.0, shape.teams * shape.blocks / chip.multiprocessors)


def cost_of_steps(chip: Chip, cell: CellSpec, count: int, directions: int) -> float:
    """Estimate the cycles per step where a library's product and a small kernel compute each step.

    Parameters
    ----------
    chip : Chip
    cell : CellSpec
    count : int
        N, the sequences.
    directions : int
        D.

    Returns
    -------
    float
    """
    number = cell.precision.number_bytes
    per_cycle = chip.multiprocessors * {8: 64, 4: 128, 2: 1024}[number] * (4 if cell.precision is Precision.TF32 else 1)
    made = 3.0 * cell.hidden * cell.hidden * count / (0.7 * per_cycle)
    read = 3.0 * cell.hidden * cell.hidden * number / (24 * chip.multiprocessors)
    pointwise = 12.0 * count * cell.hidden * number / (16 * chip.multiprocessors)
    return directions * (2 * cell.exchanges * _LAUNCH + max(made, read) + pointwise)
