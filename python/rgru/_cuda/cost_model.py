"""What the forms of the kernels cost: estimates in cycles of one step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rgru._cuda.kernel_config import Exchange, Precision

if TYPE_CHECKING:
    from rgru._cuda.kernel_config import Cell, Chip, Walk

_WAIT = {Exchange.BLOCK: 60, Exchange.CLUSTER: 700, Exchange.GRID: 1900, Exchange.PACKETS: 1000}
"""For everyone's states: a barrier of the block, of the cluster, through the second-level cache, or none there."""
_POINTWISE = 400
_LAUNCH = 4500
"""A kernel of a graph, with the gap before it."""


def cost_of_walk(chip: Chip, walk: Walk, count: int, directions: int) -> float:
    """Of `count` sequences in so many directions by a walk."""
    cell = walk.cell
    products = _cost_by_matrix_units(walk) if cell.precision.matrix_units else _cost_by_threads(walk)
    fetched = 0.0
    if walk.exchange.through_memory:
        # What one multiprocessor gets by itself, and what the second-level cache has for all.
        rate = min(48.0, 24.0 * chip.multiprocessors / (walk.teams * walk.blocks))
        fetched = walk.channels * walk.exchanged_bytes / rate
        if walk.exchange is Exchange.PACKETS:  # some 10 instructions take one apart
            fetched += 10 * walk.channels * -(-walk.exchanged_bytes // 16 // walk.threads)
    elif walk.exchange is Exchange.CLUSTER:
        fetched = walk.channels * walk.exchanged_bytes / 24
    pairs = math.ceil(walk.units * walk.batch / walk.threads)
    step = cell.exchanges * (_WAIT[walk.exchange] + 150) + products + fetched + _POINTWISE * pairs
    return step * math.ceil(directions * -(-count // walk.batch) / walk.teams) * _crowd(chip, walk)


def _cost_by_matrix_units(walk: Walk) -> float:
    number = walk.cell.precision.number_bytes
    made = 3 * walk.tiles * (walk.width * number // 32) * (walk.batch // 8) * 2.0
    read = 3 * walk.units * walk.width * number / 128 * (1 - _share_kept(walk))
    return max(made, read) + 3 * walk.parts * walk.batch * walk.units * walk.cell.precision.sum_bytes * 2 / 128


def _cost_by_threads(walk: Walk) -> float:
    """Multiply-adds, and what goes through shared memory at 128 bytes a cycle: a thread's 16 bytes are a warp's 512."""
    cell, warps, double = walk.cell, walk.threads // 32, walk.cell.precision.sum_bytes // 4
    rows, passes = 3 * walk.unit_tile, 1 if cell.reset_after and not cell.backward else 3
    sums = rows * walk.batch_tile
    made = sums * walk.slice_steps * (16 // cell.precision.number_bytes) * double * max(1.0, warps / 4)
    read = 4 * (passes * walk.batch_tile * walk.slice_steps + rows * (walk.slice_steps - walk.kept))
    meeting = sums * double * (1 + (int(math.log2(32 // walk.tiles)) if walk.parts < walk.slices else 0))
    added = 3 * walk.parts * double * -(-walk.units * walk.batch // 32)
    return max(1.2 * made, warps * (read + meeting) + added) + 6 * walk.parts


def _share_kept(walk: Walk) -> float:
    steps = walk.width * walk.cell.precision.number_bytes // 32
    return min(1.0, walk.kept * walk.slices / steps)


def _crowd(chip: Chip, walk: Walk) -> float:
    """How much longer a step takes for teams beyond the room: clusters wait, blocks share a multiprocessor."""
    if walk.exchange is Exchange.CLUSTER:
        return math.ceil(walk.teams / chip.clusters_at_once(walk.blocks))
    return max(1.0, walk.teams * walk.blocks / chip.multiprocessors)


def cost_of_steps(chip: Chip, cell: Cell, count: int, directions: int) -> float:
    """Of `count` sequences in so many directions, step by step."""
    number = cell.precision.number_bytes
    per_cycle = chip.multiprocessors * {8: 64, 4: 128, 2: 1024}[number] * (4 if cell.precision is Precision.TF32 else 1)
    made = 3.0 * cell.hidden * cell.hidden * count / (0.7 * per_cycle)
    read = 3.0 * cell.hidden * cell.hidden * number / (24 * chip.multiprocessors)
    pointwise = 12.0 * count * cell.hidden * number / (16 * chip.multiprocessors)
    return directions * (2 * cell.exchanges * _LAUNCH + max(made, read) + pointwise)
