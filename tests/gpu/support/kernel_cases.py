"""Launch shapes and batches for tests of the kernels without a GPU, and their comparison with the CPU core."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pytest

import rgru
from fake_cupy.emulated_device import EmulatedDevice, operand
from layer_cases import normal, with_biases
from rgru._cuda import layer
from rgru._cuda.cell_options import CellOptions
from rgru._cuda.dtypes import number_type
from rgru._cuda.kernel_config import Exchange, LaunchShape, Precision, Steps
from rgru._cuda.layer_weights import LayerWeights
from rgru._cuda.masks import recurrent_masks, zoneout_factors
from rgru._cuda.sequences import Sequences

# Half the distance from 1 to the next number: the rounding of what is stored and multiplied.
ROUNDING = {Precision.TF32: 2.0**-11, Precision.FLOAT16: 2.0**-11, Precision.BFLOAT16: 2.0**-8}
# The core computes in float64 from the same rounded weights and inputs. With low precisions every step also rounds h,
# r * h and the output (forward), and the tape and three gradients (backward), each by at most ROUNDING of a number
# around 1. Rows of U have a norm of 1 and derivatives of the activations are 1 at most, so that errors of a step do not
# grow in later steps; gradients of weights add up the errors of all steps.
EXACT = {Precision.FLOAT64: 1e-13, Precision.FLOAT32: 3e-6, Precision.TF32X3: 3e-6}
FORWARD = EXACT | {key: 4 * u for key, u in ROUNDING.items()}
BACKWARD = EXACT | {key: 8 * u for key, u in ROUNDING.items()}


@dataclass(frozen=True)
class Form:
    """A configuration of the kernels for any cell and both passes."""

    precision: Precision
    hidden: int
    exchange: Exchange | None  # None: Steps
    teams: int = 0  # of each direction
    blocks: int = 0
    units: int = 0
    batch: int = 0
    threads: int = 0
    slices: int = 0
    unit_tile: int = 0
    batch_tile: int = 0
    register_steps: int = 0
    together: bool = False  # in the backward pass

    def __call__(self, _chip, cell, _count, directions):
        """Choose it, as a plan does."""
        if self.exchange is None:
            return Steps(cell)
        rest = (self.blocks, self.units, self.batch, self.threads, self.slices)
        tiles = (self.unit_tile, self.batch_tile, self.register_steps)
        together = self.together and cell.backward
        return LaunchShape(cell, self.exchange, self.teams * directions, *rest, *tiles, together)


BLOCK, CLUSTER, GRID, PACKETS = Exchange
# Sizes are odd, teams fewer than tiles. Slices do not divide the steps of k, or are more than these.
FORMS = {
    "one_unit": Form(Precision.FLOAT32, 1, BLOCK, 2, 1, 4, 1, 32, 1, 1, 1),
    "block_float32": Form(Precision.FLOAT32, 17, BLOCK, 2, 1, 20, 4, 64, 3, 2, 2, register_steps=1),
    "cluster_float64": Form(Precision.FLOAT64, 21, CLUSTER, 1, 2, 12, 2, 32, 5, 4, 1),
    "grid_float32": Form(Precision.FLOAT32, 31, GRID, 2, 3, 12, 2, 64, 4, 1, 2, register_steps=3),
    "block_float16": Form(Precision.FLOAT16, 33, BLOCK, 1, 1, 48, 8, 192, 2, register_steps=1),
    "block_tf32": Form(Precision.TF32, 15, BLOCK, 1, 1, 16, 8, 128, 4),
    "cluster_bfloat16": Form(Precision.BFLOAT16, 50, CLUSTER, 1, 4, 16, 1, 128, 4),
    "packets_tf32x3": Form(Precision.TF32X3, 29, PACKETS, 1, 2, 16, 16, 128, 4, register_steps=1, together=True),
    "block_tf32x3": Form(Precision.TF32X3, 33, BLOCK, 2, 1, 48, 2, 192, 2, register_steps=1),
    "cluster_tf32": Form(Precision.TF32, 29, CLUSTER, 1, 2, 16, 4, 128, 4, register_steps=1),
    "grid_float16": Form(Precision.FLOAT16, 40, GRID, 1, 3, 16, 16, 128, 4, register_steps=1, together=True),
    "packets_float32": Form(Precision.FLOAT32, 31, PACKETS, 1, 4, 8, 1, 32, 5, 2, 1, register_steps=1),
    "packets_float64": Form(Precision.FLOAT64, 21, PACKETS, 2, 3, 8, 4, 96, 5, 2, 1, register_steps=2, together=True),
    "packets_bfloat16": Form(Precision.BFLOAT16, 41, PACKETS, 1, 3, 16, 8, 128, 4, register_steps=1, together=True),
    "steps_float64": Form(Precision.FLOAT64, 17, None),
    "steps_bfloat16": Form(Precision.BFLOAT16, 20, None),
}
PERSISTENT = {name: form for name, form in FORMS.items() if form.exchange is not None}
REPRESENTATIVES = {"cluster_tf32": False, "grid_float32": True, "packets_bfloat16": True}
"""The variants that are tested by default, each with a cell, reset-after or not. `test_host.py` has the others: one
block, and single steps.
"""


def variants(forms=FORMS, representatives=REPRESENTATIVES):
    """Return all forms with both cells as parameters of a test, all but the representatives marked as slow."""
    return [
        pytest.param(
            *(name, reset_after),
            id=f"{name}-reset_{'after' if reset_after else 'before'}",
            marks=() if representatives.get(name) is reset_after else pytest.mark.slow,
        )
        for name in forms
        for reset_after in (False, True)
    ]


def slow(values, representatives):
    """Return all values as parameters of a test, all but the representatives marked as slow."""
    return [pytest.param(value, marks=() if value in representatives else pytest.mark.slow) for value in values]


@dataclass(frozen=True)
class Batch:
    """Lengths of sequences, and the arguments of a call."""

    lengths: tuple[int, ...]
    layout: str = "equal"  # or "padded", "ragged"
    steps: int = 0
    directions: int = 1
    h0: bool = True
    dy: bool = True
    dh_n: bool = True
    bias: bool = True
    size: int = 3  # I


BATCHES = {
    "equal": Batch((4,) * 19),
    "zeros_among_lengths": Batch((5, 0, 1, 4, 0, 2, 5, 3, 1, 5), "padded", 6, directions=2, h0=False, dh_n=False),
    "very_different": Batch((1, 0, 17, 2, 1, 1, 9, 0, 1), "ragged", directions=2, dy=False, bias=False, size=1),
    "one_step_of_one": Batch((1,), directions=2, size=5),
    "no_sequence": Batch((), steps=3),
    "no_step": Batch((0, 0, 0), directions=2),
    "all_empty": Batch((0, 0), "padded", 4),
}


class NaNs:
    """NumPy, but new memory is NaN, so that unwritten elements are noticed."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        return np.full(shape, np.nan if np.dtype(dtype).kind not in "iu" else np.iinfo(dtype).max, dtype)


