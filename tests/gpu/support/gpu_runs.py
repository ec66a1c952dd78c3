"""Runs of GRUs on a GPU: inputs, error bounds, the comparison with the CPU core, and forced launch shapes."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import pytest

import rgru
from rgru._cuda.device import Device, open_device
from rgru._cuda.dtypes import number_type
from rgru._cuda.kernel_config import CellSpec, Exchange, Precision, Steps
from rgru._cuda.plan import launch_shapes, plan
from rgru._cuda.precision import allow_tf32

gpu = [
    pytest.mark.gpu,
    # Libraries warn of each other as they are loaded; but a grid that CuPy shrinks waits for blocks that never come.
    pytest.mark.filterwarnings("default", "error:The grid size will be reduced"),
]

PRECISIONS = {
    "float32": Precision.FLOAT32,
    "float64": Precision.FLOAT64,
    "tf32": Precision.TF32,
    "tf32x3": Precision.TF32X3,
    "float16": Precision.FLOAT16,
    "bfloat16": Precision.BFLOAT16,
}

BOUNDS = {"float32": 1e-5, "tf32x3": 1e-5, "float64": 1e-12, "tf32": 1.5e-3, "float16": 1.5e-3, "bfloat16": 1.2e-2}
"""Bounds of the differences of outputs. Operands have 24, 53, 11, 11 and 8 bits."""

GRADIENT_BOUNDS = {"float32": 1e-5, "tf32x3": 1e-5, "float64": 1e-12, "tf32": 3e-3, "float16": 4e-3, "bfloat16": 3e-2}
"""Bounds for gradients, relative to the largest magnitude or 1: what the backward pass reads is rounded too."""


def spin(cupy):
    """Return a function that keeps the current stream busy for a number of milliseconds."""
    kernel = cupy.RawKernel(
        r"""
        extern "C" __global__ void spin(unsigned long long nanoseconds) {
            unsigned long long begun, now;
            asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begun));
            do {
                asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
            } while (now - begun < nanoseconds);
        }
        """,
        "spin",
    )
    return lambda milliseconds: kernel((1,), (1,), (np.uint64(milliseconds * 1_000_000),))


def host(array):
    """Return an array, of a GPU or not, as a NumPy array of float64."""
    return (array.get() if hasattr(array, "get") else np.asarray(array)).astype(np.float64)


def close(name, got, expected, bound):
    """Assert equal shapes, and a bounded difference relative to the largest magnitude or 1; NaN never passes."""
    got, expected = host(got), host(expected)
    assert got.shape == expected.shape, name
    if expected.size:
        difference = np.abs(got - expected).max() / max(1.0, np.abs(expected).max())
        assert difference <= bound, f"{name} differs by {difference:.1e}, not {bound:.1e}"


@contextmanager
def precision(kind):
    """Allow the products that `kind` names."""
    allow_tf32(kind.startswith("tf32"), terms=3 if kind == "tf32x3" else 1)
    try:
        yield
    finally:
        allow_tf32(False)


def random_gru(kind, inputs, hidden, layers=1, *, seed=0, **options):
    """Make a GRU with biases that are not zero."""
    gru = rgru.GRU(inputs, hidden, layers, dtype="float64" if kind == "float64" else "float32", seed=seed, **options)
    random = np.random.default_rng(seed)
    for name, value in gru.params.items():
        if value.ndim == 1:
            gru.params[name] = random.uniform(-0.5, 0.5, value.shape).astype(value.dtype)
    return gru


class Batch:
    """Inputs of a forward and a backward pass, in the GRU's dtype but rounded to `kind`; NaN in the padding."""

    def __init__(self, gru, kind, batch, time, *, lengths=None, states=True, seed=0):
        random = np.random.default_rng(seed)
        self.kind, self.number = kind, number_type(PRECISIONS[kind])
        directions = 1 + gru.bidirectional
        states_shape = gru.num_layers * directions, batch, gru.hidden_size

        def rounded(*shape):
            return random.standard_normal(shape).astype(self.number).astype(gru.dtype)

        self.x = rounded(batch, time, gru.input_size)
        self.dy = rounded(batch, time, gru.output_size)
        self.h0, self.dh_n = (rounded(*states_shape), rounded(*states_shape)) if states else (None, None)
        self.lengths = None if lengths is None else np.asarray(lengths)
        if lengths is not None:
            padding = np.arange(time) >= self.lengths[:, None]
            self.x[padding] = self.dy[padding] = np.nan

    def to(self, cupy, array):
        """Copy an array to the GPU, in the dtype of `kind`."""
        return None if array is None else cupy.asarray(array).astype(self.number)


