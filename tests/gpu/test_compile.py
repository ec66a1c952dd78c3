"""NVRTC compiles every kind of variant for every kind of chip, without a GPU, within the chip's resources.

`python tests/gpu/test_compile.py` compiles all variants for the sizes below, some 2,500, and all custom cells, in about
10 minutes. It needs `tests/support`, `tests/gpu/support` and `cuda_emulator/src` on PYTHONPATH.
"""

import functools
import itertools
import re
from dataclasses import replace
from typing import NamedTuple

import pytest

from cuda_emulator import nvrtc
from cuda_emulator.nvrtc import machine_code
from kernel_cases import slow
from rgru._cuda.cell_options import CellOptions
from rgru._cuda.kernel_config import CellSpec, Chip, Common, Exchange, LaunchShape, Precision, Steps
from rgru._cuda.kernels import source
from rgru._cuda.plan import plan

if nvrtc.missing():
    pytest.skip(nvrtc.missing(), allow_module_level=True)

KIB = 1024
# By example: T4, A100, A10, L40, H200, B200, RTX 5090.
CHIPS = {
    75: Chip(75, 40, 64 * KIB),
    80: Chip(80, 108, 163 * KIB),
    86: Chip(86, 72, 99 * KIB),
    89: Chip(89, 142, 99 * KIB),
    90: Chip(90, 132, 227 * KIB),
    100: Chip(100, 148, 227 * KIB),
    120: Chip(120, 170, 99 * KIB),
}
SIZES = [64, 128, 256, 512, 1024, 1536, 2048]
COUNTS = [1, 4, 16, 32, 64, 256, 1024]
SINCE_AMPERE = (Precision.TF32, Precision.TF32X3, Precision.BFLOAT16)  # capability 8.0
REGISTERS = 65536  # of a multiprocessor
SOURCE = source()
STEP_THREADS = 256  # of the kernels that have no number of threads of their own


class Usage(NamedTuple):
    """The resources of a kernel, as the assembler reports them."""

    stack: int
    stores: int
    loads: int
    registers: int
    shared: int


def usages(log):
    """Parse the assembler's log; return the usage of each kernel."""
    found = {}
    for name, text in re.findall(
        r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry function|$)", log, re.DOTALL
    ):
        stack, stores, loads = (
            int(re.search(rf"(\d+) bytes {what}", text)[1]) for what in ("stack frame", "spill stores", "spill loads")
        )
        static = re.search(r"(\d+) bytes smem", text)
        registers = int(re.search(r"Used (\d+) registers", text)[1])
        found[name] = Usage(stack, stores, loads, registers, int(static[1]) if static else 0)
    return found


def kernels(form):
    """Return the names of the kernels of a variant."""
    if isinstance(form, LaunchShape):
        return {"pack", "recurrence_backward" if form.cell.backward else "recurrence_forward"}
    macros = {"STEPS", "COMMON", "LAYER_NORM"} & form.macros.keys()
    parts = [
        part for one in macros for part in re.findall(rf"#ifdef {one}\n(.*?)#endif  // {one}\n", SOURCE, re.DOTALL)
    ]
    return {*re.findall(r"__global__ void (\w+)\(", "".join(parts))}


