"""Configurations of the kernels: the numbers that they are compiled for, and the resources that they take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from rgru._cuda.cell_options import PLAIN, CellOptions

Macros = dict[str, int | float]


class Precision(IntEnum):
    """What is stored and multiplied. Sums are float32, or float64 in float64. The kernels use the same numbers.

    TF32X3 splits each float32 number into two of tf32, and multiplies three pairs of them.
    """

    FLOAT32 = 0
    TF32 = 1
    TF32X3 = 2
    FLOAT16 = 3
    BFLOAT16 = 4
    FLOAT64 = 5

    @property
    def number_bytes(self) -> int:
        """Bytes of a number in arrays, and of an operand of a product."""
        return (4, 4, 4, 2, 2, 8)[self]

    @property
    def sum_bytes(self) -> int:
        """Bytes of a sum."""
        return 8 if self is Precision.FLOAT64 else 4

    @property
    def matrix_units(self) -> bool:
        """Whether matrix units compute the products, of 16 units by 8 sequences, or fewer and zeros."""
        return Precision.TF32 <= self <= Precision.BFLOAT16

    @property
    def macros(self) -> Macros:
        """The macros of the kernels for this precision."""
        return {"PRECISION": self, "MATRIX_UNITS": int(self.matrix_units)}


class Exchange(IntEnum):
    """How the blocks of a team send each other the states. The kernels use the same numbers."""

    BLOCK = 0
    CLUSTER = 1
    GRID = 2
    PACKETS = 3

    @property
    def through_memory(self) -> bool:
        """Whether the blocks exchange through global memory, so that all of the grid have to run at the same time."""
        return self in (Exchange.GRID, Exchange.PACKETS)


@dataclass(frozen=True)
class Chip:
    """The properties of a device that the plan depends on.

    Attributes
    ----------
    capability : int
        Ten times the major version plus the minor one: 90 for Hopper.
    multiprocessors : int
    shared_bytes : int
        The maximum of dynamic shared memory of a block.
    clusters : tuple of (int, int), optional
        For each number of blocks of a cluster how many clusters run at the same time, each block on a multiprocessor
        of its own. A part of a GPU may have room for fewer than a whole chip. Estimated by default.
    """

    capability: int
    multiprocessors: int
    shared_bytes: int
    clusters: tuple[tuple[int, int], ...] | None = None

    def clusters_at_once(self, blocks: int) -> int:
        """Return how many clusters of `blocks` blocks run at the same time."""
        if blocks not in cluster_sizes(self.capability):
            return 0
        if self.clusters is None:
            # Multiprocessors come in groups of up to 18; what a cluster leaves over in a group stays unused.
            return self.multiprocessors * 15 // 16 // blocks
        return dict(self.clusters).get(blocks, 0)


def cluster_sizes(capability: int) -> tuple[int, ...]:
    """Return the possible numbers of blocks of a cluster on a kind of chip.

    Parameters
    ----------
    capability : int
        As in `Chip`.

    Returns
    -------
    tuple of int
        16 only on chips for servers, where the kernel has to allow it explicitly.

    Examples
    --------
    >>> from rgru._cuda.kernel_config import cluster_sizes
    >>> cluster_sizes(80), cluster_sizes(90)
    ((), (2, 4, 8, 16))
    """
    if capability < 90:
        return ()
    return (2, 4, 8, 16) if capability in (90, 100) else (2, 4, 8)


@dataclass(frozen=True)
class CellSpec:
    """What the kernels of a layer are compiled for, whatever the launch shape.

    Attributes
    ----------
    precision : Precision
    reset_after : bool
    hidden : int
        H.
    backward : bool
    options : CellOptions, optional
        By default those of the plain cell.
    masked : bool, default False
        Whether recurrent dropout masks the states that recurrent products read.
    """

    precision: Precision
    reset_after: bool
    hidden: int
    backward: bool
    options: CellOptions = PLAIN
    masked: bool = False

    @property
    def exchanges(self) -> int:
        """How often the blocks of a team wait for each other in a step."""
        return 1 if self.reset_after else 2

    @property
    def macros(self) -> Macros:
        """The macros of the kernels for this cell."""
        macros = self.precision.macros | {"RESET_AFTER": int(self.reset_after), "H": self.hidden}
        macros |= self.options.macros(self.precision.sum_bytes)
        macros |= {"RECURRENT_MASK": 1} if self.masked else {}
        return macros | ({"BACKWARD": 1} if self.backward else {})


@dataclass(frozen=True)
class Common:
    """The kernels that do not depend on the layer: sorting by length, dropout."""

    precision: Precision

    @property
    def macros(self) -> Macros:
        """The macros of these kernels."""
        return self.precision.macros | {"COMMON": 1}


@dataclass(frozen=True)
class Steps:
    """A library's product and a small kernel for each step."""

    cell: CellSpec

    @property
    def macros(self) -> Macros:
        """The macros of these kernels."""
        return self.cell.macros | {"STEPS": 1}


