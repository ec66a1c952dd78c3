"""Results on a GPU, compared with the CPU core and PyTorch: every precision, cell, launch shape and kind of batch."""

from __future__ import annotations

import numpy as np
import pytest

import rgru
from custom_cells import CELLS, SMOOTH
from gpu_runs import (
    BOUNDS,
    FORMS,
    PRECISIONS,
    Batch,
    agree,
    bits,
    close,
    compare,
    force,
    gpu,
    host,
    planned,
    precision,
    random_gru,
    run,
    shapes_of_kind,
)
from rgru import Ragged
from rgru._cuda.device import Device, open_device
from rgru._cuda.kernel_config import cluster_sizes
from rgru._cuda.sequences import Sequences
from rgru._cuda.stack import Weights

pytestmark = gpu

KINDS = [*PRECISIONS]
RESET_AFTER = [False, True]


# -- against the CPU core ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reset_after", RESET_AFTER)
@pytest.mark.parametrize(
    ("batch", "time", "inputs", "hidden"),
    [(1, 1, 1, 1), (3, 7, 5, 13), (1, 40, 16, 64), (17, 9, 33, 100), (40, 6, 8, 130)],
)
def test_the_cpu_core(cupy, *, kind, reset_after, batch, time, inputs, hidden):
    gru = random_gru(kind, inputs, hidden, reset_after=reset_after)
    compare(cupy, gru, Batch(gru, kind, batch, time))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reset_after", RESET_AFTER)
@pytest.mark.parametrize("where", ["host", "device", "int8 on the device", "uint64 on the device"])
def test_stacks_in_two_directions_of_sequences_with_lengths(cupy, kind, reset_after, where):
    """The padding of x and dy is NaN, which must not reach any result."""
    gru = random_gru(kind, 6, 40, 3, bidirectional=True, reset_after=reset_after)
    batch = Batch(gru, kind, 7, 11, lengths=[0, 11, 3, 1, 11, 6, 2])
    on_device = {"device": np.int64, "int8 on the device": np.int8, "uint64 on the device": np.uint64}
    lengths = cupy.asarray(batch.lengths.astype(on_device[where])) if where in on_device else batch.lengths
    compare(cupy, gru, batch, lengths=lengths)


def test_short_integers_on_the_device_are_compared_with_many_steps(cupy):
    """200 is not an int8."""
    gru = random_gru("float32", 3, 8)
    batch = Batch(gru, "float32", 3, 200, lengths=[127, 0, 5])
    compare(cupy, gru, batch, lengths=cupy.asarray(batch.lengths.astype(np.int8)))


@pytest.mark.parametrize("count", [3000, 100_000])
def test_lengths_are_sorted(cupy, count):
    """A kernel sorts few lengths, CuPy many."""
    device = open_device(0)
    lengths = np.random.default_rng(0).integers(0, 50, count)
    with device.current([]):
        order = Sequences.padded(device, count, 49, cupy.asarray(lengths)).order.get()
    np.testing.assert_array_equal(order, np.argsort(-lengths, kind="stable"))


