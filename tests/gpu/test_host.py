"""The host's side of a GPU on a fake CuPy: the same numbers, parameters, devices."""

from __future__ import annotations

import copy
import gc
import pickle
from weakref import ref

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

import fake_cupy
import rgru
from fake_cupy import Gpu, Hazard, Machine
from fake_host import FEATURES, TOLERANCE, H, Old, Tensor, close, forms_and_cells, gru_of
from kernel_cases import slow
from layer_cases import normal, with_biases
from rgru._cuda import device as devices
from rgru._cuda.device import Device
from rgru._cuda.kernel_config import Exchange
from rgru._cuda.sequences import Sequences
from rgru._cuda.stack import Weights

# -- the fake ----------------------------------------------------------------------------------------------------------


def test_the_fake_refuses_what_cupy_refuses(host):
    cupy = host.cupy
    array = cupy.asarray(normal(4))
    for convert in (np.asarray, lambda one: one + np.ones(4), lambda one: np.ones(4) * one):
        with pytest.raises(TypeError):
            convert(array)
    with pytest.raises(IndexError):
        array[np.array([0, 1])]
    with pytest.raises(RuntimeError, match="default"):
        cupy.cuda.Stream.begin_capture(cupy.cuda.get_current_stream())
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="H2D"):
            cupy.asarray(np.ones(3))
        stream.end_capture()


def test_the_fake_sees_a_missing_wait(host):
    cupy = host.cupy
    one, other = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    with one:
        array = cupy.zeros(4)
        event = one.record()
    with other:
        with pytest.raises(Hazard, match="without waiting"):
            array + 1
        other.wait_event(event)
        result = array + 1
    with one, pytest.raises(Hazard, match="writes"):
        array[:2] = 0
    with one:
        array[:0] = 0
    del array
    assert host.machine.hazards  # its memory goes to stream `one`, while `other` reads it
    host.machine.hazards.clear()
    assert result.get(other).tolist() == [1, 1, 1, 1]


def test_the_fake_runs_graphs(host):
    cupy = host.cupy
    one, other = cupy.cuda.Stream(), cupy.cuda.Stream(non_blocking=True)
    with one:
        array, lost = cupy.zeros(4), cupy.zeros(4)
        one.begin_capture()
        array += 1
        begun = one.record()
        with other:
            other.wait_event(begun)
            array *= 2
            done = other.record()
        with pytest.raises(fake_cupy.CUDARuntimeError, match="Unjoined"):
            one.end_capture()
        one.begin_capture()
        array += 1
        lost += 1
        del begun, done
        graph = one.end_capture()
        graph.launch()
        one.synchronize()
        graph.launch(other)
        other.synchronize()
        assert array.get().tolist() == [2] * 4
        del lost
        with pytest.raises(Hazard, match="freed"):
            graph.launch()


# -- the same numbers --------------------------------------------------------------------------------------------------


@forms_and_cells(*Exchange, None)
def test_a_call_and_its_backward_pass(host, exchange, reset_after):
    """Single steps use graphs: five steps are two graphs of two steps, and one more."""
    host.form(exchange)
    gru = gru_of(num_layers=2, bidirectional=True, reset_after=reset_after)
    x, h0 = normal(3, 5, FEATURES), normal(4, 3, H, seed=1)
    lengths = np.array([2, 5, 0])
    put = host.cupy.asarray
    for length in (None, lengths, put(lengths), put(lengths.astype(np.int8))):
        on_host = None if length is None else lengths
        y, h_n = gru(put(x), put(h0), lengths=length)
        expected, states = gru(x, h0, lengths=on_host)
        close(y, expected)
        close(h_n, states)
    for length in (None, lengths):
        y, h_n, tape = gru.record(put(x), put(h0), lengths=length)
        expected, states, host_tape = gru.record(x, h0, lengths=length)
        close(y, expected)
        close(h_n, states)
        found, wanted = tape.backward(y, h_n), host_tape.backward(expected, states)
        for name in ("x", "h0", "flat"):
            close(getattr(found, name), getattr(wanted, name))
        assert list(found.params) == list(wanted.params)


