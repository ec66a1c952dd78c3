"""`rgru._cuda.device.Device` without CuPy: arrays and products of NumPy, and the kernels in the emulator."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

import cuda_emulator
from rgru._cuda import plan as plans
from rgru._cuda.dtypes import number_type
from rgru._cuda.kernel_config import Chip, Exchange, LaunchShape, Precision
from rgru._cuda.kernels import source

HOPPER = Chip(capability=90, multiprocessors=132, shared_bytes=232448)


class EmulatedDevice:
    """The interface of `Device` that layers use, on the CPU.

    Parameters
    ----------
    chip : Chip
    choose : callable
        ``choose(chip, cell, count, directions)`` returns the configuration of the kernels; by default the plan.
    seed : int
        Determines the order in which the threads run.
    kernels : str, optional
        The CUDA source.

    Attributes
    ----------
    launched : list of tuple
        The name and the configuration of each launch.
    """

    xp = np
    capturing = False

    def __init__(self, chip=HOPPER, choose=plans.plan, seed=0, kernels=None):
        self.chip, self._choose, self._seed = chip, choose, seed
        self._kernels = source() if kernels is None else kernels
        self.launched = []

    @contextmanager
    def current(self, held):
        yield

    def free_bytes(self):
        return 1 << 40

    def plan(self, cell, count, directions):
        return self._choose(self.chip, cell, count, directions)

    def array(self, host):
        return np.array(host, order="C")

    def numpy(self, array):
        return np.array(array)

    def launch(self, form, name, blocks, threads, arguments, *, shared_bytes=0):
        self._seed += 1
        self.launched.append((name, form))
        persistent = isinstance(form, LaunchShape) and name.startswith("recurrence")
        self.module(form).launch(
            name,
            blocks,
            threads,
            [np.int32(value) if isinstance(value, int) else value for value in arguments],
            shared_bytes=form.shared_bytes if persistent else shared_bytes,
            cluster=form.blocks if persistent and form.exchange is Exchange.CLUSTER else 1,
            seed=self._seed,
        )

    def module(self, form):
        return cuda_emulator.compile(self._kernels, form.macros)

    def multiply(self, a, b, out, precision, add=False):
        wide = np.float64 if precision is Precision.FLOAT64 else np.float32
        product = operand(a, precision).astype(wide) @ operand(b, precision).astype(wide)
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

    def side_by_side(self, run, directions):
        for direction in range(directions):
            run(direction)


def operand(array, precision):
    """Convert an array to what products read, as the matrix units do: rounded to tf32, for one."""
    if precision is not Precision.TF32:
        return array.astype(number_type(precision))
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
