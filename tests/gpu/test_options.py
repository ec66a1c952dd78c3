"""Options of the GRU on a fake GPU: each has the effect that it has on the CPU."""

from copy import deepcopy

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

import rgru
from fake_cupy import Gpu, Machine
from fake_host import FEATURES, H, close, gru_of
from kernel_cases import slow
from layer_cases import normal
from rgru._cuda.device import Device, open_device
from rgru._cuda.kernel_config import Exchange
from rgru._cuda.stack import Weights
from rgru.nn._settings import OPTIONS

OTHER = {
    "gate_activation": ("hard_sigmoid", 0.2, 0.5),
    "activation": "softsign",
    "clip": 0.5,
    "state_clip": 0.2,
    "reverse": True,
    "merge": "mean",
    "learned_h0": True,
    "zoneout": 0.4,
    "recurrent_dropout": 0.4,
    "layer_norm": ("separate", 0.1),
}
MERGES = ("sum", "mean", "product")
LENGTHS = np.array([2, 5, 0])


def agree(host, gru, x, h0=None, dtype="float32", **options):
    """Compare all results with the CPU's; `lengths` and the like are passed on."""

    def put(array):
        values = getattr(array, "values", array)
        values = None if array is None else host.cupy.asarray(values.astype(gru.dtype)).astype(dtype)
        return rgru.Ragged(values, array.offsets) if isinstance(array, rgru.Ragged) else values

    twin = deepcopy(gru)  # it draws the same masks
    y, h_n, tape = gru.record(put(x), put(h0), **options)
    expected, states, host_tape = twin.record(x, h0, **options)
    close(y, expected, dtype)
    close(h_n, states, dtype)
    called, wanted = gru(put(x), put(h0), **options), gru(x, h0, **options)
    close(called[0], wanted[0], dtype)
    close(called[1], wanted[1], dtype)
    final = {name: value for name, value in options.items() if name != "masked"}
    close(gru.final_states(put(x), put(h0), **final), wanted[1], dtype)
    found, wanted = tape.backward(put(expected), put(states)), host_tape.backward(expected, states)
    close(found.x, wanted.x, dtype)
    close(found.h0, wanted.h0, dtype)
    close(found.flat.astype(dtype), wanted.flat, dtype)


def test_all_options_are_covered_here():
    # The rest is tested below.
    assert set(OPTIONS) - set(OTHER) == {"vocabulary", "embedding_size"}


@pytest.mark.parametrize("exchange", slow([Exchange.BLOCK, None], [None]), ids=["BLOCK", "STEPS"])
@pytest.mark.parametrize("reset_after", slow([False, True], [True]), ids=["reset_before", "reset_after"])
def test_zoneout_of_padded_and_ragged_batches(host, exchange, reset_after):
    """The words of a mask are those of the CPU for each cell and step, whatever the padding and its place."""
    host.form(exchange)
    gru = gru_of(num_layers=2, bidirectional=True, zoneout=0.4, reset_after=reset_after)
    x, put = normal(3, 7, FEATURES), host.cupy.asarray
    lengths = np.array([2, 7, 0])
    agree(host, gru, x, lengths=lengths)
    twin = deepcopy(gru)
    close(gru.record(put(x), lengths=put(lengths))[0], twin.record(x, lengths=lengths)[0])
    dropping = gru_of(num_layers=3, bidirectional=True, zoneout=0.2, dropout=0.3, reset_after=reset_after)
    twin, ragged = deepcopy(dropping), rgru.Ragged.from_padded(x, lengths)
    expected, _, host_tape = twin.record(ragged)
    y, _, tape = dropping.record(rgru.Ragged(put(ragged.values), ragged.offsets))
    close(y, expected)
    close(tape.backward(y).flat, host_tape.backward(expected).flat)