def test_lengths_on_the_device_are_cut(cupy):
    gru = random_gru("float32", 3, 8)
    x = np.random.default_rng(0).standard_normal((3, 5, 3)).astype(np.float32)
    y, h_n = gru(cupy.asarray(x), lengths=cupy.asarray([-4, 99, 3]))
    expected_y, expected_h_n = gru(x, lengths=[0, 5, 3])
    close("y", y, expected_y, 1e-5)
    close("h_n", h_n, expected_h_n, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_ragged_batches(cupy, kind, bidirectional):
    gru = random_gru(kind, 5, 36, 2, bidirectional=bidirectional)
    lengths = np.array([4, 0, 9, 1, 3, 0, 7])
    batch = Batch(gru, kind, 1, int(lengths.sum()), states=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    random = np.random.default_rng(5)
    h0, dh_n = (
        random.standard_normal((2 * (1 + bidirectional), len(lengths), 36)).astype(batch.number).astype(gru.dtype)
        for _ in range(2)
    )
    expected = run(gru, Ragged(batch.x[0], offsets), h0, Ragged(batch.dy[0], offsets), dh_n)
    x, dy = batch.to(cupy, batch.x[0]), batch.to(cupy, batch.dy[0])
    with precision(kind):
        given = Ragged(x, offsets)
        y, _ = gru(given, batch.to(cupy, h0))
        got = run(gru, given, batch.to(cupy, h0), Ragged(dy, offsets), batch.to(cupy, dh_n))
    assert isinstance(y, Ragged)
    assert np.array_equal(y.offsets, offsets)
    assert isinstance(y.values, cupy.ndarray)
    agree(got, expected, kind)


@pytest.mark.parametrize("given", ["dy", "dh_n"])
@pytest.mark.parametrize("bias", [False, True])
def test_one_gradient_alone_and_no_biases(cupy, given, bias):
    gru = rgru.GRU(4, 24, 2, bidirectional=True, reset_after=True, bias=bias, seed=1)
    batch = Batch(gru, "float32", 5, 8)
    expected = gru.record(batch.x)[2].backward(**{given: getattr(batch, given)})
    got = gru.record(cupy.asarray(batch.x))[2].backward(**{given: cupy.asarray(getattr(batch, given))})
    close("x", got.x, expected.x, 1e-5)
    close("h0", got.h0, expected.h0, 1e-5)
    close("parameters", got.flat, expected.flat, 1e-5)


@pytest.mark.parametrize(("batch", "time"), [(0, 5), (3, 0), (0, 0)])
@pytest.mark.parametrize("lengths", [False, True])
def test_empty_batches(cupy, batch, time, lengths):
    gru = random_gru("float32", 4, 8, 2, bidirectional=True)
    compare(cupy, gru, Batch(gru, "float32", batch, time, lengths=np.zeros(batch, np.int64) if lengths else None))


def test_dropout_hides_what_the_cpu_hides(cupy):
    ours, theirs = (random_gru("float32", 4, 24, 3, dropout=0.4, seed=3) for _ in range(2))
    batch = Batch(ours, "float32", 5, 8)
    for _ in range(2):
        expected = theirs.record(batch.x)[2].backward(batch.dy)
        got = ours.record(cupy.asarray(batch.x))[2].backward(cupy.asarray(batch.dy))
        close("x", got.x, expected.x, 1e-5)
        close("parameters", got.flat, expected.flat, 1e-5)


def test_parameters_that_change(cupy):
    gru = random_gru("float32", 4, 24)
    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    given = cupy.asarray(x)
    for factor in (1, -2, 3):
        gru.params["layers.0.fwd.U"] = gru.params["layers.0.fwd.U"] * np.float32(factor)
        close("y", gru(given)[0], gru(x)[0], 1e-5)


def test_arrays_that_are_not_contiguous(cupy):
    gru = random_gru("float32", 6, 20)
    x = np.random.default_rng(0).standard_normal((10, 6, 4)).astype(np.float32)
    close("y", gru(cupy.asarray(x).transpose(2, 0, 1))[0], gru(x.transpose(2, 0, 1))[0], 1e-5)
    strange = cupy.asarray(x.transpose(2, 0, 1))[::-2, 1::3]
    close("y", gru(strange)[0], gru(x.transpose(2, 0, 1)[::-2, 1::3])[0], 1e-5)


def test_half_precision_into_a_float64_gru(cupy):
    gru = random_gru("float64", 6, 20)
    x = np.random.default_rng(0).standard_normal((2, 5, 6)).astype(np.float16)
    y, _ = gru(cupy.asarray(x))
    assert y.dtype == np.float64
    close("y", y, gru(x)[0], 1e-12)


@pytest.mark.parametrize("lengths", [False, True])
def test_a_batch_in_parts_where_memory_is_short(cupy, monkeypatch, lengths):
    gru = random_gru("float32", 6, 48, 2, bidirectional=True)
    batch = Batch(gru, "float32", 23, 9, lengths=np.arange(23) % 10 if lengths else None)
    given = {"lengths": batch.lengths} if lengths else {}
    expected = gru(batch.x, batch.h0, **given)
    monkeypatch.setattr(Weights, "unchecked_bytes", 100_000)
    monkeypatch.setattr("rgru._cuda.device.Device.free_bytes", lambda device: 0)
    got = gru(cupy.asarray(batch.x), cupy.asarray(batch.h0), **given)
    close("y", got[0], expected[0], 1e-5)
    close("h_n", got[1], expected[1], 1e-5)


def test_long_sequences(cupy):
    """A thousand steps, and many more sequences than there is room for at once."""
    for kind, batch, time, hidden in (("float32", 3, 1000, 96), ("bfloat16", 3, 1000, 96), ("float32", 2000, 3, 24)):
        gru = random_gru(kind, 4, hidden, reset_after=True)
        compare(cupy, gru, Batch(gru, kind, batch, time))


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "options"), [*enumerate(CELLS)])
@pytest.mark.parametrize("reset_after", RESET_AFTER)
def test_custom_cells(cupy, monkeypatch, place, options, reset_after):
    """Each in two of the forms; those with corners in float64, where no sum lies on the other side of one."""
    force(monkeypatch, FORMS[(place + reset_after) % len(FORMS)])
    for kind in KINDS if options in SMOOTH else ["float64"]:
        gru = random_gru(kind, 12, 60, 2, reset_after=reset_after, **CELLS[options])
        batch = Batch(gru, kind, 13, 6, lengths=[6, 0, 3, 6, 1, 5, 6, 2, 6, 4, 6, 3, 1], states=not gru.learned_h0)
        compare(cupy, gru, batch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["separate", "sum"])
