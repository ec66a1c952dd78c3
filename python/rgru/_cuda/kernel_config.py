"""The forms of the kernels: their numbers, as kernels.cu has them, and what they take of a chip."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


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

    def clusters_at_once(self, blocks: int) -> int:
        """How many clusters of so many blocks run at the same time."""
        if blocks not in cluster_sizes(self.capability):
            return 0
        if self.clusters is None:
            # Multiprocessors come in groups of up to 18, of which a cluster cannot use the rest.
            return self.multiprocessors * 15 // 16 // blocks
        return dict(self.clusters).get(blocks, 0)


def cluster_sizes(capability: int) -> tuple[int, ...]:
    """Give the numbers of blocks of a cluster on this kind of chip; 16 are for servers, and have to be asked for."""
    if capability < 90:
        return ()
    return (2, 4, 8, 16) if capability in (90, 100) else (2, 4, 8)


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
        return self.slices if self.cell.precision.matrix_units else parts_of(self.tiles, self.slices, self.threads)

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
        return up(operands, 16) + 3 * self.parts * self.batch * (self.units + 4) * precision.sum_bytes

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


def parts_of(tiles: int, slices: int, threads: int) -> int:
    """How many sums of a tile are left when lanes of a warp that have the same tile have added theirs."""
    return threads // 32 if tiles < 32 and 32 % tiles == 0 else slices


def up(value: int, unit: int) -> int:
    """Round up to whole units."""
    return -(-value // unit) * unit
