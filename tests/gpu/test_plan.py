"""The plan for any chip and sizes: all launch shapes fit the chip, and the choice is sensible."""

import itertools
import math
import re
from dataclasses import replace

import pytest

from kernel_cases import slow
from rgru._cuda import layer
from rgru._cuda import plan as plans
from rgru._cuda.cell_options import CellOptions
from rgru._cuda.cost_model import cost_of_persistent
from rgru._cuda.kernel_config import CellSpec, Chip, Exchange, LaunchShape, Precision, Steps
from rgru._cuda.kernels import source
from rgru._cuda.plan import plan

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
# Parts of a shared chip, a small laptop, hardly any memory, and none.
TINY = [
    Chip(90, 1, 227 * KIB),
    Chip(100, 14, 227 * KIB, ((2, 7), (4, 3), (8, 0), (16, 0))),
    Chip(75, 14, 64 * KIB),
    Chip(86, 3, 8 * KIB),
    Chip(80, 1, 0),
]
SIZES = [1, 2, 3, 5, 16, 17, 31, 64, 80, 96, 100, 129, 192, 256, 384, 500, 777, 1000, 1024, 1537, 2048, 3001, 5000]
COUNTS = [1, 2, 3, 8, 17, 33, 500]
CELLS = list(itertools.product([False, True], [False, True]))


def offered(chip, cell, count, directions):
    return list(plans.launch_shapes(chip, cell, count, directions))


