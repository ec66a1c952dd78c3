"""The kernels in the emulator, from the PTX that NVRTC compiles for a GPU, inline assembly included.

Besides the results, every access to memory must be aligned and within its array, and barriers must order all accesses
of different threads, in whatever order these run.
"""

import functools
import re

import pytest

import cuda_emulator
from cuda_emulator import nvrtc

if cuda_emulator.missing() or nvrtc.missing():
    pytest.skip(cuda_emulator.missing() or nvrtc.missing(), allow_module_level=True)
pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")

from custom_cells import CELLS, NORMALISED
from kernel_cases import BATCHES, FORMS, Batch, Device, Problem, slow, variants
from rgru._cuda.kernels import source

SOURCE = source()
CAPABILITIES = {"block_float16": 75, "grid_float32": 75, "packets_float32": 80, "cluster_tf32": 100, "block_tf32": 120}
"""Compute capabilities; 90 for all other forms."""


@functools.cache
def module(source, macros, capability):
    return cuda_emulator.compile_ptx(nvrtc.ptx(source, dict(macros), capability))


class PtxDevice(Device):
    """Runs PTX for a capability, of a source that may be changed."""

    def __init__(self, capability=90, source=SOURCE, **options):
        super().__init__(**options)
        self._capability, self._source = capability, source

    def module(self, form):
        return module(self._source, tuple(form.macros.items()), self._capability)


@pytest.mark.parametrize(("form", "reset_after"), variants(representatives={"cluster_tf32": False}))
def test_compiled_kernels_agree_with_the_core(form, reset_after):
    """Each form with both cells and both batches, but these in turn; `test_kernels.py` has all of them, without PTX."""
    batch = BATCHES[("zeros_among_lengths", "equal")[(list(FORMS).index(form) + reset_after) % 2]]
    capability, form = CAPABILITIES.get(form, 90), FORMS[form]
    problem = Problem(form.precision, reset_after, form.hidden, batch)
    problem.check(problem.on_device(PtxDevice(capability, choose=form)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "options", "reset_after"),
    [
        ("steps_float64", "hard_sigmoid, relu, clip", False),
        ("block_float32", "elu, clip", True),
        ("packets_float64", "elu, state clip", False),
        ("grid_float32", "both clips", True),
        ("cluster_bfloat16", "softsign", False),
        ("block_float16", "smooth elu", True),
        ("grid_float32", "zoneout", False),
        ("cluster_tf32", "zoneout", True),
        ("steps_float64", "zoneout, hard gates, clips", True),
        ("grid_float32", "recurrent dropout", True),
        ("cluster_tf32", "recurrent dropout", False),
        ("steps_float64", "recurrent dropout, zoneout, clips", False),
    ],
)
def test_compiled_custom_cells_agree_with_the_core(form, options, reset_after):
    """Each kind of option with both cells; `test_cells.py` has all of them with both, without PTX."""
    capability, form, options = CAPABILITIES.get(form, 90), FORMS[form], CELLS[options]
    problem = Problem(form.precision, reset_after, form.hidden, Batch((4,) * 19), **options)
    problem.check(problem.on_device(PtxDevice(capability, choose=form)))


@pytest.mark.parametrize("options", slow(["separate, masks", "sum"], ["sum"]))
@pytest.mark.parametrize("form", slow(["steps_float64", "steps_bfloat16"], ["steps_bfloat16"]))
def test_compiled_normalised_cells_agree_with_the_core(form, options):
    form, options = FORMS[form], NORMALISED[options]
    problem = Problem(form.precision, True, form.hidden, Batch((4, 2, 0), "padded", 5), **options)
    problem.check(problem.on_device(PtxDevice(choose=form)))


# -- faults that these tests notice -----------------------------------------------------------------------------------


def changed(correct, wrong):
    source, places = re.subn(correct, wrong, SOURCE)
    assert places == 1, "the kernels have changed: adapt the fault"
    return source


BROKEN = {
    "a block that may not have begun": (
        r"cluster_arrive\(\);  // no block writes to one that has not begun\n +cluster_wait\(\);",
        *("__syncthreads();", "cluster_float64", cuda_emulator.EmulatorError),
    ),
    "all write to one block": (
        r"to, %0, %2; mapa\.shared::cluster\.u32 counter, %1, %2;",
        *("to, %0, 0; mapa.shared::cluster.u32 counter, %1, 0;", "cluster_float64", cuda_emulator.EmulatorError),
    ),
    "the other phase of a barrier": (
        r"phase / 2 % 2",
        *("1 - phase / 2 % 2", "cluster_float64", cuda_emulator.EmulatorError),
    ),
    "fewer bytes than are sent": (
        r"VECTORS \* BLOCKS \* sizeof\(uint4\)",
        *(r"(VECTORS * BLOCKS - 1) * sizeof(uint4)", "cluster_float64", cuda_emulator.EmulatorError),
    ),
    "a wait that orders nothing": (
        r"fence\.acquire\.sync_restrict::shared::cluster\.cluster;",
        *("", "cluster_float64", cuda_emulator.RaceError),
    ),
    "a counter that orders nothing": (
        r"add_release\(arrivals, 1\)",
        *("*arrivals += 1", "grid_float32", cuda_emulator.RaceError),
    ),
    "only one thread has waited": (
        r"(while \(static_cast<int>\(load_acquire.*\n +}\n) +__syncthreads\(\);",
        *(r"\1", "grid_float32", cuda_emulator.RaceError),
    ),
    "no barrier in a block": (
        r"(wait\(int phase\) const {\n.*\n).*;",
        *(r"\1", "block_float32", cuda_emulator.RaceError),
    ),
    "vectors that are not aligned": (
        r"vector\(column \+ set \* DISTANCE \+ batch\(n\) \* PITCH",
        *(r"\g<0> + 1", "block_float32", cuda_emulator.EmulatorError),
    ),
    "sums of a row that overwrite each other": (
        r"__syncthreads\(\);  // before the next sum overwrites it",
        *("", "steps_float64", cuda_emulator.RaceError),
    ),
    "a step further": (
        r"y\[cells.one\(row\)\] = narrow",
        *("y[cells.one(row + 1)] = narrow", "one_unit", cuda_emulator.OutOfBoundsError),
    ),
}


def test_every_fault_has_its_place_in_the_kernels():
    for correct, wrong, *_ in BROKEN.values():
        changed(correct, wrong)


@pytest.mark.parametrize("broken", slow(BROKEN, ["a counter that orders nothing"]))
def test_faults_are_noticed_in_any_order(broken):
    correct, wrong, form, error = BROKEN[broken]
    form = FORMS[form]
    device = PtxDevice(source=changed(correct, wrong), choose=form)
    options = NORMALISED["sum"] if form.exchange is None else {}
    with pytest.raises(error):
        Problem(form.precision, True, form.hidden, BATCHES["equal"], **options).on_device(device)


@pytest.mark.slow
def test_faults_of_assembly_are_noticed():
    form = FORMS["block_tf32"]
    source = changed(r"(tf32\.tf32\.f32 \{%0, %1, %2, %3\}, \{)%4, %5,", r"\1%5, %4,")
    problem = Problem(form.precision, True, form.hidden, BATCHES["equal"])
    with pytest.raises(AssertionError):
        problem.check(problem.on_device(PtxDevice(source=source, choose=form)))