@pytest.mark.parametrize("exchange", slow([Exchange.BLOCK, None], [Exchange.BLOCK]), ids=["BLOCK", "STEPS"])
@pytest.mark.parametrize("dtype", slow(["float64", "float16", "bfloat16"], ["bfloat16"]))
def test_types(host, dtype, exchange):
    host.form(exchange)
    gru = gru_of(dtype="float64" if dtype == "float64" else "float32", bidirectional=True, reset_after=True)
    from ml_dtypes import bfloat16

    kind = np.dtype(bfloat16 if dtype == "bfloat16" else dtype)
    x = normal(3, 5, FEATURES).astype(kind)
    lengths = np.array([2, 5, 0])
    expected, states, host_tape = gru.record(x.astype(gru.dtype), lengths=lengths)
    y, h_n = gru(host.cupy.asarray(x), lengths=lengths)
    close(y, expected, dtype)
    y, h_n, tape = gru.record(host.cupy.asarray(x), lengths=lengths)
    close(y, expected, dtype)
    close(h_n, states, dtype)
    found, wanted = tape.backward(y, None), host_tape.backward(expected, None)
    close(found.x, wanted.x, dtype)
    assert found.flat.dtype == gru.dtype
    np.testing.assert_allclose(found.flat.get(), wanted.flat, atol=TOLERANCE[dtype] * 20)


@pytest.mark.slow
def test_shared_memory_that_has_to_be_asked_for(host):
    gru, x = rgru.GRU(2, 72, seed=0), normal(1, 2, 2)
    close(gru(host.cupy.asarray(x))[0], gru(x)[0])
    assert max(kernel._room for kernel in host.machine.functions.values()) > 65536


@pytest.mark.slow
@pytest.mark.parametrize(("terms", "least", "most"), [(1, 1e-6, 2e-3), (3, 1e-9, 1e-6)])
def test_tf32(host, terms, least, most):
    host.form(Exchange.BLOCK)
    gru, x = gru_of(), normal(9, 5, FEATURES)
    exact, _ = gru(host.cupy.asarray(x))
    rgru.gpu.allow_tf32(True, terms=terms)
    try:
        y, _ = gru(host.cupy.asarray(x))
    finally:
        rgru.gpu.allow_tf32(False)
    error = np.abs(y.get() - exact.get()).max()
    assert least < error < most


def test_terms_of_tf32_are_checked():
    with pytest.raises(ValueError, match="terms: expected 1 or 3, got 2"):
        rgru.gpu.allow_tf32(True, terms=2)
    assert not rgru.gpu.tf32_allowed()


def test_lengths_of_a_small_type(host):
    """The type cannot represent the number of steps."""
    gru, x, lengths = gru_of(), normal(2, 130, FEATURES), np.array([100, 5], np.int8)
    close(gru(host.cupy.asarray(x), lengths=host.cupy.asarray(lengths))[0], gru(x, lengths=lengths)[0])


def test_many_lengths_are_sorted_by_cupy(host, monkeypatch):
    """The order is the same: longest first, equal ones in the order of the batch."""
    device, put = devices.open_device(0), host.cupy.asarray
    lengths = np.random.default_rng(0).integers(0, 7, 50)
    expected = np.argsort(-lengths, kind="stable").tolist()
    for most in (50, 49):
        monkeypatch.setattr(Sequences, "most_compared", most)
        with device.current([]):
            for given in (lengths, put(lengths), put(lengths.astype(np.uint8))):
                assert Sequences.padded(device, 50, 6, given).order.get().tolist() == expected
    gru, x = gru_of(), normal(50, 6, FEATURES)
    with host.cupy.cuda.Stream(non_blocking=True) as stream:
        there, length = put(x), put(lengths)
        gru(there, lengths=length)
        stream.begin_capture()
        y, _ = gru(there, lengths=length)
        graph = stream.end_capture()
        graph.launch()
        close(y, gru(x, lengths=lengths)[0])


@pytest.mark.parametrize("lengths", [[3, 0, 5], [0, 0], [1], []], ids=str)
def test_ragged(host, lengths):
    gru = gru_of(num_layers=2, bidirectional=True)
    x = rgru.Ragged(normal(sum(lengths), FEATURES), np.cumsum([0, *lengths]))
    there = rgru.Ragged(host.cupy.asarray(x.values), x.offsets)
    for found, expected in zip(gru(there), gru(x), strict=True):
        close(found, expected)
    y, h_n, tape = gru.record(there)
    expected, states, host_tape = gru.record(x)
    for dy in (y, y.values):
        found, wanted = tape.backward(dy, h_n), host_tape.backward(expected, states)
        close(found.x, wanted.x)
        close(found.flat, wanted.flat)


