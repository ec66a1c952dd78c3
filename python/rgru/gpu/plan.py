"""Which form of the kernels walks a layer, on what chip, for which sizes: a pure function.

A team of blocks keeps U on the chip for all steps and walks a tile of the batch; its blocks give each other the new
states in every step. With no room for U, or for large batches, a product of the library and a small kernel take each
step instead. The costs are estimates in cycles of one step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Precision(IntEnum):
    """What is stored and multiplied; sums are float32, or float64 in float64. The kernels know them by number."""

    FLOAT32 = 0
    TF32 = 1
    FLOAT16 = 2
    BFLOAT16 = 3
    FLOAT64 = 4

    @property
    def number_bytes(self) -> int:
        """The size of a number in arrays, and of what products read."""
        return (4, 4, 2, 2, 8)[self]

    @property
    def sum_bytes(self) -> int:
        """The size of a number in sums."""
        return 8 if self is Precision.FLOAT64 else 4

    @property
    def matrix_units(self) -> bool:
        """Whether products are made by matrix units, of 16 units by 8 sequences at least."""
        return Precision.TF32 <= self <= Precision.BFLOAT16


class Exchange(IntEnum):
    """How the blocks of a team give each other the states; the kernels know them by number."""

    BLOCK = 0
    CLUSTER = 1
    GRID = 2
    PACKETS = 3

    @property
    def through_memory(self) -> bool:
        """Whether all blocks of the grid have to run at the same time, as they meet in global memory."""
        return self in (Exchange.GRID, Exchange.PACKETS)


@dataclass(frozen=True)
class Chip:
    """What the plan needs to know of a device.

    Attributes
    ----------
    capability : int
        Ten times the major version and the minor one: 90 for Hopper.
    multiprocessors : int
    shared_bytes : int
        The most dynamic shared memory that a block may take.
    clusters : tuple of (int, int), optional
        For each number of blocks of a cluster how many clusters run at the same time, each block on a multiprocessor
        of its own. A part of a GPU may have room for fewer than the kind of chip. By default a guess.
    """

    capability: int
    multiprocessors: int
    shared_bytes: int
    clusters: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class Cell:
    """What the kernels are compiled for, besides the form.

    Attributes
    ----------
    precision : Precision
    reset_after : bool
    hidden : int
        H.
    backward : bool
    """

    precision: Precision
    reset_after: bool
    hidden: int
    backward: bool

    @property
    def exchanges(self) -> int:
        """How often the blocks of a team wait for each other in a step."""
        return 1 if self.reset_after else 2

    @property
    def macros(self) -> dict[str, int]:
        """The kernels' macros for it."""
        return {"PRECISION": self.precision, "RESET_AFTER": int(self.reset_after), "H": self.hidden} | (
            {"BACKWARD": 1} if self.backward else {}
        )


@dataclass(frozen=True)
class Common:
    """The kernels that do not depend on the layer."""

    precision: Precision

    @property
    def macros(self) -> dict[str, int]:
        """The kernels' macros for this form."""
        return {"PRECISION": self.precision, "RESET_AFTER": 0, "H": 1, "EXCHANGE": Exchange.BLOCK, "COMMON": 1}


@dataclass(frozen=True)
class Steps:
    """A product of the library and a small kernel for each step."""

    cell: Cell

    @property
    def macros(self) -> dict[str, int]:
        """The kernels' macros for this form."""
        return self.cell.macros | {"EXCHANGE": Exchange.BLOCK, "STEPS": 1}