class Device(EmulatedDevice):
    """An emulated device whose new memory is NaN."""

    xp = NaNs()


def rounded(array, precision):
    """Round to a precision, in the dtype of the device's arrays."""
    array = array.astype(number_type(precision))
    return operand(array, precision) if precision is Precision.TF32 else array


class Problem:
    """A layer and its inputs in some precision, for the device and for the core; `options` are the GRU's other ones."""

    def __init__(self, precision, reset_after, hidden, batch, seed=0, **options):
        self.precision, self.reset_after, self.batch = precision, reset_after, batch
        count, directions = len(batch.lengths), batch.directions
        steps = max(batch.lengths, default=batch.steps) if batch.layout == "equal" else batch.steps
        self.offsets = np.cumsum([0, *batch.lengths])
        rows = self.offsets[-1] if batch.layout == "ragged" else count * steps
        gru = rgru.GRU(
            *(batch.size, hidden),
            bidirectional=directions == 2,
            reset_after=reset_after,
            bias=batch.bias,
            dtype="float64",
            seed=seed,
            **options,
        )
        weights = {name: array.copy() for name, array in gru.params.items()}
        if batch.bias:
            with_biases(gru, seed)
        # Initial weights, but biases and initial states that are not zero.
        for name, array in weights.items():
            value = array if name.endswith((".W", ".U")) else gru.params[name]
            gru.params[name] = rounded(value, precision).astype(np.float64)
        self.gru = gru
        self.cells = [
            {name.rpartition(".")[2]: gru.params[name] for name in gru.params if f".{direction}." in name}
            for direction in (("rev",) if gru.reverse else ("fwd", "rev")[:directions])
        ]
        self.x = rounded(normal(rows, batch.size, seed=seed), precision)
        self.h0 = rounded(normal(directions, count, hidden, seed=seed + 1), precision) if batch.h0 else None
        self.dy = rounded(normal(rows, directions * hidden, seed=seed + 2), precision) if batch.dy else None
        self.dh_n = rounded(normal(directions, count, hidden, seed=seed + 3), precision) if batch.dh_n else None
        self.padding = np.zeros(rows, bool)
        if batch.layout == "padded":
            self.padding = (np.arange(steps) >= np.array(batch.lengths)[:, None]).reshape(rows)
        self.shape = (count, steps)

    def sequences(self, device):
        if self.batch.layout == "equal":
            return Sequences.equal(device, *self.shape)
        if self.batch.layout == "padded":
            return Sequences.padded(device, *self.shape, np.array(self.batch.lengths))
        return Sequences.ragged(device, self.offsets)

    def on_device(self, device, change=lambda sequences: sequences):
        """Compute all results, by name. The padding must not be read."""
        weights = LayerWeights(device, self.precision, self.reset_after, self.cells, CellOptions.of(self.gru._sizes))
        sequences = change(self.sequences(device))
        padding = self.padding[:, None]
        x = np.where(padding, 0, self.x).astype(self.x.dtype)
        masks = {}
        seed = deepcopy(self.gru)._mask_seed()  # as the core will draw it
        if self.gru.recurrent_dropout:
            rate = self.gru.recurrent_dropout
            masks["masks"] = recurrent_masks(weights, sequences.count, 0, rate, seed)
        if self.gru.zoneout:
            masks["factors"] = zoneout_factors(weights, sequences, 0, self.gru.zoneout, seed)
        y, h_n, tape = layer.forward(weights, x, sequences, h0=self.h0, keep=True, **masks)
        blind = np.where(padding, np.nan, self.x).astype(self.x.dtype)
        without_tape = layer.forward(weights, blind, sequences, h0=self.h0, keep=False, **masks)
        assert same(y, without_tape[0])
        assert same(h_n, without_tape[1])
        dy = None if self.dy is None else np.where(padding, np.nan, self.dy).astype(self.dy.dtype)
        gradients = [{name: np.full_like(array, np.nan) for name, array in cell.items()} for cell in self.cells]
        dx, dh0 = layer.backward(weights, tape, sequences, dy=dy, dh_n=self.dh_n, gradients=gradients)
        found = {"y": y, "h_n": h_n, "dx": dx, "dh0": dh0}
        return found | {f"{i}.{name}": array for i, of in enumerate(gradients) for name, array in of.items()}

    def on_core(self):
        """Compute the same by the core, in float64."""
        x, h0, dy, dh_n = (
            None if array is None else np.where(padding, 0, array.astype(np.float64))
            for array, padding in (
                *((self.x, self.padding[:, None]), (self.h0, False)),
                *((self.dy, self.padding[:, None]), (self.dh_n, False)),
            )
        )
        gru = deepcopy(self.gru)
        if self.batch.layout == "ragged":
            y, h_n, tape = gru.record(rgru.Ragged(x, self.offsets), h0)
            gradients = tape.backward(dy, dh_n)
            y, dx = y.values, gradients.x.values
        else:
            lengths = list(self.batch.lengths) if self.batch.layout == "padded" else None
            y, h_n, tape = gru.record(x.reshape(*self.shape, self.batch.size), h0, lengths=lengths)
            gradients = tape.backward(None if dy is None else dy.reshape(y.shape), dh_n)
            y, dx = (array.reshape(len(x), array.shape[-1]) for array in (y, gradients.x))
        expected = {"y": y, "h_n": h_n, "dx": dx, "dh0": gradients.h0}
        for name, array in gradients.params.items():
            _, _, direction, short = name.split(".")
            expected[f"{int(direction == 'rev' and self.gru.bidirectional)}.{short}"] = array
        return expected

    def errors(self, found):
        """Return the largest error of each result, as a fraction of its bound."""
        expected = self.on_core()
        assert found.keys() == expected.keys()
        worst = {}
        for name, array in expected.items():
            assert found[name].shape == array.shape
            if array.size:
                off = np.abs(found[name].astype(np.float64) - array).max() / max(1, np.abs(array).max())
                worst[name] = off / (FORWARD if name in ("y", "h_n") else BACKWARD)[self.precision]
        return worst

    def check(self, found):
        wrong = {name: error for name, error in self.errors(found).items() if not error <= 1}
        assert not wrong


def same(one, other):
    """Return whether two arrays have the same bits."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def all_same(one, other):
    return [name for name in one if not same(one[name], other[name])] == []