def test_ragged_batches_on_the_gpu(host):
    x = rgru.Ragged(normal(8, FEATURES), [0, 3, 3, 8])
    there = rgru.Ragged(host.cupy.asarray(x.values), x.offsets)
    close(there.take([2, 0]), x.take([2, 0]))
    padded, lengths = there.to_padded()
    close(padded, x.to_padded()[0])
    close(rgru.Ragged.from_padded(padded, lengths), x)
    close(there[2], x[2])
    assert [one.shape for one in there] == [(3, FEATURES), (0, FEATURES), (5, FEATURES)]


@pytest.mark.slow
def test_sizes_of_one_and_none(host):
    """Their strides do not show the order of the axes."""
    for sizes in ((1, 1, 1), (1, 4, 1), (4, 1, 1), (0, 4, 1), (4, 0, 1)):
        gru = with_biases(rgru.GRU(1, 1, bidirectional=True, seed=0))
        x = normal(*sizes)
        expected, states, host_tape = gru.record(x)
        for given in (host.cupy.asarray(x), host.cupy.asarray(x[:, :, 0])[:, :, None]):
            y, h_n, tape = gru.record(given)
            close(y, expected)
            close(h_n, states)
            found, wanted = tape.backward(y, h_n), host_tape.backward(expected, states)
            close(found.flat, wanted.flat)
            close(found.x, wanted.x)


def test_dropout_has_the_masks_of_the_cpu(host):
    ours, theirs = (gru_of(num_layers=3, dropout=0.4) for _ in range(2))
    x = normal(5, 8, FEATURES)
    for _ in range(2):  # two seeds
        expected, _, host_tape = theirs.record(x)
        y, _, tape = ours.record(host.cupy.asarray(x))
        close(y, expected)
        found, wanted = tape.backward(y), host_tape.backward(expected)
        close(found.x, wanted.x)
        close(found.flat, wanted.flat)


def test_dropout_of_padded_batches_has_the_masks_of_the_cpu(host):
    ours, theirs = (gru_of(num_layers=2, bidirectional=True, dropout=0.5) for _ in range(2))
    x, lengths = normal(3, 6, FEATURES), np.array([3, 0, 6])
    expected, _, host_tape = theirs.record(x, lengths=lengths)
    y, _, tape = ours.record(host.cupy.asarray(x), lengths=lengths)
    close(y, expected)
    close(tape.backward(y).flat, host_tape.backward(expected).flat)


def test_ids_in_half_precision_are_refused(host):
    gru = rgru.GRU(1, 4, vocabulary=5000, embedding_size=3)
    with pytest.raises(TypeError, match=r"x: expected float32 for ids, got float16, which rounds them"):
        gru(host.cupy.asarray(np.full((1, 1, 1), 2049.0)).astype(np.float16))


def test_an_array_that_is_not_contiguous(host):
    gru, x = gru_of(), normal(5, 3, FEATURES)
    close(gru(host.cupy.asarray(x).transpose(1, 0, 2))[0], gru(x.transpose(1, 0, 2))[0])


def test_a_batch_in_parts(host, monkeypatch):
    """The memory is too small for the whole batch."""
    monkeypatch.setattr(Weights, "unchecked_bytes", 4096)
    monkeypatch.setattr(Device, "free_bytes", lambda self: 0)
    gru, x, h0, lengths = gru_of(num_layers=2), normal(20, 5, FEATURES), normal(2, 20, H), np.arange(20) % 6
    put = host.cupy.asarray
    for one in (None, lengths, put(lengths)):
        y, h_n = gru(put(x), put(h0), lengths=one)
        expected = gru(x, h0, lengths=None if one is None else lengths)
        close(y, expected[0])
        close(h_n, expected[1])
    ragged = rgru.Ragged.from_padded(x, lengths)
    close(gru(rgru.Ragged(put(ragged.values), ragged.offsets))[0], gru(ragged)[0])