def wrong(form, chip):
    """Return what is wrong with a variant, or None."""
    done, log = machine_code(SOURCE, form.macros, chip.capability)
    if not done or "warning" in log:
        return log
    found = usages(log)
    if set(found) != kernels(form):
        return f"kernels {sorted(found)}, expected {sorted(kernels(form))}"
    for name, usage in found.items():
        persistent = isinstance(form, LaunchShape) and name.startswith("recurrence")
        threads = form.threads if persistent else STEP_THREADS
        dynamic = form.shared_bytes if persistent else 0
        warps = -(-usage.registers // 8) * 8 * threads  # allocated by eights
        if usage.stack or usage.stores or usage.loads or usage.registers > 255 or warps > REGISTERS:
            return f"{name}: {usage}, {threads} threads"
        if dynamic + usage.shared > chip.shared_bytes:
            return f"{name}: {dynamic} + {usage.shared} bytes of shared memory"
    return None


@functools.cache
def variants(chip, precision):
    """Return all that the plan chooses for these sizes, by kind: the cell, the pass and the exchange."""
    kinds = {}
    for reset_after, backward, hidden, count in itertools.product((False, True), (False, True), SIZES, COUNTS):
        form = plan(chip, CellSpec(precision, reset_after, hidden, backward), count, 1)
        kind = (reset_after, backward, None if isinstance(form, Steps) else form.exchange)
        kinds.setdefault(kind, {})[tuple(form.macros.items())] = form
    return {kind: list(forms.values()) for kind, forms in kinds.items()}


def weight(form):
    """Estimate the registers of a thread, relative to its maximum."""
    if isinstance(form, Steps):
        return 0
    states = -(-form.units * form.batch // form.threads)
    sums = 3 * form.batch // 2 if form.cell.precision.matrix_units else 3 * form.unit_tile * form.batch_tile
    return (25 * states + 12 * form.register_steps + sums) * max(256, form.threads)


def chosen(chip, precision, reset_after, backward):
    """Return the variant of each exchange that needs most registers."""
    found = variants(chip, precision).items()
    return [max(forms, key=weight) for kind, forms in found if kind[:2] == (reset_after, backward)]


def name(form):
    shape = f" {form.exchange.name}: {form}" if isinstance(form, LaunchShape) else ""
    return f"{form.cell}{shape}"


def cells_in_turn(values, default=None):
    """Return values, precisions and passes in all combinations, with one of the two cells in turn, as parameters.

    Each value, each precision and each pass has both cells, but not each combination of the three: run as a script,
    this file compiles these too. All but the default value's float16 forward pass are slow.
    """
    return [
        pytest.param(
            *(value, precision, backward, reset_after := (i + j + backward) % 2 == 0),
            id=f"reset_{'after' if reset_after else 'before'}-{'backward' if backward else 'forward'}-"
            f"{value if isinstance(value, str) else f'sm_{value.capability}'}-{precision.name.lower()}",
            marks=() if (value, precision, backward) == (default, Precision.FLOAT16, False) else pytest.mark.slow,
        )
        for i, value in enumerate(values)
        for j, precision in enumerate(Precision)
        for backward in (False, True)
    ]


@pytest.mark.parametrize(
    ("chip", "precision", "backward", "reset_after"), cells_in_turn(CHIPS.values(), default=CHIPS[90])
)
def test_each_kind_of_variant_fits_the_chip(chip, precision, *, reset_after, backward):
    if chip.capability < 80 and precision in SINCE_AMPERE:
        pytest.skip("not on this chip: see test_plan.py")
    found = {name(form): wrong(form, chip) for form in chosen(chip, precision, reset_after, backward)}
    assert len(found) >= 2, "at least two exchanges"
    assert not {form: what for form, what in found.items() if what}


CUSTOM = {
    "hard": CellOptions(("hard_sigmoid", 0.2, 0.5), "relu", clip=1.5, state_clip=0.7),
    "elu": CellOptions("sigmoid", ("elu", 0.7), clip=2.0, state_clip=0.4, reverse=True),
    "zoneout": CellOptions(zoneout=0.3),
    "masked": CellOptions(),
}


def custom(cell, options):
    """Return a cell with other options; "masked" is the plain one with recurrent dropout."""
    return replace(cell, options=CUSTOM[options], masked=options == "masked")


@pytest.mark.parametrize("options", CUSTOM)
def test_custom_cells_compile(options):
    for backward in (False, True):
        assert not wrong(Steps(custom(CellSpec(Precision.FLOAT16, True, 64, backward), options)), CHIPS[90])


@pytest.mark.parametrize("chip", slow(CHIPS.values(), [CHIPS[90]]), ids=lambda chip: f"sm_{chip.capability}")
@pytest.mark.parametrize("precision", slow(Precision, [Precision.FLOAT16]), ids=lambda one: one.name.lower())
def test_layer_normalisation_fits_the_chip(chip, precision):
    if chip.capability < 80 and precision in SINCE_AMPERE:
        pytest.skip("not on this chip: see test_plan.py")
    cell = CellSpec(precision, True, 1024, True, CellOptions(layer_norm=("sum", 1e-3)))
    assert not wrong(plan(chip, cell, 1, 1), chip)


@pytest.mark.parametrize(("options", "precision", "backward", "reset_after"), cells_in_turn(CUSTOM))
def test_custom_cells_fit_where_the_plain_one_does(options, precision, backward, reset_after):
    forms = chosen(CHIPS[90], precision, reset_after, backward)
    forms = [replace(form, cell=custom(form.cell, options)) for form in forms]
    found = {name(form): wrong(form, CHIPS[90]) for form in forms}
    assert not {form: what for form, what in found.items() if what}


@pytest.mark.parametrize("chip", slow(CHIPS.values(), [CHIPS[90]]), ids=lambda chip: f"sm_{chip.capability}")
def test_kernels_that_depend_on_no_layer_fit_the_chip(chip):
    for precision in Precision:
        if chip.capability >= 80 or precision not in SINCE_AMPERE:
            assert not wrong(Common(precision), chip)


def test_the_source_includes_nothing():
    """A header would have to be found on the user's machine, and CuPy's cache would not notice its changes."""
    assert not re.search(r"^\s*#\s*include", SOURCE, re.MULTILINE)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT16])
def test_the_kernels_compute_the_same_shared_memory_as_the_plan(precision):
    form = plan(CHIPS[90], CellSpec(precision, True, 256, False), 16, 1)
    assert isinstance(form, LaunchShape)
    for more in (-16, 16):
        done, log = machine_code(SOURCE, form.macros | {"SHARED_BYTES": form.shared_bytes + more}, 90)
        assert not done
        assert "the host computes another size" in log


def test_too_many_states_of_a_thread_would_show():
    """The limits above can be broken: this form, which the plan avoids, has no room for its 16 states."""
    cell = CellSpec(Precision.FLOAT16, True, 64, False)
    form = LaunchShape(cell, Exchange.BLOCK, 1, 1, 64, 32, 128, 1)
    assert "recurrence_forward: Usage(stack=" in wrong(form, CHIPS[90])


if __name__ == "__main__":
    for chip, precision in itertools.product(CHIPS.values(), Precision):
        if chip.capability >= 80 or precision not in SINCE_AMPERE:
            forms = list(itertools.chain(*variants(chip, precision).values()))
            bad = [f"{name(form)}: {what}" for form in forms if (what := wrong(form, chip))]
            print(f"sm_{chip.capability} {precision.name}: {len(forms)} variants, {len(bad)} wrong", *bad, sep="\n  ")
    for case in itertools.product(CUSTOM, Precision, (False, True), (False, True)):
        test_custom_cells_fit_where_the_plain_one_does(*case)
