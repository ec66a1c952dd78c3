"""The GPU's kernels against the core, without a GPU: each CUDA thread is a fiber on the CPU, in shuffled order.

What is compiled takes most of the time: some 110 variants, a second each where they are not in the cache.
"""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

import cuda_emulator
from layer_cases import CELLS

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)
pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")

from kernel_cases import BATCHES, FORMS, PERSISTENT, Batch, Device, Problem, all_same, same
from rgru.gpu import layer
from rgru.gpu import plan as plans
from rgru.gpu.forms import Chip, Exchange, Precision, Steps
from rgru.gpu.kernels import source
from rgru.gpu.sequences import Sequences


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("form", FORMS)
def test_kernels_agree_with_the_core(form, reset_after, batch):
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, BATCHES[batch])
    device = Device(choose=form)
    problem.check(problem.on_device(device))
    walked = {launched for name, launched in device.launched if name.startswith("recurrence")}
    assert len(walked) == (2 if form.exchange is not None and BATCHES[batch].lengths else 0)


@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_threads_does_not_matter(form, reset_after):
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, BATCHES["zeros_among_lengths"], seed=1)
    first, *others = (problem.on_device(Device(choose=form, seed=seed)) for seed in (0, 1000, 2000, 3000))
    assert all(all_same(first, other) for other in others)


@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("form", PERSISTENT)
def test_neither_teams_nor_places_matter(form, reset_after):
    """Sequences keep their bits if others share their tile, another team walks them, or they are in another place."""
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, Batch((3,) * 19, directions=2))

    def elsewhere(sequences):
        return replace(sequences, order=np.random.default_rng(0).permutation(sequences.order))

    first = problem.on_device(Device(choose=form))
    for teams in {1, 3} - {form.teams}:
        assert all_same(first, problem.on_device(Device(choose=replace(form, teams=teams))))
    assert all_same(first, problem.on_device(Device(choose=form), elsewhere))


@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("form", PERSISTENT)
def test_a_sequence_alone_has_the_same_bits(form, reset_after):
    """Without an input, whose product is the library's."""
    form = FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, Batch((2, 7, 5, 7, 1), "ragged", dy=False))
    weights = layer.LayerWeights(Device(choose=form), form.precision, reset_after, problem.cells)

    def states(count, offsets, h0):
        sequences = Sequences.ragged(weights.device, np.array(offsets))
        x = np.zeros((offsets[-1], problem.batch.size), problem.x.dtype)
        return layer.forward(weights, x, sequences, h0=h0, keep=False)[:2]

    y, h_n = states(5, [0, 2, 9, 14, 21, 22], problem.h0)
    alone, last = states(1, [0, 5], np.ascontiguousarray(problem.h0[:, 2:3]))
    assert same(y[9:14], alone)
    assert same(h_n[:, 2:3], last)


RANDOM = 24


@pytest.mark.parametrize("seed", range(RANDOM))
def test_forms_of_the_plan_agree_with_the_core(seed):
    """Any form that the plan offers on small chips, both ways in different ones; any sizes."""
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
        walks = [walk for walk in plans.launch_shapes(chip, cell, count, directions) if few_threads(walk)]
        return rng.choice([walk for walk in walks if walk.exchange is wanted] or walks or [Steps(cell)])

    def few_threads(walk):
        return walk.teams * walk.blocks * walk.threads <= 6000

    problem = Problem(precision, rng.random() < 0.5, hidden, batch, seed=seed)
    chosen = {}  # one form for each direction, asked for more than once
    device = Device(choose=lambda *sizes: chosen.setdefault(sizes, choose(*sizes)), seed=seed)
    problem.check(problem.on_device(device))
    assert {True, False} == {cell.backward for _, cell, _, _ in chosen}


@pytest.mark.parametrize("precision", Precision, ids=lambda precision: precision.name.lower())
def test_the_plan_of_this_chip_agrees_with_the_core(precision):
    problem = Problem(precision, bool(precision % 2), 24, Batch((6, 0, 3), "padded", 6, directions=2))
    problem.check(problem.on_device(Device()))


# -- what these tests would see ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "wrong", "form"),
    [
        pytest.param(r"\(phase & 1\)\) \* BATCH", "0) * BATCH", "grid_float32", id="one_buffer_of_a_grid"),
        pytest.param(r"\(phase & 1\)\) \* BLOCKS", "0) * BLOCKS", "packets_float64", id="one_buffer_of_packets"),
        pytest.param(r"place % 2 \* 8", "place / 2 * 8", "block_tf32", id="another_fragment"),
        pytest.param(r"(wait\(\) const {\n.*\n).*;", r"\1", "block_float32", id="no_barrier"),
    ],
)
def test_errors_in_the_kernels_show(correct, wrong, form):
    broken, places = re.subn(correct, wrong, source())
    assert places == 1, "the kernels have changed: break them elsewhere"
    problem = Problem(FORMS[form].precision, True, FORMS[form].hidden, BATCHES["very_different"])
    failed = 0
    for seed in range(3):
        try:
            problem.check(problem.on_device(Device(choose=FORMS[form], seed=1000 * seed, kernels=broken)))
        except (AssertionError, cuda_emulator.EmulatorError):
            failed += 1
    assert failed