def test_other_libraries(host):
    gru, x, h0 = gru_of(), normal(2, 4, FEATURES), normal(1, 2, H)
    theirs = host.cupy.cuda.Stream(non_blocking=True)
    with theirs:
        made = host.cupy.asarray(x) * 1.0
    with pytest.raises(Hazard):
        gru(made)
    host.machine.hazards.clear()
    with theirs:
        there = Old(made), Old(host.cupy.asarray(h0))
    theirs.synchronize()
    close(gru(*there)[0], gru(x, h0)[0])
    here = host.cupy.asarray(x)
    close(gru(Tensor(here))[0], gru(x)[0])
    close(gru(Tensor(here[:, ::2]))[0], gru(x[:, ::2])[0])
    host.machine.synchronize()


CALLS = {
    "call": lambda gru, x, h0, lengths, *_: gru(x(), h0(), lengths=lengths()),
    "final_states": lambda gru, x, *_: gru.final_states(x()),
    "trace": lambda gru, x, *_: gru.trace(x()).h_n,
    "tape": lambda gru, x, h0, _, dy: gru.record(x(), h0())[2].backward(dy(), h0()),
    "mask": lambda gru, x, *_: gru(x(), mask=np.arange(8).reshape(2, 4) > 2),
    "Ragged": lambda gru, x, *_: gru(rgru.Ragged.from_padded(x(), [1, 4])),
    "sequences of a Ragged": lambda gru, x, *_: rgru.Ragged(x()[0], [0, 1, 4]).take([1]),
    "another type": lambda gru, x, *_: gru_of(dtype="float64")(x()),
}


@pytest.mark.parametrize("kind", [Tensor, Old])
@pytest.mark.parametrize("call", CALLS)
def test_arrays_of_other_libraries_live_until_the_work_is_done(host, call, kind):
    """Their memory goes back to their own stream, which does not wait for CuPy's."""
    gru, cupy, memories = gru_of(), host.cupy, []
    theirs = cupy.cuda.Stream(non_blocking=True)

    class Sliced(kind):
        def __getitem__(self, key):
            return kind(self.array[key])

    def given(array):
        def make():
            with theirs:
                made = cupy.asarray(array)
            theirs.synchronize()
            memories.append(ref(made.data.mem))
            return Sliced(made)

        return make

    arrays = normal(2, 4, FEATURES), normal(1, 2, H), np.array([4, 2]), normal(2, 4, H)
    CALLS[call](gru, *map(given, arrays))
    gc.collect()
    assert not host.machine.hazards
    host.machine.synchronize()
    gru(given(arrays[0])())  # what is not needed any more goes
    assert [one() is None for one in memories] == [True] * (len(memories) - 1) + [False]
    host.machine.synchronize()


# -- parameters --------------------------------------------------------------------------------------------------------


def test_changed_parameters(host):
    gru, x = gru_of(), normal(2, 5, FEATURES)
    there = host.cupy.asarray(x)
    close(gru(there)[0], gru(x)[0])
    for name, value in gru.params.items():
        gru.params[name] = value * 2
    close(gru(there)[0], gru(x)[0])


def test_places_of_sequences_are_kept_for_some_shapes(host, monkeypatch):
    made = []
    equal = Sequences.equal
    monkeypatch.setattr(Sequences, "equal", lambda *args: made.append(args[1:]) or equal(*args))
    gru = gru_of()
    shapes = [(n, steps) for n in (1, 2, 3) for steps in (2, 3, 4)]
    batches = [(normal(*shape, FEATURES), host.cupy.asarray(normal(*shape, FEATURES))) for shape in shapes]
    for x, there in batches + batches:
        close(gru(there)[0], gru(x)[0])
    assert made == [*shapes, shapes[-1]]  # eight are kept, not nine


@pytest.mark.parametrize("end", ["change", "delete", "tape"])
@pytest.mark.parametrize("first", [True, False], ids=["made_there", "made_here"])
def test_weights_live_as_long_as_work_on_other_streams_reads_them(host, end, first):
    """CuPy frees memory for reuse by the stream that took it, which does not wait for the other."""
    gru, x, cupy = gru_of(), normal(2, 5, FEATURES), host.cupy
    here = cupy.asarray(x)
    if first:
        gru(here)
    expected = gru(x)[0]
    with cupy.cuda.Stream(non_blocking=True) as stream:
        there = cupy.asarray(x)
        y, h_n, tape = gru.record(there)
    if not first:  # what was packed on the other stream is read on this one
        close(gru(here)[0], expected)
    if end == "tape":
        with stream:
            tape.backward(y, h_n)
    del tape
    if end == "delete":
        del gru
    else:
        gru.params["layers.0.fwd.b"] = gru.params["layers.0.fwd.b"] * 2
    assert not host.machine.hazards
    with stream:
        close(y, expected)