def test_zoneout_draws_masks_in_training_alone(host):
    gru, x = gru_of(zoneout=0.5), host.cupy.asarray(normal(4, 6, FEATURES))
    first, second = (gru.record(x)[0].get() for _ in range(2))
    np.testing.assert_array_equal(gru_of(zoneout=0.5).record(x)[0].get(), first)
    assert (first[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.3)  # the initial states, where they are kept
    assert ((first == 0) != (second == 0)).any()
    assert (gru(x)[0].get() != 0).all()


@pytest.mark.parametrize("form", ["separate", "sum"])
@pytest.mark.parametrize("bias", slow([False, True], [True]), ids=["plain", "bias"])
def test_layer_norm_of_padded_and_ragged_batches(host, form, bias):
    """Long batches go through graphs of steps; lengths on the device leave finished sequences among the others."""
    gru = gru_of(num_layers=2, bidirectional=True, layer_norm=(form, 0.2), reset_after=True, bias=bias)
    x, put = normal(3, 7, FEATURES), host.cupy.asarray
    lengths = np.array([2, 7, 0])
    agree(host, gru, x)
    agree(host, gru, x, normal(4, 3, H, seed=1), lengths=lengths)
    agree(host, gru, rgru.Ragged.from_padded(x, lengths))
    x[0, 2:] = x[2] = np.nan
    y, _, tape = gru.record(put(x), lengths=put(lengths))
    expected, _, host_tape = gru.record(x, lengths=lengths)
    close(y, expected)
    for _ in range(2):  # a tape may be used again
        close(tape.backward(y).flat, host_tape.backward(expected).flat)


@pytest.mark.parametrize("exchange", slow([Exchange.BLOCK, None], [None]), ids=["BLOCK", "STEPS"])
@pytest.mark.parametrize("reset_after", slow([False, True], [False]), ids=["reset_before", "reset_after"])
def test_recurrent_dropout_of_padded_and_ragged_batches(host, exchange, reset_after):
    """A sequence has the mask of its place in the batch, in each cell; long batches go through graphs of steps."""
    host.form(exchange)
    gru = gru_of(num_layers=2, bidirectional=True, recurrent_dropout=0.4, zoneout=0.1, reset_after=reset_after)
    x, put = normal(3, 7, FEATURES), host.cupy.asarray
    lengths = np.array([2, 7, 0])
    agree(host, gru, x)
    agree(host, gru, x, normal(4, 3, H, seed=1), lengths=lengths)
    agree(host, gru, rgru.Ragged.from_padded(x, lengths))
    twin = deepcopy(gru)
    close(gru.record(put(x), lengths=put(lengths))[0], twin.record(x, lengths=lengths)[0])


def test_recurrent_dropout_draws_masks_in_training_alone(host):
    gru, x = gru_of(recurrent_dropout=0.5), host.cupy.asarray(normal(4, 6, FEATURES))
    first, second = (gru.record(x)[0].get() for _ in range(2))
    np.testing.assert_array_equal(gru_of(recurrent_dropout=0.5).record(x)[0].get(), first)
    assert (first != second).any()
    np.testing.assert_array_equal(gru(x)[0].get(), gru_of()(x)[0].get())


@pytest.mark.parametrize("features", [1, 3])
def test_ids(host, features):
    gru = rgru.GRU(features, H, 2, vocabulary=7, embedding_size=5, seed=0)
    x = normal(3, 5, features)
    x[..., 0] = np.random.default_rng(0).integers(0, 7, (3, 5))
    agree(host, gru, x)
    agree(host, gru, x, lengths=LENGTHS)
    x[1, 2, 0] = 7  # nothing is refused on a GPU
    y = gru(host.cupy.asarray(x))[0].get()
    assert np.isnan(y[1, 2:]).all()
    assert np.isfinite(y[1, :2]).all()
    assert np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize(
    "name", slow(OTHER, ["reverse", "merge", "learned_h0", "state_clip", "zoneout", "recurrent_dropout"])
)
def test_every_option_has_its_effect(host, name):
    assert OTHER[name] != OPTIONS[name]
    options = {name: OTHER[name], "bidirectional": name == "merge", "reset_after": name == "layer_norm"}
    agree(host, gru_of(num_layers=2, **options), normal(3, 5, FEATURES))


def test_an_unknown_setting_is_refused_by_name(host):
    with pytest.raises(ValueError, match=r"^peephole: expected no such setting on a GPU, got True$"):
        Weights(open_device(0), host.cupy.zeros(4), {**gru_of()._core_sizes, "peephole": True})


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("learned", [False, True], ids=["zero", "learned"])
def test_merged_directions_of_padded_and_ragged_batches(host, merge, learned):
    """Dropout has the masks of the CPU for the merged outputs, where all rows belong to sequences."""
    gru = gru_of(num_layers=3, bidirectional=True, merge=merge, learned_h0=learned, reset_after=True)
    x = normal(3, 5, FEATURES)
    agree(host, gru, x, lengths=LENGTHS)
    agree(host, gru, rgru.Ragged.from_padded(x, LENGTHS))
    ours, theirs = (gru_of(num_layers=2, bidirectional=True, merge=merge, dropout=0.4) for _ in range(2))
    y, _, tape = ours.record(host.cupy.asarray(x))
    expected, _, host_tape = theirs.record(x)
    close(y, expected)
    close(tape.backward(y).flat, host_tape.backward(expected).flat)


@pytest.mark.parametrize("exchange", slow([Exchange.BLOCK, None], [Exchange.BLOCK]), ids=["BLOCK", "STEPS"])
def test_reverse_stacks_with_learned_states(host, exchange):
    host.form(exchange)
    gru, x = gru_of(num_layers=2, reverse=True, learned_h0=True), normal(3, 5, FEATURES)
    agree(host, gru, x, lengths=LENGTHS)
    agree(host, gru, x, normal(2, 3, H, seed=1))
    agree(host, gru, rgru.Ragged.from_padded(x, LENGTHS))


def test_given_states_leave_the_learned_ones_without_gradient(host):
    gru, put = gru_of(learned_h0=True), host.cupy.asarray
    for h0 in (None, put(normal(1, 3, H))):
        y, _, tape = gru.record(put(normal(3, 5, FEATURES)), h0)
        assert tape.backward(y).params["layers.0.fwd.h0"].get().any() == (h0 is None)


@pytest.mark.parametrize("merge", slow(MERGES, ["product"]))
@pytest.mark.parametrize("dtype", slow(["float64", "float16", "bfloat16"], ["bfloat16"]))
@pytest.mark.parametrize(
    "norm", slow([None, ("separate", 0.2), ("sum", 0.2)], [None]), ids=["plain", "separate", "sum"]
)
def test_types(host, dtype, merge, norm):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")
    full = "float64" if dtype == "float64" else "float32"
    options = {"reset_after": True, "merge": merge, "learned_h0": True, "zoneout": 0.25, "recurrent_dropout": 0.2}
    options["layer_norm"] = norm
    gru = gru_of(num_layers=2, bidirectional=True, **options, dtype=full)
    agree(host, gru, normal(3, 5, FEATURES, dtype=dtype if dtype != "bfloat16" else full).astype(full), dtype=dtype)


@pytest.mark.parametrize(
    "options",
    [
        *({"merge": "product", "bidirectional": True}, {"reverse": True}, {"zoneout": 0.4}, {"recurrent_dropout": 0.4}),
        {"layer_norm": "sum", "reset_after": True},
    ],
    ids=str,
)
def test_resets_and_masks(host, options):
    gru, x = gru_of(num_layers=2, learned_h0=True, **options), normal(2, 6, FEATURES)
    resets, mask = np.zeros((2, 6), bool), np.ones((2, 6), bool)
    resets[0, [0, 3]] = mask[1, [2, 5]] = True, False
    agree(host, gru, x, resets=resets, mask=mask)


@pytest.mark.parametrize(
    "options",
    slow(
        [
            *({"merge": "sum", "bidirectional": True}, {"reverse": True}),
            {"layer_norm": "sum", "reset_after": True, "bidirectional": True},
        ],
        [{"merge": "sum", "bidirectional": True}, {"reverse": True}],
    ),
    ids=str,
)
def test_a_batch_in_parts(host, monkeypatch, options):
    """The memory is too small for the whole batch."""
    monkeypatch.setattr(Weights, "unchecked_bytes", 4096)
    monkeypatch.setattr(Device, "free_bytes", lambda self: 0)
    gru, x, lengths = gru_of(num_layers=2, learned_h0=True, **options), normal(20, 5, FEATURES), np.arange(20) % 6
    for one in (None, lengths):
        for found, expected in zip(gru(host.cupy.asarray(x), lengths=one), gru(x, lengths=one), strict=True):
            close(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        *({"merge": "mean", "bidirectional": True}, {"reverse": True}, {"zoneout": 0.4, "recurrent_dropout": 0.4}),
        {"layer_norm": ("separate", 0.2), "reset_after": True},
    ],
    ids=str,
)
def test_a_call_in_a_graph(host, options):
    """The masks of a graph are those of its capture."""
    gru, cupy = gru_of(num_layers=2, learned_h0=True, **options), host.cupy
    x, dy = normal(2, 5, FEATURES), normal(2, 5, H)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        there, gradient, lengths = cupy.asarray(x), cupy.asarray(dy), np.array([3, 5])
        short = cupy.asarray(lengths)
        gru.record(there, lengths=short)[2].backward(gradient)
        twin = deepcopy(gru)
        stream.begin_capture()
        y, h_n, tape = gru.record(there, lengths=short)
        back = tape.backward(gradient)
        graph = stream.end_capture()
        for seed in range(3):
            x = normal(2, 5, FEATURES, seed=seed)
            there.set(x)
            graph.launch()
            expected, states, host_tape = deepcopy(twin).record(x, lengths=lengths)
            wanted = host_tape.backward(dy)
            for found, one in ((y, expected), (h_n, states), (back.flat, wanted.flat), (back.x, wanted.x)):
                close(found, one)
        stream.synchronize()


