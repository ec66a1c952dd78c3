"""What the loop over time steps has become in the machine code, without a GPU: fences, loads in flight, stores.

A count is of instructions, not of how often they run.
"""

import itertools
from dataclasses import replace
from typing import NamedTuple

import pytest

import sass
from rgru._cuda.cost_model import cost_of_persistent
from rgru._cuda.kernel_config import CellSpec, Chip, Exchange, LaunchShape, Precision
from rgru._cuda.kernels import source
from rgru._cuda.plan import launch_shapes

if sass.missing():
    pytest.skip(sass.missing(), allow_module_level=True)

HOPPER = Chip(90, 132, 232448)
HIDDEN = {Exchange.BLOCK: 64, Exchange.CLUSTER: 256, Exchange.GRID: 1024, Exchange.PACKETS: 1024}
FENCES = ("MEMBAR", "ERRBAR", "CCTL")
SPILLS = ("LDL", "STL")

# -- the helper --------------------------------------------------------------------------------------------------------

NESTED = r"""
extern "C" __global__ void nested(const uint4* from, float* to, int parts, int steps) {
    __shared__ float sums[64];
    for (int part = 0; part < parts; part++) {
        float sum = 0;
        unsigned next = part;
#pragma unroll 1
        for (int t = 0; t < steps; t++) {
            uint4 loaded[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const uint4* place = from + (TOGETHER ? t * 4 + i : next);
                asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                    : "=r"(loaded[i].x), "=r"(loaded[i].y), "=r"(loaded[i].z), "=r"(loaded[i].w) : "l"(place));
                next = loaded[i].x;
            }
            __syncthreads();
            for (uint4 one : loaded) sum += float(one.x) * float(one.y) + float(one.z) * float(one.w);
            sums[threadIdx.x] = sum;
            __syncthreads();
            to[t] = sum + sums[next % 64];
        }
        __threadfence();
        to[part] = 2 * to[part + 1];
    }
}
"""


@pytest.mark.parametrize(("together", "batches"), [(1, [4]), (0, [1, 1, 1, 1])])
def test_the_loop_and_its_loads_are_found(together, batches):
    loop = sass.step_loop(NESTED, {"TOGETHER": together}, "nested")
    assert loop.in_flight(sass.VECTOR_LOAD) == batches
    assert loop.count("FFMA") >= 4
    assert loop.count("BAR") == 2
    assert loop.count("STG") == loop.after("BAR").count("STG") == 1
    assert loop.count(*FENCES) == 0  # that of the outer loop


# -- the kernels -------------------------------------------------------------------------------------------------------


class Variant(NamedTuple):
    """A kind of kernel, and the plan's choice among its launch shapes for 16 sequences."""

    exchange: Exchange
    backward: bool = False
    reset_after: bool = True
    precision: Precision = Precision.FLOAT16

    @property
    def shape(self) -> LaunchShape:
        hidden = HIDDEN[self.exchange] // (2 if self.precision is Precision.FLOAT64 else 1)
        cell = CellSpec(self.precision, self.reset_after, hidden, self.backward)
        shapes = [one for one in launch_shapes(HOPPER, cell, 16, 1) if one.exchange is self.exchange]
        return min(shapes, key=lambda one: cost_of_persistent(HOPPER, one, 16, 1))

    @property
    def outputs(self):
        """How many numbers of a state a step stores."""
        return 5 if self.backward or self.reset_after else 4

    @property
    def fetches(self):
        """How many channels a step reads together from memory, one time after the other."""
        if not self.backward:
            return [1] * self.shape.channels
        if not self.shape.together:
            return [1, 1, 1]
        return [3] if self.reset_after else [2, 1]

    @property
    def loop(self) -> sass.Loop:
        name = "recurrence_backward" if self.backward else "recurrence_forward"
        return sass.step_loop(source(), self.shape.macros, name)


