"""A device of `rgru.gpu` without a GPU: NumPy's arrays, NumPy's products, and the kernels on the CPU."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np

import cuda_shim
import rgru.gpu
from rgru.gpu import plan as plans
from rgru.gpu.forms import Chip, Exchange, Precision, Walk
from rgru.gpu.numbers import number_type

HOPPER = Chip(capability=90, multiprocessors=132, shared_bytes=232448)
KERNELS = Path(rgru.gpu.__file__).with_name("kernels.cu")


class ShimDevice:
    """What `rgru.gpu.device.Device` offers, on the CPU.

    `choose(chip, cell, count, directions)` decides on the form of the kernels, by default the plan; `seed` orders the
    threads.
    """

    xp = np
    capturing = False

    def __init__(self, chip=HOPPER, choose=plans.plan, seed=0):
        self.chip, self._choose, self._seed = chip, choose, seed
        self.free = 1 << 40
        self.launched = []  # (kernel, form)

    @contextmanager
    def current(self, held):
        yield

    def free_bytes(self):
        return self.free

    def plan(self, cell, count, directions):
        return self._choose(self.chip, cell, count, directions)

    def array(self, host):
        return np.array(host, order="C")

    def numpy(self, array):
        return np.array(array)

    def launch(self, form, name, blocks, threads, arguments):
        self._seed += 1
        self.launched.append((name, form))
        walk = isinstance(form, Walk) and name.startswith("walk")
        self.module(form).launch(
            name,
            blocks,
            threads,
            [np.int32(value) if isinstance(value, int) else value for value in arguments],
            shared_bytes=form.shared_bytes if walk else 0,
            cluster=form.blocks if walk and form.exchange is Exchange.CLUSTER else 1,
            seed=self._seed,
        )

    def module(self, form):
        return cuda_shim.compile(KERNELS, form.macros)

    def multiply(self, a, b, out, precision, add=False):
        wide = np.float64 if precision is Precision.FLOAT64 else np.float32
        product = _operand(a, precision).astype(wide) @ _operand(b, precision).astype(wide)
        out[...] = (out + product if add else product).astype(out.dtype)

    def repeat(self, step, advance, times):
        if times % 2:
            step(0)
            advance(1)
        for _ in range(times // 2):  # as through a graph of two steps
            step(0)
            step(1)
            advance(2)

    def line(self):
        return 0, 0

    def made(self, value):
        return lambda: value

    def side_by_side(self, walk, directions):
        for direction in range(directions):
            walk(direction)


def _operand(array, precision):
    """What the product reads: rounded to tf32 by the matrix units."""
    if precision is not Precision.TF32:
        return array.astype(number_type(precision))
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
