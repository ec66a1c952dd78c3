"""What is measured: shapes, and arrays for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """One layer, one direction, float32: sizes and cell."""

    reset_after: bool
    batch: int
    time: int
    inputs: int
    hidden: int

    @property
    def label(self) -> str:
        return (
            f"B={self.batch} T={self.time} I={self.inputs} H={self.hidden} {'after' if self.reset_after else 'before'}"
        )

    @property
    def flops(self) -> int:
        """Of the matrix products, forward."""
        return 6 * self.batch * self.time * self.hidden * (self.inputs + self.hidden)

    def parameters(self) -> dict[str, Any]:
        """W (3H, I), U (3H, H), b (3H), b_hh (H; reset-after), as rgru has them."""
        random = np.random.default_rng(self.hidden)
        bound = self.hidden**-0.5

        def uniform(*shape: int) -> Any:
            return random.uniform(-bound, bound, shape).astype(np.float32)

        hidden = self.hidden
        parameters = {"W": uniform(3 * hidden, self.inputs), "U": uniform(3 * hidden, hidden), "b": uniform(3 * hidden)}
        return parameters | ({"b_hh": uniform(hidden)} if self.reset_after else {})

    def arrays(self) -> tuple[Any, Any]:
        """x (B, T, I) and a gradient of y (B, T, H)."""
        random = np.random.default_rng(self.batch)
        x = random.standard_normal((self.batch, self.time, self.inputs), dtype=np.float32)
        return x, random.standard_normal((self.batch, self.time, self.hidden), dtype=np.float32)


def cases(sizes: list[tuple[int, int, int, int]]) -> list[Case]:
    """Both cells for each (B, T, I, H)."""
    return [Case(reset_after, *size) for size in sizes for reset_after in (False, True)]


SMALL = [(2000, 33, 8, 4), (2000, 33, 8, 8), (2000, 33, 16, 8), (2000, 33, 16, 16), (33, 1000, 8, 16)]
"""Cells as in GTCRN (Rong et al. 2024) for speech enhancement, where each frame is a sequence of 33 bands."""

INFERENCE = [
    (1, 1, 16, 64),
    (1, 1, 256, 1024),
    (1, 100, 8, 8),
    (1, 100, 64, 64),
    (1, 1000, 16, 64),
    (1, 1000, 40, 128),
    (1, 100, 256, 256),
    (1, 100, 512, 512),
    (1, 20, 1024, 1024),
    (1, 20, 1024, 2048),
    (2, 50, 256, 1024),
    (4, 200, 64, 128),
    (4, 100, 300, 300),
    (8, 100, 50, 50),
    (8, 50, 512, 512),
    (16, 100, 100, 100),
    (16, 1000, 16, 32),
    (16, 20, 512, 2048),
    (32, 100, 8, 16),
    (32, 100, 128, 128),
    (32, 50, 130, 130),
    (32, 50, 512, 512),
    (32, 20, 2048, 512),
    (64, 30, 1024, 1024),
    (100, 50, 300, 300),
    (128, 100, 64, 64),
    (256, 50, 64, 256),
    (256, 1, 128, 128),
    (512, 10, 512, 512),
    (1024, 1, 64, 512),
    (1024, 50, 32, 64),
    (1024, 10, 256, 256),
    (1024, 100, 8, 8),
]

TRAINING = [
    (1, 100, 64, 64),
    (1, 1000, 16, 32),
    (1, 100, 512, 512),
    (1, 20, 1024, 1024),
    (4, 100, 64, 128),
    (8, 100, 50, 50),
    (8, 50, 512, 512),
    (16, 100, 100, 100),
    (32, 100, 16, 16),
    (32, 100, 128, 128),
    (32, 50, 130, 130),
    (32, 50, 512, 512),
    (64, 100, 16, 64),
    (64, 20, 1024, 1024),
    (100, 50, 300, 300),
    (128, 50, 256, 256),
    (256, 50, 64, 64),
    (512, 10, 512, 512),
    (1024, 20, 32, 64),
]

LARGE = [(64, 30, 1024, 1024), (128, 50, 512, 512), (512, 10, 512, 512), (1024, 10, 256, 256)]
"""Weights and batch fill the machine: compared with a matrix product."""

QUICK = [
    (1, 1, 16, 64),
    (1, 100, 64, 64),
    (1, 100, 512, 512),
    (8, 100, 50, 50),
    (32, 100, 128, 128),
    (64, 30, 512, 512),
    (256, 50, 64, 64),
    (512, 10, 512, 512),
]