@dataclass(frozen=True)
class Walk:
    """One persistent kernel for all steps.

    Attributes
    ----------
    cell : Cell
    exchange : Exchange
    teams : int
        Teams in the grid, over all directions.
    blocks, units, batch, threads, slices, unit_tile, batch_tile, kept : int
        As kernels.cu has them.
    """

    cell: Cell
    exchange: Exchange
    teams: int
    blocks: int
    units: int
    batch: int
    threads: int
    slices: int
    unit_tile: int = 0
    batch_tile: int = 0
    kept: int = 0

    @property
    def width(self) -> int:
        """Units with padding."""
        return self.blocks * self.units

    @property
    def channels(self) -> int:
        """How many arrays are exchanged: h and r * h, or the slopes of the three gates."""
        return 3 if self.cell.backward else self.cell.exchanges

    @property
    def weights(self) -> int:
        """How many numbers of U a block keeps, with padding."""
        return 3 * self.units * self.width

    @property
    def tiles(self) -> int:
        """Parts that a block's units and sequences are split into: each a warp's, or a thread's."""
        if self.cell.precision.matrix_units:
            return self.units // 16
        return self.units // self.unit_tile * (self.batch // self.batch_tile)

    @property
    def slice_steps(self) -> int:
        """Steps of k of a slice: of one mma, or of the numbers in 16 bytes."""
        step = 32 if self.cell.precision.matrix_units else 16
        return -(-self.width * self.cell.precision.number_bytes // step // self.slices)

    @property
    def parts(self) -> int:
        """How many sums of a product meet in shared memory: of each slice, or of each warp where its lanes add up."""
        return self.slices if self.cell.precision.matrix_units else _parts(self.tiles, self.slices, self.threads)

    @property
    def published_bytes(self) -> int:
        """The global memory through which blocks exchange states."""
        if not self.exchange.through_memory:
            return 0
        return self.teams * 2 * self.channels * self.exchanged_bytes

    @property
    def exchanged_bytes(self) -> int:
        """What a block reads of the others' states (or of one gate's slopes) in a step."""
        number = self.cell.precision.number_bytes
        if self.exchange is Exchange.PACKETS:  # 16 bytes with up to 12 bytes of a sequence's numbers each
            return self.blocks * self.batch * -(-self.units // (12 // number)) * 16
        return self.batch * self.width * number

    @property
    def _pitch(self) -> int:
        return self.width + 16 // self.cell.precision.number_bytes

    @property
    def shared_bytes(self) -> int:
        """The dynamic shared memory of a block: weights, inputs, staged values, partial sums."""
        precision = self.cell.precision
        number = precision.number_bytes
        if precision.matrix_units:
            weights = 3 * self.tiles * self.slices * (self.slice_steps - self.kept) * 512 // number
        else:
            row = self.width - self.kept * self.slices * 16 // number
            weights = 3 * self.units * (row + 16 // number) if self.kept < self.slice_steps else 0
        inputs = (1 if self.exchange.through_memory else 2 * self.channels) * self.batch * self._pitch
        is_staged = self.exchange in (Exchange.CLUSTER, Exchange.PACKETS)
        staged = self.channels * self.units * self.batch if is_staged else 0
        operands = (weights + inputs + staged) * number
        return _up(operands, 16) + 3 * self.parts * self.batch * (self.units + 4) * precision.sum_bytes

    @property
    def macros(self) -> dict[str, int]:
        """The kernels' macros for this form."""
        return self.cell.macros | {
            "EXCHANGE": self.exchange,
            "BLOCKS": self.blocks,
            "UNITS": self.units,
            "BATCH": self.batch,
            "THREADS": self.threads,
            "SLICES": self.slices,
            "UNIT_TILE": self.unit_tile,
            "BATCH_TILE": self.batch_tile,
            "KEPT": self.kept,
            "SHARED_BYTES": self.shared_bytes,
        }


def _parts(tiles: int, slices: int, threads: int) -> int:
    """How many sums of a tile are left when lanes of a warp that have the same tile have added theirs."""
    return threads // 32 if tiles < 32 and 32 % tiles == 0 else slices


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
    least = _cost_of_steps(chip, cell, count, directions)
    for walk in _walks(chip, cell, count, directions) if count else ():
        cost = _cost_of_walk(chip, walk, count, directions)
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
        units = _up(-(-cell.hidden // blocks), whole)
        blocks = -(-cell.hidden // units)  # noqa: PLW2901 - padding may have made some needless
        at_once = _at_once(chip, blocks) if exchange is Exchange.CLUSTER else chip.multiprocessors // blocks
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


def cluster_sizes(capability: int) -> tuple[int, ...]:
    """Give the numbers of blocks of a cluster on this kind of chip; 16 are for servers, and have to be asked for."""
    if capability < 90:
        return ()
    return (2, 4, 8, 16) if capability in (90, 100) else (2, 4, 8)


def _at_once(chip: Chip, blocks: int) -> int:
    """How many clusters of so many blocks run at the same time."""
    if blocks not in cluster_sizes(chip.capability):
        return 0
    if chip.clusters is None:
        # Multiprocessors come in groups of up to 18, of which a cluster cannot use the rest.
        return chip.multiprocessors * 15 // 16 // blocks
    return dict(chip.clusters).get(blocks, 0)


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
            threads = _up(tiles * slices, 32)
            if slices > 32 and _parts(tiles, slices, threads) == slices:
                continue  # adding them up would take longer than multiplying
            # What remains beside sums, inputs, further states of a thread, and 100 that it needs anyway.
            free = 140 - (3 * unit_tile * states + 8) * batch_tile - 16 * ((units * batch - 1) // threads)
            free -= _UNDER_WAY.get(exchange, 0)
            kept = min(-(-sixteens // slices), max(0, free) // (12 * unit_tile))
            yield Walk(
                *(cell, exchange, teams, blocks, units, batch, threads, slices, unit_tile, batch_tile), kept=kept
            )


# -- what it costs: cycles of a step -----------------------------------------------------------------------------------

_WAIT = {Exchange.BLOCK: 60, Exchange.CLUSTER: 700, Exchange.GRID: 1900, Exchange.PACKETS: 1000}
"""For everyone's states: a barrier of the block, of the cluster, through the second-level cache, or none there."""
_POINTWISE = 400
_LAUNCH = 4500
"""A kernel of a graph, with the gap before it."""


def _cost_of_walk(chip: Chip, walk: Walk, count: int, directions: int) -> float:
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
        return math.ceil(walk.teams / _at_once(chip, walk.blocks))
    return max(1.0, walk.teams * walk.blocks / chip.multiprocessors)


def _cost_of_steps(chip: Chip, cell: Cell, count: int, directions: int) -> float:
    number = cell.precision.number_bytes
    per_cycle = chip.multiprocessors * {8: 64, 4: 128, 2: 1024}[number] * (4 if cell.precision is Precision.TF32 else 1)
    made = 3.0 * cell.hidden * cell.hidden * count / (0.7 * per_cycle)
    read = 3.0 * cell.hidden * cell.hidden * number / (24 * chip.multiprocessors)
    pointwise = 12.0 * count * cell.hidden * number / (16 * chip.multiprocessors)
    return directions * (2 * cell.exchanges * _LAUNCH + max(made, read) + pointwise)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
