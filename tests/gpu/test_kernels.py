"""The kernels in the emulator, from their source, compared with the CPU core.

Compiling takes most of the time: some 110 variants, a second each if they are not cached. By default only a few run.
"""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)
pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")

from kernel_cases import BATCHES, FORMS, PERSISTENT, Batch, Device, Problem, all_same, same, slow, variants
from rgru._cuda import layer
from rgru._cuda import plan as plans
from rgru._cuda.kernel_config import CellSpec, Chip, Exchange, Precision, Steps
from rgru._cuda.kernels import source
from rgru._cuda.layer_weights import LayerWeights
from rgru._cuda.sequences import Sequences


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("form", "reset_after"), variants())
def test_kernels_agree_with_the_core(form, reset_after, batch):
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, BATCHES[batch])
    device = Device(choose=form)
    problem.check(problem.on_device(device))
    launched = {shape for name, shape in device.launched if name.startswith("recurrence")}
    assert len(launched) == (2 if form.exchange is not None and BATCHES[batch].lengths else 0)


@pytest.mark.parametrize(("form", "reset_after"), variants())
def test_the_order_of_the_threads_does_not_matter(form, reset_after):
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, BATCHES["zeros_among_lengths"], seed=1)
    first, *others = (problem.on_device(Device(choose=form, seed=seed)) for seed in (0, 1000, 2000, 3000))
    assert all(all_same(first, other) for other in others)


@pytest.mark.parametrize(("form", "reset_after"), variants(PERSISTENT))
def test_neither_teams_nor_positions_matter(form, reset_after):
    """The bits of a sequence do not depend on the others of its team, on the team, or on its position in the batch."""
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, Batch((3,) * 19, directions=2))

    def elsewhere(sequences):
        return replace(sequences, order=np.random.default_rng(0).permutation(sequences.order))

    first = problem.on_device(Device(choose=form))
    for teams in {1, 3} - {form.teams}:
        assert all_same(first, problem.on_device(Device(choose=replace(form, teams=teams))))
    assert all_same(first, problem.on_device(Device(choose=form), elsewhere))


@pytest.mark.parametrize(("form", "reset_after"), variants(PERSISTENT))
def test_a_sequence_alone_has_the_same_bits(form, reset_after):
    """With a zero input, since its product is computed by the library."""
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, Batch((2, 7, 5, 7, 1), "ragged", dy=False))
    weights = LayerWeights(Device(choose=form), form.precision, reset_after, problem.cells)

    def states(count, offsets, h0):
        sequences = Sequences.ragged(weights.device, np.array(offsets))
        x = np.zeros((offsets[-1], problem.batch.size), problem.x.dtype)
        return layer.forward(weights, x, sequences, h0=h0, keep=False)[:2]

    y, h_n = states(5, [0, 2, 9, 14, 21, 22], problem.h0)
    alone, last = states(1, [0, 5], np.ascontiguousarray(problem.h0[:, 2:3]))
    assert same(y[9:14], alone)
    assert same(h_n[:, 2:3], last)


def test_weights_are_packed_for_each_precision():
    """Where tf32 is allowed, a form in float32 may have the same blocks and units as one in tf32."""
    problem, device = Problem(Precision.TF32, True, 15, Batch((1,))), Device()
    weights = LayerWeights(device, Precision.TF32, True, problem.cells)
    rounded = FORMS["block_tf32"](None, CellSpec(Precision.TF32, True, 15, False), 1, 1)
    whole = replace(
        rounded, cell=replace(rounded.cell, precision=Precision.FLOAT32), unit_tile=1, batch_tile=1, slices=1
    )
    assert not same(weights.packed(rounded), weights.packed(whole))


RANDOM = 24
SLOW = pytest.mark.slow


@pytest.mark.parametrize("seed", slow(range(RANDOM), [16]))
def test_random_launch_shapes_agree_with_the_core(seed):
    """Random launch shapes for small chips, different ones for the two passes, and random sizes."""
    rng = random.Random(seed)
    precision = list(Precision)[seed % len(Precision)]
    count, directions = rng.choice([1, 2, 5, 9, 17]), rng.choice([1, 2])
    batch = Batch(
        tuple(rng.choice([0, 1, 2, 3, 7]) for _ in range(count)),
        rng.choice(["padded", "ragged"]),
        7,
        directions=directions,
        h0=rng.random() < 0.7,
        dy=(dy := rng.random() < 0.7),
        dh_n=not dy or rng.random() < 0.7,
        bias=rng.random() < 0.7,
        size=rng.choice([1, 4, 7]),
    )
    hidden = rng.choice([2, 5, 16, 24, 33, 47, 64, 70])
    chip = Chip(90, rng.choice([2, 4, 8, 16]), rng.choice([232448, 60000]))
    wanted = list(Exchange)[seed // 2 % len(Exchange)]

    def choose(_chip, cell, count, directions):
        shapes = [shape for shape in plans.launch_shapes(chip, cell, count, directions) if few_threads(shape)]
        return rng.choice([shape for shape in shapes if shape.exchange is wanted] or shapes or [Steps(cell)])

    def few_threads(shape):
        return shape.teams * shape.blocks * shape.threads <= 6000

    problem = Problem(precision, rng.random() < 0.5, hidden, batch, seed=seed)
    chosen = {}  # one for each pass, although the device asks more than once
    device = Device(choose=lambda *sizes: chosen.setdefault(sizes, choose(*sizes)), seed=seed)
    problem.check(problem.on_device(device))
    assert {True, False} == {cell.backward for _, cell, _, _ in chosen}


@pytest.mark.slow
@pytest.mark.parametrize("precision", Precision, ids=lambda one: one.name.lower())
def test_the_plan_of_this_chip_agrees_with_the_core(precision):
    problem = Problem(precision, bool(precision % 2), 24, Batch((6, 0, 3), "padded", 6, directions=2))
    problem.check(problem.on_device(Device()))


# -- faults that these tests notice -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "wrong", "form"),
    [
        pytest.param(r"\(phase & 1\)\) \* BATCH", "0) * BATCH", "grid_float32", id="one_buffer_of_a_grid"),
        pytest.param(
            r"\(phase & 1\)\) \* BLOCKS",
            "0) * BLOCKS",
            "packets_float64",
            id="one_buffer_of_packets",
            marks=pytest.mark.slow,
        ),
        pytest.param(r"place % 2 \* 8", "place / 2 * 8", "block_tf32", id="another_fragment", marks=SLOW),
        pytest.param(r"(wait\(int phase\) const {\n.*\n).*;", r"\1", "block_float32", id="no_barrier", marks=SLOW),
    ],
)
def test_faults_in_the_kernels_are_noticed(correct, wrong, form):
    broken, places = re.subn(correct, wrong, source())
    assert places == 1, "the kernels have changed: adapt the fault"
    problem = Problem(FORMS[form].precision, True, FORMS[form].hidden, BATCHES["very_different"])
    failed = 0
    for seed in range(3):
        try:
            problem.check(problem.on_device(Device(choose=FORMS[form], seed=1000 * seed, kernels=broken)))
        except (AssertionError, cuda_emulator.EmulatorError):
            failed += 1
    assert failed
