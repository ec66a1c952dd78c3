"""The plan of the GPU path: what it offers fits the chip, and what it chooses makes sense, for any chip and sizes."""

import itertools
import math
import re

import pytest

from rgru.gpu import layer
from rgru.gpu import plan as plans
from rgru.gpu.costs import cost_of_persistent
from rgru.gpu.forms import CellSpec, Chip, Exchange, LaunchShape, Precision, Steps
from rgru.gpu.kernels import source
from rgru.gpu.plan import plan

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


def check(walk, chip, cell, count, directions):
    """What kernels.cu takes for granted, and what the chip and the batch allow."""
    precision = walk.cell.precision
    number = precision.number_bytes
    assert walk.cell == cell
    assert 0 < walk.shared_bytes <= chip.shared_bytes
    assert walk.blocks * walk.units == walk.width >= cell.hidden
    assert (walk.blocks - 1) * walk.units < cell.hidden, "no block without units"
    assert walk.threads % 32 == 0
    assert 32 <= walk.threads <= 512
    assert walk.slices >= 1
    if precision.matrix_units:
        assert walk.units % 16 == 0
        assert walk.batch % 8 == 0
        assert walk.width * number % 32 == 0
        assert walk.units // 16 * walk.slices * 32 == walk.threads, "a warp for each tile and slice"
        steps = walk.width * number // 32
    else:
        assert walk.units % walk.unit_tile == walk.batch % walk.batch_tile == 0
        tiles = walk.units // walk.unit_tile * (walk.batch // walk.batch_tile)
        assert walk.threads - 32 < tiles * walk.slices <= walk.threads, "no warp without work"
        steps = walk.width * number // 16
        assert walk.slices <= steps
    assert 0 <= walk.register_steps <= -(-steps // walk.slices)
    assert walk.units * number % 16 == 0, "whole vectors are exchanged"
    # The teams of a direction walk its tiles; none stands idle, none is left to the other direction.
    assert walk.teams % directions == 0
    assert directions <= walk.teams <= directions * -(-count // walk.batch)
    assert (walk.exchange is Exchange.BLOCK) == (walk.blocks == 1)
    if walk.exchange is Exchange.CLUSTER:
        assert chip.capability >= 90
        assert walk.blocks in (2, 4, 8, 16)[: 4 if chip.capability in (90, 100) else 3]
        assert dict(chip.clusters).get(walk.blocks) if chip.clusters else walk.blocks <= chip.multiprocessors
    if walk.exchange.through_memory:
        # All of them wait for each other: one that finds no room would never come.
        assert walk.teams * walk.blocks <= chip.multiprocessors
    # Two buffers of each channel; packets hold 12 bytes of a sequence's numbers in 16.
    row = {
        Exchange.GRID: walk.units * number,
        Exchange.PACKETS: 16 * math.ceil(walk.units / (12 // number)),
    }.get(walk.exchange, 0)
    assert walk.published_bytes == walk.teams * walk.channels * 2 * walk.batch * walk.blocks * row


@pytest.mark.parametrize("chip", [*CHIPS.values(), *TINY], ids=lambda chip: f"{chip.capability}-{chip.multiprocessors}")
def test_every_walk_that_is_offered_fits_the_chip(chip):
    for number, (precision, hidden) in enumerate(itertools.product(Precision, SIZES)):
        reset_after, backward = CELLS[number % 4]
        count, directions = COUNTS[number % len(COUNTS)], 1 + number // 2 % 2
        cell = CellSpec(precision, reset_after, hidden, backward)
        for walk in offered(chip, cell, count, directions):
            check(walk, chip, cell, count, directions)


@pytest.mark.parametrize("chip", [*CHIPS.values(), *TINY], ids=lambda chip: f"{chip.capability}-{chip.multiprocessors}")
@pytest.mark.parametrize("directions", [1, 2])
def test_a_form_is_chosen_for_any_sizes(chip, directions):
    for number, hidden in enumerate([*SIZES, *range(4, 700, 61)]):
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


def test_the_plan_is_a_pure_function():
    for chip in CHIPS.values():
        cell = CellSpec(Precision.FLOAT16, True, 300, True)
        assert plan.__wrapped__(chip, cell, 20, 2) == plan(chip, cell, 20, 2)


def kind(form):
    """How far the units are spread: one block, several that wait for each other, or no room on the chip."""
    return 2 if isinstance(form, Steps) else int(form.exchange is not Exchange.BLOCK)


@pytest.mark.parametrize("capability", CHIPS)
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT16, Precision.FLOAT64])
@pytest.mark.parametrize("count", [1, 16, 64, 256])
def test_more_units_are_spread_further(capability, precision, count):
    for reset_after, backward in CELLS:
        kinds = [
            kind(plan(CHIPS[capability], CellSpec(precision, reset_after, hidden, backward), count, 1))
            for hidden in (4, 16, 32, 48, 64, 80, 96, 112, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 5000)
        ]
        assert kinds == sorted(kinds)
        assert kinds[0] == 0


@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: f"{chip.capability}")
def test_who_walks_what(chip):
    def chosen(hidden, count, precision=Precision.FLOAT32, backward=False):
        return plan(chip, CellSpec(precision, True, hidden, backward), count, 1)

    memory = {Exchange.GRID, Exchange.PACKETS}
    # The six buffers of a cluster on the way back crowd the weights out of 99 KiB.
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
        walks = [walk for cell in cells for walk in offered(CHIPS[capability], cell, 8, 1)]
        assert {walk.exchange for walk in walks} == {Exchange.BLOCK, Exchange.GRID, Exchange.PACKETS}


def test_clusters_that_wait_for_room_take_their_time():
    """16 clusters of 8 are two rounds where 15 run at once."""
    cell, roomy, short = (
        CellSpec(Precision.FLOAT32, True, 256, False),
        *(Chip(90, 132, 227 * KIB, ((2, 66), (4, 33), (8, eights), (16, 7))) for eights in (16, 15)),
    )
    walks = [walk for walk in offered(short, cell, 16, 1) if walk.exchange is Exchange.CLUSTER and walk.blocks == 8]
    alone = [walk for walk in walks if walk.teams == 16]
    assert alone
    for walk in walks:
        rounds = 2 if walk in alone else 1
        assert cost_of_persistent(short, walk, 16, 1) == rounds * cost_of_persistent(roomy, walk, 16, 1)
    assert plan(short, cell, 16, 1) not in alone


def test_fewer_multiprocessors_take_no_less_time():
    """Of the same form: teams beyond the room wait, whatever the chip."""
    cell = CellSpec(Precision.FLOAT32, False, 64, False)
    large, small = CHIPS[120], CHIPS[75]
    for walk in offered(small, cell, 300, 1):
        assert cost_of_persistent(small, walk, 300, 1) >= cost_of_persistent(large, walk, 300, 1)
    crowded = max(offered(small, cell, 300, 1), key=lambda walk: walk.teams * (walk.exchange is Exchange.BLOCK))
    assert crowded.teams > small.multiprocessors
    assert cost_of_persistent(small, crowded, 300, 1) > cost_of_persistent(large, crowded, 300, 1)


def test_before_capability_8_tf32_is_float32():
    for hidden, count in ((64, 4), (5000, 4)):
        form = plan(CHIPS[75], CellSpec(Precision.TF32, True, hidden, True), count, 1)
        assert form == plan(CHIPS[75], CellSpec(Precision.FLOAT32, True, hidden, True), count, 1)
    assert plan(CHIPS[80], CellSpec(Precision.TF32, True, 64, True), 4, 1).cell.precision is Precision.TF32


@pytest.mark.parametrize("hidden", [64, 5000])
def test_before_capability_8_bfloat16_is_refused(hidden):
    with pytest.raises(ValueError, match=r"bfloat16: expected a GPU of compute capability 8\.0 or newer, got 7\.5"):
        plan(CHIPS[75], CellSpec(Precision.BFLOAT16, False, hidden, False), 4, 1)
    assert plan(CHIPS[75], CellSpec(Precision.FLOAT16, False, 64, False), 4, 1).cell.precision is Precision.FLOAT16


def test_the_counters_of_teams_lie_where_the_kernels_look_for_them():
    [pitch] = re.findall(r"constexpr int ARRIVALS_PITCH = (\d+);", source())
    assert int(pitch) == layer._ARRIVALS_PITCH