def check(shape, chip, cell, count, directions):
    """Check what the kernels assume, and what the chip and the batch allow."""
    precision = shape.cell.precision
    number = precision.number_bytes
    assert shape.cell == cell
    assert 0 < shape.shared_bytes <= chip.shared_bytes
    assert shape.blocks * shape.units == shape.width >= cell.hidden
    assert (shape.blocks - 1) * shape.units < cell.hidden, "no block without units"
    assert shape.threads % 32 == 0
    assert 32 <= shape.threads <= 512
    assert shape.slices >= 1
    if precision.matrix_units:
        assert shape.units % 16 == 0
        assert shape.width * number % 32 == 0
        assert shape.units // 16 * shape.slices * 32 == shape.threads, "a warp for each tile and slice"
        steps = shape.width * number // 32
    else:
        assert shape.units % shape.unit_tile == shape.batch % shape.batch_tile == 0
        tiles = shape.units // shape.unit_tile * (shape.batch // shape.batch_tile)
        assert shape.threads - 32 < tiles * shape.slices <= shape.threads, "no warp without work"
        steps = shape.width * number // 16
        assert shape.slices <= steps
    assert 0 <= shape.register_steps <= -(-steps // shape.slices)
    assert shape.units * number % 16 == 0, "whole vectors are exchanged"
    # The teams of a direction compute its parts of the batch; no team is idle, or left to the other direction.
    assert shape.teams % directions == 0
    assert directions <= shape.teams <= directions * -(-count // shape.batch)
    assert (shape.exchange is Exchange.BLOCK) == (shape.blocks == 1)
    if shape.exchange is Exchange.CLUSTER:
        assert chip.capability >= 90
        assert shape.blocks in (2, 4, 8, 16)[: 4 if chip.capability in (90, 100) else 3]
        assert dict(chip.clusters).get(shape.blocks) if chip.clusters else shape.blocks <= chip.multiprocessors
    if shape.exchange.through_memory:
        # All of them wait for each other: one without room would never arrive.
        assert shape.teams * shape.blocks <= chip.multiprocessors
    # Two buffers of each channel; packets hold 12 bytes of a sequence's numbers in 16.
    row = {
        Exchange.GRID: shape.units * number,
        Exchange.PACKETS: 16 * math.ceil(shape.units / (12 // number)),
    }.get(shape.exchange, 0)
    assert shape.published_bytes == shape.teams * shape.channels * 2 * shape.batch * shape.blocks * row


@pytest.mark.parametrize(
    "chip", slow([*CHIPS.values(), *TINY], TINY), ids=lambda chip: f"{chip.capability}-{chip.multiprocessors}"
)
def test_every_launch_shape_fits_the_chip(chip):
    for number, (precision, hidden) in enumerate(itertools.product(Precision, SIZES)):
        reset_after, backward = CELLS[number % 4]
        count, directions = COUNTS[number % len(COUNTS)], 1 + number // 2 % 2
        cell = CellSpec(precision, reset_after, hidden, backward)
        for shape in offered(chip, cell, count, directions):
            check(shape, chip, cell, count, directions)


@pytest.mark.parametrize(
    "chip", slow([*CHIPS.values(), *TINY], TINY), ids=lambda chip: f"{chip.capability}-{chip.multiprocessors}"
)
def test_a_configuration_is_chosen_for_any_sizes(chip):
    """Each chip and precision with each cell, pass and number of directions, but these in turn over the sizes."""
    for number, hidden in enumerate([*SIZES, *range(4, 700, 61)]):
        directions = 1 + number // 4 % 2
        for precision in (Precision.FLOAT32, Precision.FLOAT16, Precision.FLOAT64):
            for count in (0, 1, COUNTS[number % len(COUNTS)], 100_000):
                reset_after, backward = CELLS[(number + count) % 4]
                cell = CellSpec(precision, reset_after, hidden, backward)
                form = plan(chip, cell, count, directions)
                assert form.cell == cell
                assert all(int(value) >= 0 for value in form.macros.values())
                if isinstance(form, LaunchShape):
                    check(form, chip, cell, count, directions)


def test_no_sequences_need_no_team():
    for chip in CHIPS.values():
        for directions in (1, 2):
            cell = CellSpec(Precision.FLOAT32, False, 64, False)
            assert plan(chip, cell, 0, directions) == Steps(cell)


def test_layer_normalisation_is_computed_step_by_step():
    """Here the plain cell stays on the chip."""
    cell = CellSpec(Precision.FLOAT32, True, 64, False)
    assert isinstance(plan(CHIPS[90], cell, 1, 1), LaunchShape)
    cell = replace(cell, options=CellOptions(layer_norm=("sum", 1e-3)))
    assert plan(CHIPS[90], cell, 1, 1) == Steps(cell)


def test_the_plan_is_a_pure_function():
    for chip in CHIPS.values():
        cell = CellSpec(Precision.FLOAT16, True, 300, True)
        assert plan.__wrapped__(chip, cell, 20, 2) == plan(chip, cell, 20, 2)


def kind(form):
    """Return how far the units are spread: 0 one block, 1 several that wait for each other, 2 no room on the chip."""
    return 2 if isinstance(form, Steps) else int(form.exchange is not Exchange.BLOCK)


@pytest.mark.parametrize("capability", slow(CHIPS, [90]))
@pytest.mark.parametrize(
    "precision", slow([Precision.FLOAT32, Precision.FLOAT16, Precision.FLOAT64], [Precision.FLOAT16])
)
@pytest.mark.parametrize("count", slow([1, 16, 64, 256], [16]))
def test_more_units_are_spread_further(capability, precision, count):
    """Each chip and precision with both cells in each pass, but these in turn over the counts."""
    for backward in (False, True):
        reset_after = (count == 16) == backward
        kinds = [
            kind(plan(CHIPS[capability], CellSpec(precision, reset_after, hidden, backward), count, 1))
            for hidden in (4, 16, 32, 48, 64, 80, 96, 112, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 5000)
        ]
        assert kinds == sorted(kinds)
        assert kinds[0] == 0


@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: f"{chip.capability}")
def test_the_kind_of_configuration(chip):
    def chosen(hidden, count, precision=Precision.FLOAT32, backward=False):
        return plan(chip, CellSpec(precision, True, hidden, backward), count, 1)

    memory = {Exchange.GRID, Exchange.PACKETS}
    # The six buffers of a cluster in the backward pass leave no room for the weights in 99 KiB.
    together = {Exchange.CLUSTER} if chip.capability >= 90 else memory
    together_back = together if chip.shared_bytes > 99 * KIB else together | memory
    for backward in (False, True):
        assert chosen(32, 1, backward=backward).exchange is Exchange.BLOCK
        assert chosen(32, 200, backward=backward).exchange is Exchange.BLOCK
        assert chosen(128, 1, backward=backward).exchange in {Exchange.BLOCK} | together | memory
        assert chosen(256, 16, Precision.FLOAT16, backward).exchange in (together_back if backward else together)
        assert chosen(640 if chip.shared_bytes > 64 * KIB else 256, 1, backward=backward).exchange in memory
        assert isinstance(chosen(5000, 1, backward=backward), Steps)  # 300 MB of weights
        assert isinstance(chosen(1024, 65536, backward=backward), Steps)
        assert isinstance(chosen(1024, 65536, Precision.FLOAT16, backward), Steps)


def test_clusters_only_where_the_hardware_has_them():
    for capability in (75, 80, 86, 89):
        cells = [CellSpec(Precision.FLOAT32, False, hidden, False) for hidden in (16, 100, 256, 500)]
        shapes = [shape for cell in cells for shape in offered(CHIPS[capability], cell, 8, 1)]
        assert {shape.exchange for shape in shapes} == {Exchange.BLOCK, Exchange.GRID, Exchange.PACKETS}


def test_clusters_that_wait_for_room_take_longer():
    """16 clusters of 8 are two rounds where 15 run at once."""
    cell, roomy, short = (
        CellSpec(Precision.FLOAT32, True, 256, False),
        *(Chip(90, 132, 227 * KIB, ((2, 66), (4, 33), (8, eights), (16, 7))) for eights in (16, 15)),
    )
    shapes = [
        shape for shape in offered(short, cell, 16, 1) if shape.exchange is Exchange.CLUSTER and shape.blocks == 8
    ]
    alone = [shape for shape in shapes if shape.teams == 16]
    assert alone
    for shape in shapes:
        rounds = 2 if shape in alone else 1
        assert cost_of_persistent(short, shape, 16, 1) == rounds * cost_of_persistent(roomy, shape, 16, 1)
    assert plan(short, cell, 16, 1) not in alone


def test_fewer_multiprocessors_do_not_take_less_time():
    """With the same launch shape: teams beyond the room wait, on any chip."""
    cell = CellSpec(Precision.FLOAT32, False, 64, False)
    large, small = CHIPS[120], CHIPS[75]
    for shape in offered(small, cell, 300, 1):
        assert cost_of_persistent(small, shape, 300, 1) >= cost_of_persistent(large, shape, 300, 1)
    crowded = max(offered(small, cell, 300, 1), key=lambda shape: shape.teams * (shape.exchange is Exchange.BLOCK))
    assert crowded.teams > small.multiprocessors
    assert cost_of_persistent(small, crowded, 300, 1) > cost_of_persistent(large, crowded, 300, 1)


TF32 = (Precision.TF32, Precision.TF32X3)


@pytest.mark.parametrize("precision", TF32)
def test_before_capability_8_tf32_is_float32(precision):
    for hidden, count in ((64, 4), (5000, 4)):
        form = plan(CHIPS[75], CellSpec(precision, True, hidden, True), count, 1)
        assert form == plan(CHIPS[75], CellSpec(Precision.FLOAT32, True, hidden, True), count, 1)
    assert plan(CHIPS[80], CellSpec(precision, True, 1024, True), 16, 1).cell.precision is precision


@pytest.mark.parametrize("precision", TF32)
def test_float32_is_chosen_where_it_is_faster_than_tf32_would_be(precision):
    """tf32 is allowed, not asked for: of one sequence, matrix units would multiply eight columns."""
    assert plan(CHIPS[90], CellSpec(precision, True, 256, False), 1, 1).cell.precision is Precision.FLOAT32


@pytest.mark.parametrize("hidden", [64, 5000])
def test_before_capability_8_bfloat16_is_an_error(hidden):
    with pytest.raises(ValueError, match=r"bfloat16: expected a GPU of compute capability 8\.0 or newer, got 7\.5"):
        plan(CHIPS[75], CellSpec(Precision.BFLOAT16, False, hidden, False), 4, 1)
    assert plan(CHIPS[75], CellSpec(Precision.FLOAT16, False, 64, False), 4, 1).cell.precision is Precision.FLOAT16


def test_the_counters_of_teams_are_where_the_kernels_expect_them():
    [pitch] = re.findall(r"constexpr int ARRIVALS_PITCH = (\d+);", source())
    assert int(pitch) == layer._ARRIVALS_PITCH
