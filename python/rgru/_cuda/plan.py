"""Which form of the kernels walks a layer, on what chip, for which sizes: a pure function.

A team of blocks keeps U on the chip for all steps and walks a tile of the batch; its blocks give each other the new
states in every step. With no room for U, or for large batches, a product of the library and a small kernel take each
step instead.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from rgru._cuda.cost_model import cost_of_steps, cost_of_walk
from rgru._cuda.kernel_config import Exchange, Precision, Steps, Walk, cluster_sizes, parts_of, up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rgru._cuda.kernel_config import Cell, Chip


@lru_cache(maxsize=4096)
def plan(chip: Chip, cell: Cell, count: int, directions: int) -> Walk | Steps:
    """Choose the form with the least estimated time of one step.

    Parameters
    ----------
    chip : Chip
    cell : Cell
    count : int
        N, the sequences.
    directions : int
        D; two share the chip.

    Returns
    -------
    Walk or Steps
        Of the cell, but in float32 instead of tf32 where the chip does not know tf32.

    Raises
    ------
    ValueError
        For bfloat16 on a chip that does not know it.
    """
    cell = replace(cell, precision=_known(chip, cell.precision))
    best: Walk | Steps = Steps(cell)
    least = cost_of_steps(chip, cell, count, directions)
    for walk in _walks(chip, cell, count, directions) if count else ():
        cost = cost_of_walk(chip, walk, count, directions)
        if cost < least:
            best, least = walk, cost
    return best


def _known(chip: Chip, precision: Precision) -> Precision:
    """The precision in which the chip can multiply: its matrix units know tf32 and bfloat16 from capability 8.0 on."""
    if chip.capability >= 80:
        return precision
    if precision is Precision.BFLOAT16:
        major, minor = divmod(chip.capability, 10)
        raise ValueError(f"bfloat16: expected a GPU of compute capability 8.0 or newer, got {major}.{minor}")
    return Precision.FLOAT32 if precision is Precision.TF32 else precision


def _walks(chip: Chip, cell: Cell, count: int, directions: int) -> Iterator[Walk]:
    """All persistent forms that the chip has room for."""
    number = cell.precision.number_bytes
    whole = 16 if cell.precision.matrix_units else max(4, 16 // number)
    batches = (8, 16, 32) if cell.precision.matrix_units else (1, 2, 4, 8, 16)
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
            for walk in _shapes(cell, exchange, teams=teams, blocks=blocks, units=units, batch=batch):
                if walk.shared_bytes <= chip.shared_bytes:
                    yield walk


def _teams(chip: Chip, hidden: int, directions: int) -> Iterator[tuple[Exchange, int]]:
    """Ways to make a team, with its number of blocks."""
    yield Exchange.BLOCK, 1
    yield from ((Exchange.CLUSTER, blocks) for blocks in cluster_sizes(chip.capability))
    units = 4
    while units < hidden:
        blocks = -(-hidden // units)
        if blocks * directions <= chip.multiprocessors:
            yield Exchange.GRID, blocks
            yield Exchange.PACKETS, blocks
        units += 4 if units < 16 else 16


_REGISTERS_KEPT = 108
"""How many registers of a thread may hold weights and sums, in blocks of 256 threads, which may have 255."""
_UNDER_WAY = {Exchange.GRID: 16, Exchange.PACKETS: 32}
"""How many registers hold what other blocks have published, meanwhile."""


def _shapes(cell: Cell, exchange: Exchange, *, teams: int, blocks: int, units: int, batch: int) -> Iterator[Walk]:
    """Ways to share a block's products among its threads."""
    width = blocks * units
    if cell.precision.matrix_units:
        tiles, steps = units // 16, width * cell.precision.number_bytes // 32
        for slices in (1, 2, 4, 8, 16):
            warps = tiles * slices
            if not 4 <= warps <= 16 or (slices > steps and warps > 4):
                continue
            if warps > 8 and exchange is Exchange.PACKETS:
                continue  # no registers for the packets
            # States of a thread, some 25 registers each; a thread of 16 warps has no more than 128.
            states = -(-units * batch // (warps * 32))
            if states > (8 if warps <= 8 else 2):
                continue
            each = -(-steps // slices)
            # The accumulators, 3 * batch / 2 registers, and many states come first.
            free = (_REGISTERS_KEPT if warps <= 8 else 0) - 3 * batch // 2 - 16 * max(0, states - 4)
            free -= _UNDER_WAY.get(exchange, 0)
            kept = min(each, max(0, free) // 12)
            yield Walk(cell, exchange, teams, blocks, units, batch, warps * 32, slices, kept=kept)
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
            # What remains beside sums, inputs, further states of a thread, and 100 that it needs anyway.
            free = 140 - (3 * unit_tile * states + 8) * batch_tile - 16 * ((units * batch - 1) // threads)
            free -= _UNDER_WAY.get(exchange, 0)
            kept = min(-(-sixteens // slices), max(0, free) // (12 * unit_tile))
            yield Walk(
                *(cell, exchange, teams, blocks, units, batch, threads, slices, unit_tile, batch_tile), kept=kept
            )