STACKS = [{"bidirectional": True, "reset_after": True}, {"reverse": True}, {"learned_h0": True, "zoneout": 0.4}]


@pytest.mark.parametrize("options", slow(STACKS, [STACKS[0], STACKS[2]]), ids=str)
@pytest.mark.parametrize("dtype", slow(["float32", "float64", "float16", "bfloat16"], ["float32"]))
def test_masked_steps_that_repeat_others(host, options, dtype):
    """Also from the states before the first step, and with a gradient for each step."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")
    full = "float64" if dtype == "float64" else "float32"
    gru, x = gru_of(num_layers=2, dtype=full, **options), normal(3, 6, FEATURES).astype(full)
    mask, resets = np.random.default_rng(0).random((3, 6)) < 0.4, np.zeros((3, 6), bool)
    mask[2], resets[0, 3] = False, True
    for h0 in (None, normal(2 * (1 + gru.bidirectional), 3, H).astype(full)):
        agree(host, gru, x, h0, dtype, mask=mask, resets=resets, masked="repeat")
    agree(host, gru, rgru.Ragged.from_padded(x, LENGTHS), dtype=dtype, mask=mask.ravel()[:7], masked="repeat")


def values_of(trace):
    """Return all arrays of a trace by name."""
    found = {"h_n": trace.h_n}
    for k, layer in enumerate(trace.layers):
        found[f"{k} y"] = layer.y
        for name, cell in (("fwd", layer.fwd), ("rev", layer.rev)):
            if cell is not None:
                found |= {f"{k} {name} {key}": getattr(cell, key) for key in ("r", "z", "candidate", "h")}
    return found


@pytest.mark.parametrize(
    "options",
    slow(
        [*STACKS, {"merge": "mean", "bidirectional": True}, {"layer_norm": "sum", "reset_after": True}],
        [STACKS[0], STACKS[2]],
    ),
    ids=str,
)
@pytest.mark.parametrize("dtype", slow(["float32", "float64", "float16", "bfloat16"], ["float16"]))
def test_traces_and_all_layers(host, options, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")
    full = "float64" if dtype == "float64" else "float32"
    gru, x = gru_of(num_layers=2, dtype=full, **options), normal(3, 6, FEATURES).astype(full)
    h0 = normal(2 * (1 + gru.bidirectional), 3, H).astype(full)
    mask = np.random.default_rng(0).random((3, 6)) < 0.6

    def put(array):
        return host.cupy.asarray(array).astype(dtype)

    ragged = rgru.Ragged.from_padded(x, LENGTHS)
    ragged_there = rgru.Ragged(put(ragged.values), ragged.offsets)
    for there, here, given in (
        ((put(x), put(h0)), (x, h0), {}),
        ((put(x),), (x,), {"lengths": LENGTHS, "mask": mask}),
        ((ragged_there,), (ragged,), {}),
    ):
        found, expected = values_of(gru.trace(*there, **given)), values_of(gru.trace(*here, **given))
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            close(found[name], array, dtype)
        outputs, h_n = gru(*there, **given, all_layers=True)
        assert len(outputs) == 2
        for k, one in enumerate(outputs):
            close(one, expected[f"{k} y"], dtype)
        close(h_n, expected["h_n"], dtype)


def test_a_trace_of_ids(host):
    gru, x = (
        rgru.GRU(1, H, vocabulary=7, embedding_size=5, seed=0),
        np.array([[3, 6, 0], [1, 1, 2]], np.float32)[..., None],
    )
    found, expected = values_of(gru.trace(host.cupy.asarray(x))), values_of(gru.trace(x))
    for name, array in expected.items():
        close(found[name], array)


@pytest.mark.parametrize("shape", [(2, 0, FEATURES), (0, 3, FEATURES), (2, 3, FEATURES)], ids=str)
@pytest.mark.parametrize("options", [{"zoneout": 0.4}, {"layer_norm": ("separate", 0.2), "reset_after": True}], ids=str)
def test_batches_without_steps(host, shape, options):
    gru, put = gru_of(num_layers=2, bidirectional=True, merge="sum", **options), host.cupy.asarray
    lengths, x = np.zeros(shape[0], np.int64), np.zeros(shape, np.float32)
    found, expected = values_of(gru.trace(put(x), lengths=lengths)), values_of(gru.trace(x, lengths=lengths))
    for name, array in expected.items():
        close(found[name], array)
    agree(host, gru, x, lengths=lengths)


def test_another_gpu_than_the_current_one(host):
    """What is computed around the kernels is on the GPU of the inputs, too."""
    host.put(Machine(Gpu(), Gpu()))
    host.form(Exchange.BLOCK)
    mask = np.random.default_rng(0).random((3, 6)) < 0.5
    gru = rgru.GRU(FEATURES, H, vocabulary=7, embedding_size=5, zoneout=0.4, seed=0)
    x, twin = normal(3, 6, FEATURES), deepcopy(gru)
    x[..., 0] = np.arange(6)
    with host.cupy.cuda.Device(1):
        there = host.cupy.asarray(x)
    y, _, tape = gru.record(there, mask=mask, masked="repeat")
    found = {"y": gru(there, mask=mask)[0], "flat": tape.backward(y).flat, "z": gru.trace(there).layers[0].fwd.z}
    found["h_n"] = gru.final_states(there, mask=mask)
    expected, _, host_tape = twin.record(x, mask=mask, masked="repeat")
    wanted = {"y": gru(x, mask=mask)[0], "flat": host_tape.backward(expected).flat, "z": gru.trace(x).layers[0].fwd.z}
    wanted["h_n"] = gru.final_states(x, mask=mask)
    with host.cupy.cuda.Device(1):
        for name, array in wanted.items():
            close(found[name], array)