def run(gru, x, h0, dy, dh_n, **options):
    """Call the GRU, record a tape and run it backward; return all results by name."""
    y, h_n = gru(x, h0, **options)
    y_tape, h_n_tape, tape = gru.record(x, h0, **options)
    grads = tape.backward(dy, dh_n)
    found = {"y": y, "h_n": h_n, "record's y": y_tape, "record's h_n": h_n_tape, "dx": grads.x, "dh0": grads.h0}
    values = {name: getattr(value, "values", value) for name, value in found.items()}
    return values | {f"d {name}": value for name, value in grads.params.items()}


def compare(cupy, gru, batch, *, lengths=None):
    """Compare a run on the GPU with the same on the CPU; `lengths` are those for the GPU."""
    given = {} if batch.lengths is None else {"lengths": batch.lengths}
    expected = run(deepcopy(gru), batch.x, batch.h0, batch.dy, batch.dh_n, **given)
    on_device = {} if batch.lengths is None else {"lengths": batch.lengths if lengths is None else lengths}
    with precision(batch.kind):
        arrays = [batch.to(cupy, array) for array in (batch.x, batch.h0, batch.dy, batch.dh_n)]
        got = run(gru, *arrays, **on_device)
    agree(got, expected, batch.kind)
    for name in ("y", "h_n", "dx", "dh0"):
        assert isinstance(got[name], cupy.ndarray), name
        assert got[name].dtype == batch.number, name


def agree(got, expected, kind):
    """Compare results of `run` with those of the CPU."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        close(name, got[name], value, (GRADIENT_BOUNDS if name.startswith("d") else BOUNDS)[kind])


def bits(found):
    """Return the results of `run` as bytes."""
    return {name: (value.get() if hasattr(value, "get") else value).tobytes() for name, value in found.items()}


# -- forms ---------------------------------------------------------------------------------------------------------

FORMS = ("BLOCK", "CLUSTER", "GRID", "PACKETS", "STEPS")


def form_of(form):
    """Return the name of a configuration's kind."""
    return "STEPS" if isinstance(form, Steps) else form.exchange.name


def planned(kind, hidden, count, *, reset_after=False, backward=False, directions=1):
    """Return the kind of configuration that the plan chooses on this GPU."""
    cell = CellSpec(PRECISIONS[kind], reset_after, hidden, backward)
    return form_of(plan(open_device(0).chip, cell, count, directions))


def shapes_of_kind(kind, chip, cell, count, directions):
    """Return all launch shapes of a kind that the chip has room for."""
    return [shape for shape in launch_shapes(chip, cell, count, directions) if shape.exchange is Exchange[kind]]


def force(monkeypatch, kind, seed=None):
    """Force configurations of a kind: a random one by the seed, or the first launch shape that fits."""

    def choose(device, cell, count, directions):
        if kind == "STEPS" or count == 0:
            return Steps(cell)
        found = shapes_of_kind(kind, device.chip, cell, count, directions)
        if not found:
            pytest.skip(f"no room for {kind} with H={cell.hidden} in {cell.precision.name}")
        return found[0 if seed is None else np.random.default_rng(seed).integers(len(found))]

    if kind == "CLUSTER" and open_device(0).chip.capability < 90:
        pytest.skip("clusters begin with compute capability 9.0")
    monkeypatch.setattr(Device, "plan", choose)
