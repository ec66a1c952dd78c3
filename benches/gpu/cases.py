"""The shapes that are measured, the most informative first, and lower bounds of their times on a chip."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("float32", "bfloat16", "tf32", "float16", "tf32x3")
"""Of products. "tf32x3" is float32 by three products in tf32, beside float32 in PyTorch."""
HIDDEN = (64, 128, 256, 512, 1024, 1536, 2048)
BATCHES = (1, 4, 16, 32, 64, 256, 1024)
TIMES = (1, 100, 1000)
SMALL = 64
"""Batches up to this size have a summary of their own: the sequence of steps dominates their time."""


@dataclass(frozen=True)
class Shape:
    """One layer in one direction. I = min(H, 512): as inside a stack, but no wider than most inputs."""

    kind: str
    batch: int
    time: int
    hidden: int
    reset_after: bool = True

    @property
    def inputs(self) -> int:
        return min(self.hidden, 512)

    @property
    def label(self) -> str:
        return f"{self.kind:8} B={self.batch:<4} T={self.time:<4} H={self.hidden:<4}"

    @property
    def item(self) -> int:
        """Return the bytes of a number."""
        return 2 if self.kind.endswith("16") else 4

    @property
    def weights(self) -> int:
        return 3 * self.hidden * (self.inputs + self.hidden)

    def flops(self, training: bool) -> float:
        """Return the operations of the matrix products; the backward pass has twice as many as the forward pass."""
        return 2.0 * self.weights * self.batch * self.time * (3 if training else 1)

    def bytes(self, training: bool) -> float:
        """Return the least traffic: weights and x read, y written; backward, all and dy read, dx and dW written."""
        steps = self.batch * self.time * (self.inputs + self.hidden)
        return float(self.item * (self.weights + steps) * (3 if training else 1))

    def memory(self, training: bool) -> float:
        """Estimate the bytes that both contenders need, with a graph each."""
        numbers = self.batch * self.time * (2 * self.inputs + (17 if training else 5) * self.hidden)
        return 4.0 * self.item * numbers + 40.0 * self.weights


@dataclass(frozen=True)
class Limits:
    """The measured limits of a device: bytes copied (read and written) and operations of each kind, per second."""

    copied: float
    flops: Mapping[str, float]

    def seconds(self, shape: Shape, training: bool) -> float:
        """Return a lower bound of the time of a shape."""
        return max(shape.bytes(training) / self.copied, shape.flops(training) / self.flops[shape.kind])


ASSUMED = Limits(4e12, {"float32": 45e12, "tf32": 350e12, "float16": 700e12, "bfloat16": 700e12, "tf32x3": 117e12})
"""Limits of an H200, to choose shapes before anything is measured."""

LONGEST = 0.05
"""A shape is skipped if its lower bound exceeds these seconds."""

LARGEST = 40e9
"""A shape is skipped if it needs more than these bytes."""


Pass = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]

QUICK: list[Pass] = [(KINDS, (1, 16, 256), (100,), (128, 512, 1024))]
PASSES: list[Pass] = [
    (KINDS[:2], (1, 16, 64), (100,), HIDDEN),
    (KINDS, (1, 16, 64, 256), (100,), HIDDEN),
    (KINDS, (1, 16, 64), (1000,), (128, 512, 1024)),
    (KINDS, (1, 64, 1024), (1,), (128, 512, 1024)),
    (KINDS, (4, 32, 1024), (100,), HIDDEN),
    (KINDS, BATCHES, TIMES, HIDDEN),
]
"""All combinations of kinds, B, T and H."""


def shapes(training: bool, quick: bool = False) -> list[Shape]:
    """Return all shapes, in passes: if time runs out, the last ones are not measured."""
    passes = QUICK if quick else PASSES
    found: dict[Shape, None] = {}
    for kinds, batches, times, hidden in passes:
        for kind in kinds:
            for steps in times:
                for units in hidden:
                    found.update({Shape(kind, batch, steps, units): None for batch in batches})
    return [
        shape for shape in found if ASSUMED.seconds(shape, training) <= LONGEST and shape.memory(training) <= LARGEST
    ]


RESET_BEFORE = [
    Shape("float32", 1, 100, 256, False),
    Shape("bfloat16", 16, 100, 512, False),
    Shape("float32", 64, 100, 128, False),
    Shape("bfloat16", 64, 100, 1024, False),
]
SPLIT = [("tf32x3", 16, 1024), ("tf32x3", 64, 1024)]
TUNED = [
    (kind, batch, hidden)
    for hidden in (128, 256, 512, 1024, 2048)
    for kind in ("float32", "bfloat16")
    for batch in (1, 16, 64, 256)
] + SPLIT
QUICKLY_TUNED = [
    (kind, batch, hidden)
    for batch, hidden in ((16, 1024), (16, 256), (1, 1024), (16, 512), (64, 1024), (1, 512))
    for kind in ("float32", "bfloat16")
] + SPLIT
"""Where the forms of the kernels cost about the same, so that the constants of the cost model decide."""


class Deadline:
    """The time limit of a section, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        return self._end - time.perf_counter()


def summary(rows: list[dict[str, Any]], ratio: str) -> dict[str, Any]:
    """Return geometric mean and minimum of a ratio over the rows that have it: for small batches, and for all."""
    found: dict[str, Any] = {}
    for name, most in ((f"B<={SMALL}", SMALL), ("all", None)):
        ratios = [row[ratio] for row in rows if row.get(ratio) and (most is None or row["batch"] <= most)]
        if ratios:
            found[name] = {"shapes": len(ratios), "geometric_mean": geometric_mean(ratios), "least": min(ratios)}
    return found