@dataclass(frozen=True)
class LaunchShape:
    """One persistent kernel for all steps: how its work is shared among blocks and threads.

    Attributes
    ----------
    cell : CellSpec
    exchange : Exchange
    teams : int
        Teams in the grid, over all directions.
    blocks, units, batch, threads, slices, unit_tile, batch_tile, register_steps : int
        As ``kernels/variant.cuh`` describes them.
    together : bool
        Whether a block has room for all channels that it fetches from memory, so that it waits for them together.
    """

    cell: CellSpec
    exchange: Exchange
    teams: int
    blocks: int
    units: int
    batch: int
    threads: int
    slices: int
    unit_tile: int = 0
    batch_tile: int = 0
    register_steps: int = 0
    together: bool = False

    @property
    def width(self) -> int:
        """Units of a team, padding included."""
        return self.blocks * self.units

    @property
    def channels(self) -> int:
        """How many arrays are exchanged: h and r * h, or the gradients of the three gates."""
        return 3 if self.cell.backward else self.cell.exchanges

    @property
    def inputs(self) -> int:
        """For how many of the exchanged arrays a block has room in shared memory."""
        if not self.exchange.through_memory:
            return 2 * self.channels
        return self.channels if self.together else 1

    @property
    def weights(self) -> int:
        """How many numbers of U a block holds, padding included."""
        return 3 * self.units * self.width

    @property
    def tiles(self) -> int:
        """Parts that a block's units and sequences are split into, each for a warp or a thread."""
        if self.cell.precision.matrix_units:
            return self.units // 16
        return self.units // self.unit_tile * (self.batch // self.batch_tile)

    @property
    def slice_steps(self) -> int:
        """Steps of k of a slice: each of one mma, or of the numbers in 16 bytes."""
        step = 32 if self.cell.precision.matrix_units else 16
        return -(-self.width * self.cell.precision.number_bytes // step // self.slices)

    @property
    def parts(self) -> int:
        """How many sums of a product meet in shared memory: one of each slice, or of each warp that adds its lanes."""
        return self.slices if self.cell.precision.matrix_units else parts_of(self.tiles, self.slices, self.threads)

    @property
    def published_bytes(self) -> int:
        """Bytes of global memory through which the blocks exchange states."""
        if not self.exchange.through_memory:
            return 0
        return self.teams * 2 * self.channels * self.exchanged_bytes

    @property
    def exchanged_bytes(self) -> int:
        """Bytes that a block reads of the states of its team (or of one gate's gradients) in a step."""
        number = self.cell.precision.number_bytes
        if self.exchange is Exchange.PACKETS:  # 16 bytes hold up to 12 bytes of a sequence's numbers
            return self.blocks * self.batch * -(-self.units // (12 // number)) * 16
        return self.batch * self.width * number

    @property
    def _pitch(self) -> int:
        return self.width + 16 // self.cell.precision.number_bytes

    @property
    def shared_bytes(self) -> int:
        """Bytes of dynamic shared memory of a block: weights, inputs, staged values, partial sums, barriers."""
        precision = self.cell.precision
        number = precision.number_bytes
        if precision.matrix_units:
            weights = 3 * self.tiles * self.slices * (self.slice_steps - self.register_steps) * 512 // number
        else:
            row = self.width - self.register_steps * self.slices * 16 // number
            weights = 3 * self.units * (row + 16 // number) if self.register_steps < self.slice_steps else 0
        inputs = self.inputs * self.batch * self._pitch
        is_staged = self.exchange in (Exchange.CLUSTER, Exchange.PACKETS)
        staged = self.channels * self.units * self.batch if is_staged else 0
        operands = (weights + inputs + staged) * number
        partial = 3 * self.parts * self.batch * (self.units + 4) * precision.sum_bytes
        barriers = 4 * 8 if self.exchange is Exchange.CLUSTER else 0
        return up(operands, 16) + partial + barriers

    @property
    def macros(self) -> Macros:
        """The macros of the kernels for this launch shape."""
        macros = self.cell.macros | {
            "EXCHANGE": self.exchange,
            "BLOCKS": self.blocks,
            "UNITS": self.units,
            "BATCH": self.batch,
            "INPUTS": self.inputs,
            "THREADS": self.threads,
            "SLICES": self.slices,
            "UNIT_TILE": self.unit_tile,
            "BATCH_TILE": self.batch_tile,
            "REGISTER_STEPS": self.register_steps,
            "SHARED_BYTES": self.shared_bytes,
        }
        return macros | ({"CLUSTER_BLOCKS": self.blocks} if self.exchange is Exchange.CLUSTER else {})


def defines(macros: Macros) -> tuple[str, ...]:
    """Return the compiler's options for macros.

    Parameters
    ----------
    macros : dict

    Returns
    -------
    tuple of str
        Numbers with a fraction are exact.

    Examples
    --------
    >>> from rgru._cuda.kernel_config import defines
    >>> defines({"H": 3, "CLIP": 0.1})
    ('-DH=3', '-DCLIP=0.1')
    """
    return tuple(f"-D{name}={value if isinstance(value, float) else int(value)}" for name, value in macros.items())


def parts_of(tiles: int, slices: int, threads: int) -> int:
    """Return how many sums of a tile are left after lanes of a warp that have the same tile have added theirs.

    Parameters
    ----------
    tiles, slices, threads : int
        As in `LaunchShape`.

    Returns
    -------
    int
    """
    return threads // 32 if tiles < 32 and 32 % tiles == 0 else slices


def up(value: int, unit: int) -> int:
    """Round `value` up to a multiple of `unit`.

    Parameters
    ----------
    value, unit : int

    Returns
    -------
    int

    Examples
    --------
    >>> from rgru._cuda.kernel_config import up
    >>> up(17, 16)
    32
    """
    return -(-value // unit) * unit