def outputs(loop):
    """Return how many stores of single numbers there are."""
    return loop.count("STG") - loop.count("STG.E.128")


def variants(exchange, *default):
    """Return all variants with an exchange as parameters of a test; all but two, of the default passes, are slow."""
    precisions = Precision.FLOAT16, Precision.FLOAT32, Precision.FLOAT64
    every = itertools.starmap(Variant, itertools.product([exchange], (False, True), (True, False), precisions))
    return pytest.mark.parametrize(
        "variant",
        [
            pytest.param(
                one,
                id=f"{'backward' if one.backward else 'forward'}-reset_{'after' if one.reset_after else 'before'}-"
                f"{one.precision.name.lower()}",
                marks=() if one in default else pytest.mark.slow,
            )
            for one in every
        ],
    )


@variants(Exchange.BLOCK, Variant(Exchange.BLOCK))
def test_a_step_in_one_block(variant):
    assert variant.loop.count(*FENCES, *SPILLS) == 0


@variants(Exchange.CLUSTER, Variant(Exchange.CLUSTER))
def test_a_step_through_a_cluster(variant):
    loop, sends = variant.loop, variant.shape.cell.exchanges
    assert loop.count(*FENCES, *SPILLS, "UCGABAR") == 0
    assert loop.count("SYNCS.ARRIVE") == sends
    assert loop.count("STAS.128") == loop.count("STAS") >= sends
    assert outputs(loop.after("STAS")) == outputs(loop), "no block waits for outputs of another one"


@pytest.mark.parametrize("precision", [Precision.FLOAT16, Precision.TF32X3], ids=lambda one: one.name.lower())
def test_fewer_sequences_than_columns_take_no_more_loads(precision):
    """All gates are multiplied by the same numbers, which a step of k loads once."""
    shape = Variant(Exchange.CLUSTER, precision=precision).shape
    full, part = (
        sass.step_loop(source(), replace(shape, batch=batch).macros, "recurrence_forward") for batch in (8, 4)
    )
    assert part.count("HMMA") == full.count("HMMA")
    assert part.count("LDS") <= full.count("LDS")


@variants(Exchange.GRID, Variant(Exchange.GRID), Variant(Exchange.GRID, backward=True))
def test_a_step_through_a_counter(variant):
    loop, shape = variant.loop, variant.shape
    sends = shape.cell.exchanges
    assert loop.count(*SPILLS) == 0
    assert loop.count("RED") == sends
    assert [loop.count(fence) for fence in ("MEMBAR.ALL.GPU", "ERRBAR", "CCTL.IVALL")] == [sends] * 3
    assert outputs(loop.after("RED")) == variant.outputs, "the release waits for what is stored before it"
    vectors = -(-shape.exchanged_bytes // 16 // shape.threads)  # that a thread reads of a channel
    for at_once, channels in zip(loop.in_flight(sass.VECTOR_LOAD), variant.fetches, strict=True):
        assert at_once >= min(8 // channels * channels, vectors * channels)


@variants(Exchange.PACKETS, Variant(Exchange.PACKETS), Variant(Exchange.PACKETS, backward=True))
def test_a_step_through_packets(variant):
    loop, shape = variant.loop, variant.shape
    assert loop.count(*FENCES, *SPILLS) == 0
    assert outputs(loop.after("STG.E.128.STRONG")) == variant.outputs, "packets go first"
    # A thread asks for its packets of all channels together, and again for those that had not arrived.
    packets = shape.exchanged_bytes // 16 // shape.blocks  # of a block
    each = -(-shape.blocks // (shape.threads // min(packets, shape.threads)))
    in_flight, asked = loop.in_flight(sass.VECTOR_LOAD), [n * min(8 // n, each) for n in variant.fetches]
    if variant.precision is Precision.FLOAT64:  # the compiler splits a batch of eight
        assert (sum(in_flight), min(in_flight) >= 4) == (sum(asked), True)
    else:
        assert in_flight == asked
