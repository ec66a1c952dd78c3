"""The cells of `custom_cells.py` in the emulator, against the core."""

from dataclasses import replace

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)
pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")

from custom_cells import CELLS, NORMALISED, SMOOTH
from kernel_cases import BATCHES, FORMS, Batch, Device, Problem, all_same, slow
from rgru._cuda.cell_options import PLAIN, Activation, CellOptions
from rgru._cuda.kernel_config import CellSpec, Precision

DEFAULT = {
    ("steps_float64", "hard_sigmoid, relu, clip", False),
    ("packets_float64", "elu, state clip", True),
    ("block_float32", "elu, clip", False),
    ("cluster_bfloat16", "softsign", True),
    ("grid_float32", "zoneout", True),
    ("packets_bfloat16", "zoneout", False),
    ("steps_float64", "zoneout, hard gates, clips", False),
    ("grid_float32", "recurrent dropout", False),
    ("cluster_bfloat16", "recurrent dropout", True),
    ("steps_float64", "recurrent dropout, zoneout, clips", False),
    ("steps_float64", "recurrent dropout, zoneout, clips", True),
}
BATCH = Batch((5, 0, 1, 4, 0, 2, 5, 3, 1, 5), "padded", 6)
LOW = (Precision.TF32, Precision.FLOAT16, Precision.BFLOAT16)


def cases():
    """Return all forms, both cells and all functions, few of them by default."""
    for form in FORMS:
        for options in SMOOTH if FORMS[form].precision in LOW else CELLS:
            for reset_after in (False, True):
                marks = () if (form, options, reset_after) in DEFAULT else pytest.mark.slow
                name = f"{form}-{options.replace(', ', '_')}-reset_{'after' if reset_after else 'before'}"
                yield pytest.param(form, options, reset_after, id=name, marks=marks)


@pytest.mark.parametrize(("form", "options", "reset_after"), list(cases()))
def test_custom_cells_agree_with_the_core(form, options, reset_after):
    form, options = FORMS[form], CELLS[options]
    directions = 1 if "reverse" in options else 2
    batch = Batch(BATCH.lengths, BATCH.layout, BATCH.steps, directions=directions, h0=not options.get("learned_h0"))
    problem = Problem(form.precision, reset_after, form.hidden, batch, seed=3, **options)
    problem.check(problem.on_device(Device(choose=form)))


@pytest.mark.parametrize("batch", slow(BATCHES, ["zeros_among_lengths"]))
@pytest.mark.parametrize("options", slow(NORMALISED, ["separate, masks", "sum"]))
@pytest.mark.parametrize("form", slow(["steps_float64", "steps_bfloat16"], ["steps_float64"]))
def test_normalised_cells_agree_with_the_core(form, options, batch):
    form, options, batch = FORMS[form], NORMALISED[options], BATCHES[batch]
    if options.get("reverse"):
        batch = replace(batch, directions=1)
    if options.get("learned_h0"):
        batch = replace(batch, h0=False)
    if form.precision in LOW:
        if "clip" in options:
            pytest.skip("it has corners, where the derivative jumps")
        batch = replace(batch, size=3)  # W x of one small feature would be scaled up, and its rounding with it
    problem = Problem(form.precision, True, form.hidden, batch, seed=4, **options)
    problem.check(problem.on_device(Device(choose=form)))


def test_the_order_of_the_threads_does_not_matter_to_a_normalised_cell():
    form = FORMS["steps_float64"]
    problem = Problem(form.precision, True, form.hidden, Batch((3, 1), "ragged"), layer_norm="separate")
    first, second = (problem.on_device(Device(choose=form, seed=seed)) for seed in (0, 1000))
    assert all_same(first, second)


def test_given_states_leave_the_learned_ones_without_gradient():
    form = FORMS["steps_float64"]
    problem = Problem(form.precision, False, form.hidden, BATCH, learned_h0=True, **CELLS["hard_sigmoid, relu, clip"])
    found = problem.on_device(Device(choose=form))
    problem.check(found)
    assert not found["0.h0"].any()


def test_a_closed_gate_at_the_clip_lets_the_gradient_pass_in_low_precision():
    """The clip is no number of the type: states are rounded to beyond it, but a state that is kept is not clipped."""
    form, options = FORMS["steps_bfloat16"], {"gate_activation": ("hard_sigmoid", 1.0, -9.0), "state_clip": 0.3}
    problem = Problem(form.precision, False, form.hidden, Batch((1,) * 3), **options)
    problem.h0[...] = 0.30078125  # 0.3, rounded
    found = problem.on_device(Device(choose=form))
    np.testing.assert_array_equal(found["y"].astype(np.float32).reshape(3, -1), problem.h0[0].astype(np.float32))
    whole = problem.dy.reshape(3, -1).astype(np.float32) + problem.dh_n[0].astype(np.float32)
    np.testing.assert_allclose(found["dh0"][0].astype(np.float32), whole, atol=0.02)


def test_nan_stays_nan():
    form = FORMS["steps_float64"]
    problem = Problem(form.precision, False, form.hidden, Batch((2,)), **CELLS["hard_sigmoid, relu, clip"])
    problem.x[...] = np.nan
    assert np.isnan(problem.on_device(Device(choose=form))["y"]).all()


def test_the_plain_cell_has_no_other_macros():
    names = {"PRECISION", "MATRIX_UNITS", "RESET_AFTER", "H"}
    assert set(CellSpec(Precision.FLOAT32, True, 8, False).macros) == names
    assert set(CellSpec(Precision.FLOAT32, True, 8, False, CellOptions(reverse=True)).macros) == {*names, "REVERSE"}
    assert set(CellSpec(Precision.FLOAT32, True, 8, False, CellOptions(zoneout=0.5)).macros) == {*names, "ZONEOUT"}
    assert set(CellSpec(Precision.FLOAT32, True, 8, False, masked=True).macros) == {*names, "RECURRENT_MASK"}


def test_the_numbers_of_macros_are_of_the_type_of_sums():
    """A constant beyond the type's largest number does not compile."""
    options = CellOptions(activation=("elu", 1e300), clip=1e200, state_clip=1e100)
    single, double = options.macros(4), options.macros(8)
    assert single["CANDIDATE_ALPHA"] < 3.5e38
    assert (single["CANDIDATE_BOUNDS"], double["CANDIDATE_BOUNDS"]) == (1, 3)
    assert "STATE_CLIP" not in single
    assert double["STATE_CLIP"] == 1e100


@pytest.mark.parametrize("kind", Activation, ids=lambda kind: kind.name.lower())
def test_every_function_has_a_cell_above(kind):
    used = [PLAIN.gate_activation, *(cell.get(name, "tanh") for cell in CELLS.values() for name in ("activation",))]
    assert kind.name.lower() in {one if isinstance(one, str) else one[0] for one in used}