def test_layer_normalisation(cupy, kind, form):
    """Also through graphs of steps; an epsilon that keeps the gradient at zero states small, as the bounds assume."""
    options = {"bidirectional": True, "reset_after": True, "layer_norm": (form, 0.2), "recurrent_dropout": 0.2}
    gru = random_gru(kind, 6, 40, 2, **options)
    compare(cupy, gru, Batch(gru, kind, 7, 11, lengths=[0, 11, 3, 1, 11, 6, 2]))
    compare(cupy, gru, Batch(gru, kind, 3, 100))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merge", ["sum", "mean", "product"])
def test_merged_directions(cupy, kind, merge):
    gru = random_gru(kind, 6, 40, 3, bidirectional=True, merge=merge, learned_h0=True)
    compare(cupy, gru, Batch(gru, kind, 7, 11, lengths=[0, 11, 3, 1, 11, 6, 2], states=False))


@pytest.mark.parametrize("kind", KINDS)
def test_traces(cupy, kind):
    gru = random_gru(kind, 6, 40, 2, bidirectional=True, zoneout=0.3)
    batch = Batch(gru, kind, 7, 11, lengths=[0, 11, 3, 1, 11, 6, 2])
    expected = gru.trace(batch.x, batch.h0, lengths=batch.lengths)
    with precision(kind):
        got = gru.trace(batch.to(cupy, batch.x), batch.to(cupy, batch.h0), lengths=batch.lengths)
    close("h_n", got.h_n, expected.h_n, BOUNDS[kind])
    for ours, theirs in zip(got.layers, expected.layers, strict=True):
        close("y", ours.y, theirs.y, BOUNDS[kind])
        for name in ("r", "z", "candidate", "h"):
            for direction in ("fwd", "rev"):
                found, wanted = (getattr(getattr(layer, direction), name) for layer in (ours, theirs))
                close(name, found, wanted, BOUNDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_outputs(cupy, kind):
    gru = random_gru(kind, 6, 40, 2, bidirectional=True, learned_h0=True)
    batch = Batch(gru, kind, 7, 11, states=False)
    options = {"mask": np.random.default_rng(0).random((7, 11)) < 0.5, "masked": "repeat"}
    expected = run(gru, batch.x, None, batch.dy, None, **options)
    with precision(kind):
        agree(run(gru, batch.to(cupy, batch.x), None, batch.to(cupy, batch.dy), None, **options), expected, kind)


# -- forms -----------------------------------------------------------------------------------------------------------

CHOSEN = [
    # Some are the plan's business, which may change; together they are of all forms.
    ("float32", 2, 64),
    ("float32", 300, 64),
    ("float32", 5, 200),
    ("float32", 3, 512),
    ("float32", 40, 1000),
    ("float32", 300, 512),
    ("bfloat16", 16, 128),
    ("bfloat16", 33, 256),
    ("bfloat16", 7, 768),
    ("bfloat16", 3, 2048),
    ("float16", 70, 1030),
    ("tf32", 20, 520),
    ("tf32x3", 20, 520),
    ("tf32x3", 60, 1000),
    ("float64", 3, 300),
]


@pytest.mark.parametrize(("kind", "count", "hidden"), CHOSEN)
@pytest.mark.parametrize("reset_after", RESET_AFTER)
def test_forms_that_the_plan_chooses(cupy, *, kind, count, hidden, reset_after, record_property):
    for backward in (False, True):
        form = planned(kind, hidden, count, reset_after=reset_after, backward=backward)
        record_property("backward" if backward else "forward", form)
    gru = random_gru(kind, 24, hidden, reset_after=reset_after)
    compare(cupy, gru, Batch(gru, kind, count, 9))


@pytest.mark.parametrize("backward", [False, True])
def test_the_plan_chooses_forms_of_every_kind(cupy, backward):
    found = {planned(kind, hidden, count, backward=backward) for kind, count, hidden in CHOSEN}
    assert found >= {"BLOCK", "STEPS"}
    assert found & {"GRID", "PACKETS"}
    if int(cupy.cuda.Device(0).compute_capability) >= 90:
        assert "CLUSTER" in found


def test_the_largest_clusters_that_the_driver_finds_room_for(cupy, monkeypatch):
    chip = open_device(0).chip
    if chip.capability < 90:
        pytest.skip("clusters begin with compute capability 9.0")
    assert [size for size, _ in chip.clusters] == [*cluster_sizes(chip.capability)]
    for size, count in chip.clusters:
        assert 0 <= count * size <= chip.multiprocessors

    def largest(device, cell, count, directions):
        return max(
            shapes_of_kind("CLUSTER", chip, cell, count, directions),
            key=lambda shape: (shape.blocks, shape.shared_bytes),
        )

    monkeypatch.setattr(Device, "plan", largest)
    gru = random_gru("float32", 12, 250, bidirectional=True)
    compare(cupy, gru, Batch(gru, "float32", 13, 6))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reset_after", RESET_AFTER)
@pytest.mark.parametrize(("form", "hidden"), [("BLOCK", 60), *((form, H) for form in FORMS[1:4] for H in (60, 250))])
def test_forms_that_the_plan_offers(cupy, monkeypatch, *, kind, reset_after, form, hidden):
    """A launch shape of each kind, whatever its estimated cost, with padding and two directions."""
    force(monkeypatch, form, seed=[int(reset_after), hidden, *form.encode(), *kind.encode()])
    gru = random_gru(kind, 12, hidden, bidirectional=True, reset_after=reset_after)
    compare(cupy, gru, Batch(gru, kind, 13, 6, lengths=[6, 0, 3, 6, 1, 5, 6, 2, 6, 4, 6, 3, 1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reset_after", RESET_AFTER)
@pytest.mark.parametrize("time", [5, 100])
def test_step_by_step(cupy, monkeypatch, kind, reset_after, time):
    """A hundred steps use a graph, which both directions launch concurrently."""
    force(monkeypatch, "STEPS")
    gru = random_gru(kind, 12, 70, 2, bidirectional=True, reset_after=reset_after)
    compare(cupy, gru, Batch(gru, kind, 9, time, lengths=[time, 0, 3, time, 1, 5, time - 1, 2, time]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("reset_after", RESET_AFTER)
def test_the_same_bits_every_time(cupy, monkeypatch, form, kind, reset_after):
    force(monkeypatch, form)
    gru = random_gru(kind, 100, 60, bidirectional=True, reset_after=reset_after)
    batch = Batch(gru, kind, 50, 100)
    arrays = [batch.to(cupy, array) for array in (batch.x, batch.h0, batch.dy, batch.dh_n)]
    first = bits(run(gru, *arrays))
    for _ in range(9):
        junk = cupy.zeros(int(np.random.default_rng().integers(1, 1 << 22)))  # other addresses
        assert bits(run(gru, *arrays)) == first
        del junk


@pytest.mark.parametrize(
    ("kind", "hidden"), [("float32", 512), ("float16", 1024), ("bfloat16", 2048), ("float32", 1100)]
)
def test_the_same_bits_of_large_layers(cupy, kind, hidden):
    """Products are large enough for the library to split their sums."""
    gru = random_gru(kind, 256, hidden, reset_after=True)
    batch = Batch(gru, kind, 16, 80)
    arrays = [batch.to(cupy, array) for array in (batch.x, batch.h0, batch.dy, batch.dh_n)]
    first = bits(run(gru, *arrays))
    assert all(bits(run(gru, *arrays)) == first for _ in range(9))


# -- against PyTorch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bound"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(("layers", "bidirectional", "bias"), [(1, False, True), (2, True, True), (3, False, False)])
def test_torch(cupy, torch, *, kind, bound, layers, bidirectional, bias):
    torch.manual_seed(layers)
    batch, time, inputs, hidden = 11, 17, 9, 70
    options = {"bias": bias, "bidirectional": bidirectional, "batch_first": True, "dtype": getattr(torch, kind)}
    module = torch.nn.GRU(inputs, hidden, layers, **options).cuda()
    gru = rgru.from_torch(module)
    states = layers * (1 + bidirectional), batch, hidden

    def random(*shape):
        return torch.randn(shape, dtype=getattr(torch, kind), device="cuda")

    x, h0 = random(batch, time, inputs).requires_grad_(), random(*states).requires_grad_()
    dy, dh_n = random(batch, time, hidden * (1 + bidirectional)), random(*states)
    expected_y, expected_h_n = module(x, h0)
    torch.autograd.backward([expected_y, expected_h_n], [dy, dh_n])

    y, h_n, tape = gru.record(x.detach(), h0.detach())
    grads = tape.backward(dy, dh_n)
    close("y", y, expected_y.detach().cpu(), bound)
    close("h_n", h_n, expected_h_n.detach().cpu(), bound)
    close("dx", grads.x, x.grad.cpu(), bound)
    close("dh0", grads.h0, h0.grad.cpu(), bound)
    for layer in range(layers):
        for direction, suffix in (("fwd", ""), ("rev", "_reverse"))[: 1 + bidirectional]:
            for ours, theirs in (("W", "weight_ih"), ("U", "weight_hh"), ("b", "bias_ih"))[: 3 if bias else 2]:
                expected = getattr(module, f"{theirs}_l{layer}{suffix}").grad.cpu().numpy().copy()
                expected[hidden : 2 * hidden] *= -1  # z multiplies the candidate here, the old state there
                close(
                    f"{ours} {layer} {direction}", grads.params[f"layers.{layer}.{direction}.{ours}"], expected, bound
                )


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_torch_in_half_precision(cupy, torch, kind):
    module = torch.nn.GRU(24, 100, batch_first=True).cuda()
    gru = rgru.from_torch(module)
    x = torch.randn(7, 30, 24, dtype=getattr(torch, kind), device="cuda")
    y, _ = gru(x)
    assert host(y).shape == (7, 30, 100)
    assert torch.from_dlpack(y).dtype == x.dtype
    with torch.no_grad():
        close("y", y, module(x.float())[0].cpu(), BOUNDS[kind])
        close("y, both rounded", y, module.to(x.dtype)(x)[0].float().cpu(), 2 * BOUNDS[kind])