def test_weights_go_when_work_on_other_streams_is_done(host):
    gru, x, cupy = gru_of(), normal(2, 5, FEATURES), host.cupy
    gru(cupy.asarray(x))
    taken = []
    stream = cupy.cuda.Stream(non_blocking=True)
    for _ in range(4):
        with stream:
            gru(cupy.asarray(x))
            stream.synchronize()
        gru.params["layers.0.fwd.b"] = gru.params["layers.0.fwd.b"] * 2
        gru(cupy.asarray(x))
        cupy.cuda.get_current_stream().synchronize()
        taken.append(host.machine.gpus[0].taken)
    assert taken[1] == taken[-1]


def test_weights_can_go_while_others_are_kept(host):
    """The garbage collector may call it during a call: there must be no deadlock, and nothing may be lost."""
    device = devices.open_device(0)

    class Mark:
        done = False

    class Going:
        @property
        def done(self):
            if not came:
                came.append(1)
                device.keep("inner", [Mark])
            return True

    came = []
    device.keep("outer", [Going()])
    assert [things for things, _ in device._kept] == ["inner"]
    device._kept.clear()


@pytest.mark.parametrize("renew", [copy.copy, copy.deepcopy, lambda gru: pickle.loads(pickle.dumps(gru))])
def test_copies_leave_the_gpu(host, renew):
    gru, x = gru_of(), normal(2, 5, FEATURES)
    there = host.cupy.asarray(x)
    gru(there)
    close(renew(gru)(there)[0], gru(x)[0])


# -- two GPUs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", [Exchange.BLOCK, None], ids=["BLOCK", "STEPS"])
def test_two_gpus(host, exchange):
    host.put(Machine(Gpu(), Gpu(multiprocessors=4)))
    host.form(exchange)
    cupy, gru, x, h0 = host.cupy, gru_of(bidirectional=True), normal(3, 5, FEATURES), normal(2, 3, H)
    expected = gru(x, h0)
    for index in (1, 0, 1):
        with cupy.cuda.Device(index):
            there, state = cupy.asarray(x), cupy.asarray(h0)
            short, turned = cupy.asarray(x.astype("float16")), cupy.asarray(x.swapaxes(0, 1).copy()).transpose(1, 0, 2)
        for current in (0, 1):
            with cupy.cuda.Device(current):
                y, h_n = gru(there, state)
                gru(short)
                z, _ = gru(turned, state)
                _, _, tape = gru.record(there, state)
                gradients = tape.backward(y, h_n)
            with cupy.cuda.Device(index):
                assert y.device.id == index
                close(y, expected[0])
                close(z, expected[0])
                close(h_n, expected[1])
                close(gradients.flat, gru.record(x, h0)[2].backward(*expected).flat)
                ragged = rgru.Ragged(cupy.ascontiguousarray(there.reshape(15, FEATURES)), [0, 4, 15])
            on_host = rgru.Ragged(x.reshape(15, FEATURES), [0, 4, 15])
            with cupy.cuda.Device(current):
                taken, (padded, lengths) = ragged.take([1, 0, 1]), ragged.to_padded()
                again = rgru.Ragged.from_padded(padded, lengths)
            with cupy.cuda.Device(index):
                close(taken, on_host.take([1, 0, 1]))
                close(padded, on_host.to_padded()[0])
                close(again, on_host)
    with cupy.cuda.Device(0):
        there = cupy.asarray(x)
    with cupy.cuda.Device(1):
        state, lengths = cupy.asarray(h0), cupy.asarray(np.array([1, 2, 3]))
        dy = cupy.asarray(normal(3, 5, 2 * H))
    with pytest.raises(ValueError, match=r"^h0: expected an array on GPU 0, where x is, got one on GPU 1"):
        gru(there, state)
    with pytest.raises(ValueError, match=r"^lengths: expected an array on GPU 0, where x is, got one on GPU 1"):
        gru(there, lengths=lengths)
    with pytest.raises(ValueError, match=r"^dy: expected an array on GPU 0, where x is, got one on GPU 1"):
        gru.record(there)[2].backward(dy)
    host.machine.synchronize()
