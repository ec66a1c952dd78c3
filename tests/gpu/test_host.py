"""The host's side of a GPU on a fake CuPy: devices, streams, graphs, products, errors."""

from __future__ import annotations

import copy
import ctypes
import pickle
import sys
import threading
from weakref import ref

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

import fake_cupy
import rgru
from fake_cupy import Gpu, Hazard, Machine, bindings
from fake_host import FEATURES, TOLERANCE, H, close, gru_of
from kernel_cases import slow
from layer_cases import normal, with_biases
from rgru._cuda import device as devices
from rgru._cuda import plan as plans
from rgru._cuda.device import Device
from rgru._cuda.kernel_config import CellSpec, Chip, Exchange, Precision
from rgru._cuda.sequences import Sequences
from rgru._cuda.stack import Weights


def variants(*exchanges):
    """Test exchanges (None: steps) with both cells; by default few of them."""
    return pytest.mark.parametrize(
        ("exchange", "reset_after"),
        [
            pytest.param(
                *(exchange, reset_after),
                id=f"{'STEPS' if exchange is None else exchange.name}-reset_{'after' if reset_after else 'before'}",
                marks=() if (exchange, reset_after) in ((Exchange.BLOCK, True), (None, False)) else pytest.mark.slow,
            )
            for exchange in exchanges
            for reset_after in (False, True)
        ],
    )


# -- the fake ------------------------------------------------------------------------------------------------------


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


# -- the same numbers ----------------------------------------------------------------------------------------------


@variants(*Exchange, None)
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
def test_tf32(host):
    gru, x = gru_of(), normal(3, 5, FEATURES)
    rgru.gpu.allow_tf32(True)
    try:
        y, _ = gru(host.cupy.asarray(x))
    finally:
        rgru.gpu.allow_tf32(False)
    error = np.abs(y.get() - gru(x)[0]).max()
    assert 1e-6 < error < 2e-3


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
    class Tensor:
        """An array of a library with an old version of DLPack."""

        def __init__(self, array):
            self.array = array

        def __dlpack__(self, stream=None):
            return self.array.__dlpack__(stream=stream)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    class Old:
        def __init__(self, array):
            self.array = array

        @property
        def __cuda_array_interface__(self):
            return self.array.__cuda_array_interface__

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


# -- streams and graphs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", [Exchange.BLOCK, None], ids=["BLOCK", "STEPS"])
def test_weights_of_one_stream_on_others(host, exchange):
    host.form(exchange)
    gru, x = gru_of(bidirectional=True, num_layers=2), normal(3, 5, FEATURES)
    cupy, expected = host.cupy, gru(x)[0]
    results = []
    for _ in range(2):
        for stream in [cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(), cupy.cuda.Stream(null=True)]:
            with stream:
                there = cupy.asarray(x)
                y, h_n, tape = gru.record(there)
                results.append((stream, there, gru(there)[0], y, tape.backward(y, h_n)))
    wanted = gru.record(x)[2].backward(*gru(x)).flat
    for stream, _, called, y, gradients in results:
        with stream:
            close(called, expected)
            close(y, expected)
            close(gradients.flat, wanted)


def test_threads(host):
    host.form(None)
    gru, x = gru_of(bidirectional=True), normal(3, 5, FEATURES)
    there, found = host.cupy.asarray(x), []
    host.machine.synchronize()

    def work():
        with host.cupy.cuda.Stream(non_blocking=True):
            found.append(gru(there)[0].get())

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    for one in found:
        np.testing.assert_allclose(one, gru(x)[0], atol=1e-5)


@pytest.mark.parametrize("steps", range(1, 9))
def test_steps_through_graphs(host, steps):
    """Any number of steps, through graphs of two."""
    host.form(None)
    gru, x = gru_of(num_layers=2, bidirectional=True), normal(3, steps, FEATURES)
    expected, _, host_tape = gru.record(x)
    y, _, tape = gru.record(host.cupy.asarray(x))
    close(y, expected)
    close(tape.backward(y).flat, host_tape.backward(expected).flat)


def test_graphs_are_kept_until_they_have_run(host, monkeypatch):
    host.form(None)
    gru, there = gru_of(), host.cupy.asarray(normal(3, 9, FEATURES))
    graphs = []
    init = fake_cupy.Graph.__init__
    monkeypatch.setattr(fake_cupy.Graph, "__init__", lambda self, *args: graphs.append(ref(self)) or init(self, *args))
    for _ in range(12):
        gru(there)
    assert len([one for one in graphs if one() is not None]) == 12
    host.machine.synchronize()
    gru(there)
    assert len([one for one in graphs if one() is not None]) == 1
    host.machine.synchronize()


def test_a_way_back_on_a_new_thread_captures_nothing_that_is_not_loaded(host):
    host.form(None)
    gru, x = gru_of(), normal(3, 6, FEATURES)
    y, _, tape = gru.record(host.cupy.asarray(x))
    found = []
    thread = threading.Thread(target=lambda: found.append(tape.backward(y).flat))
    thread.start()
    thread.join()
    close(found[0], gru.record(x)[2].backward(gru(x)[0]).flat)


def test_a_capture_that_another_thread_breaks(host, monkeypatch):
    """Another thread waits for the whole device: then steps are launched one by one."""
    host.form(None)
    gru, x = gru_of(bidirectional=True), normal(3, 9, FEATURES)
    there, refused = host.cupy.asarray(x), []
    multiply = Device.multiply

    def wait():
        with pytest.raises(fake_cupy.CUDARuntimeError, match="Unsupported"):
            host.cupy.cuda.Device(0).synchronize()
        refused.append(1)

    def broken(device, *args, **options):
        if device.capturing and len(refused) < 2:
            thread = threading.Thread(target=wait)
            thread.start()
            thread.join()
        multiply(device, *args, **options)

    monkeypatch.setattr(Device, "multiply", broken)
    close(gru(there)[0], gru(x)[0])
    assert refused == [1, 1]
    close(gru(there)[0], gru(x)[0])


@variants(Exchange.BLOCK, None)
def test_a_call_in_a_graph(host, exchange, reset_after):
    host.form(exchange)
    gru, cupy = gru_of(bidirectional=True, num_layers=2, reset_after=reset_after), host.cupy
    x, dy = normal(2, 5, FEATURES), normal(2, 5, 2 * H)
    lengths = np.array([5, 3])
    with cupy.cuda.Stream(non_blocking=True) as stream:
        there, gradient, length = cupy.asarray(x), cupy.asarray(dy), cupy.asarray(lengths)
        called = gru(there, lengths=length)
        back = gru.record(there)[2].backward(gradient)
        stream.begin_capture()
        called = gru(there, lengths=length)
        back = gru.record(there)[2].backward(gradient)
        graph = stream.end_capture()
        for seed in range(3):
            x, lengths = normal(2, 5, FEATURES, seed=seed), np.array([seed, 5])
            there.set(x)
            length.set(lengths)
            graph.launch()
            gru(there)  # at the same time
            for found, expected in zip(called, gru(x, lengths=lengths), strict=True):
                close(found, expected)
            wanted = gru.record(x)[2].backward(dy)
            close(back.flat, wanted.flat)
            close(back.x, wanted.x)
        stream.synchronize()


def test_a_capture_on_a_thread_that_has_not_called_before(host):
    gru, there = gru_of(), host.cupy.asarray(normal(2, 5, FEATURES))
    gru(there)
    host.machine.synchronize()
    errors = []

    def work():
        with host.cupy.cuda.Stream(non_blocking=True) as stream:
            stream.begin_capture()
            try:
                gru(there)
            except RuntimeError as error:
                errors.append(str(error))
            stream.end_capture()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == ["a thread has to call a GRU once before it captures a call into a graph"]


def test_a_graph_outlives_a_change_of_the_parameters(host):
    """The graph uses the parameters of its capture."""
    gru, cupy, x = gru_of(), host.cupy, normal(2, 5, FEATURES)
    expected = gru(x)[0]
    with cupy.cuda.Stream(non_blocking=True) as stream:
        there = cupy.asarray(x)
        gru(there)
        stream.begin_capture()
        y, _ = gru(there)
        graph = stream.end_capture()
        gru.params["layers.0.fwd.b"] = gru.params["layers.0.fwd.b"] * 2
        close(gru(there)[0], gru(x)[0])
        graph.launch()
        close(y, expected)


def test_a_graph_launched_elsewhere_waits_for_the_weights(host):
    gru, cupy, x = gru_of(), host.cupy, normal(2, 5, FEATURES)
    other = cupy.cuda.Stream(non_blocking=True)
    with other:
        there = cupy.asarray(x)
        other.synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        gru(there)
        stream.begin_capture()
        y, _ = gru(there)
        graph = stream.end_capture()
        graph.launch(other)
    with other:
        close(y, gru(x)[0])
    host.machine.synchronize()


def test_a_graph_and_concurrent_work(host):
    """It does not write to memory that calls on the stream of its capture write to."""
    host.form(None)
    gru, cupy, x = gru_of(bidirectional=True), host.cupy, normal(2, 5, FEATURES)
    other = cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        there = cupy.asarray(x)
        gru(there)
        captured = []
        for _ in range(2):
            stream.begin_capture()
            y, _ = gru(there)
            captured.append((stream.end_capture(), y))
        stream.synchronize()
        captured[0][0].launch(other)
        captured[1][0].launch(stream)
        close(gru(there)[0], gru(x)[0])
        close(captured[1][1], gru(x)[0])
    with other:
        close(captured[0][1], gru(x)[0])


@pytest.mark.parametrize("what", ["weights", "shape", "lengths", "ragged", "order", "type"])
def test_what_cannot_be_captured(host, what):
    gru, cupy = gru_of(dtype="float64" if what == "type" else "float32"), host.cupy
    with cupy.cuda.Stream(non_blocking=True) as stream:
        x = cupy.asarray(normal(2, 5, FEATURES, dtype=gru.dtype))
        short = cupy.asarray(normal(2, 5, FEATURES))
        if what != "weights":
            gru(x)
        lengths = np.array([5, 3])
        stream.begin_capture()
        call, message = {
            "weights": (lambda: gru(x), "call once before the capture"),
            "shape": (lambda: gru.record(x)[2].backward(x[:, :, :1] + cupy.zeros(H, x.dtype)), "called once"),
            "lengths": (lambda: gru(x, lengths=lengths), "copies from the host cannot be captured"),
            "ragged": (lambda: gru(rgru.Ragged(x.reshape(10, FEATURES), [0, 5, 10])), "copies from the host"),
            "order": (lambda: gru(x.transpose(1, 0, 2)), "^x: expected a C-contiguous array of float32 .* captured"),
            "type": (lambda: gru(short), "^x: expected a C-contiguous array of float64 .* captured"),
        }[what]
        with pytest.raises(RuntimeError, match=message):
            call()
        stream.end_capture()
        gru(x)
        stream.synchronize()


# -- parameters ----------------------------------------------------------------------------------------------------


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


# -- two GPUs ------------------------------------------------------------------------------------------------------


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


# -- errors --------------------------------------------------------------------------------------------------------


def test_bad_arguments(host):
    gru, put = gru_of(), host.cupy.asarray
    x = put(normal(2, 5, FEATURES))
    for call, error, message in (
        (lambda: gru(x, normal(1, 2, H)), TypeError, r"^h0: expected an array on the GPU.*cupy\.asarray"),
        (lambda: gru(normal(2, 5, FEATURES), put(normal(1, 2, H))), TypeError, "^h0: expected an array on the CPU"),
        (lambda: gru(normal(2, 5, FEATURES), lengths=put(np.array([1, 2]))), TypeError, "^lengths: .* on the CPU"),
        (lambda: gru(x.astype("float64")), TypeError, "^x: expected float32, got float64"),
        (lambda: gru(x.astype("int64")), TypeError, "^x: expected float32, got int64"),
        (lambda: gru(x, put(normal(1, 2, H)).astype("float64")), TypeError, "^h0: expected float32, got float64"),
        (lambda: gru(x[0]), ValueError, "^x: expected 3 dimensions"),
        (lambda: gru(x[:, :, :2]), ValueError, "^x: expected last dimension 3"),
        (lambda: gru(x, put(normal(1, 3, H))), ValueError, "^h0: expected shape"),
        (lambda: gru(x, lengths=[1, 6]), ValueError, "^lengths: expected values in 0..=5, got 6"),
        (lambda: gru(x, lengths=put(np.array([1.0, 2.0]))), TypeError, "^lengths: expected integers"),
        (lambda: gru(x, lengths=put(np.array([1]))), ValueError, "^lengths: expected shape"),
        (lambda: gru.record(x, checkpoint=128), ValueError, "^checkpoint"),
        (lambda: gru.record(x)[2].backward(normal(2, 5, H)), TypeError, "^dy: expected an array on the GPU"),
        (lambda: gru.record(x)[2].backward(put(normal(2, 4, H))), ValueError, "^dy: expected shape"),
        (lambda: gru.record(x)[2].backward(None, put(normal(1, 1, H))), ValueError, "^dh_n: expected shape"),
    ):
        with pytest.raises(error, match=message):
            call()
    close(gru(x, lengths=put(np.array([-1, 9])))[0], gru(x.get(), lengths=[0, 5])[0])  # cut, without a look


def test_no_cupy(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"CuPy, which cannot be imported.*pip install"):
        rgru._backends.cuda.open_backend("cuda:0")


def test_a_cupy_that_cannot_be_imported(host, monkeypatch):
    """For example, its import creates a folder for its cache."""

    class Finder:
        def find_spec(self, name, path, target=None):
            if name == "cupy":
                raise PermissionError(13, "Permission denied", "/home/.cupy")

    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"cannot be imported .*Permission denied: '/home/\.cupy'"):
        rgru._backends.cuda.open_backend("cuda:0")


def test_old_cupy(host, monkeypatch):
    monkeypatch.setattr(host.cupy, "__version__", "13.4.1")
    with pytest.raises(ImportError, match=r"needs CuPy 14 or newer, got 13\.4\.1"):
        rgru._backends.cuda.open_backend("cuda:0")


@pytest.mark.parametrize(
    ("machine", "device", "message"),
    [
        (Machine(driver=0), "cuda:0", "there is no NVIDIA driver"),
        (Machine(driver=12080), "cuda:0", r"supports CUDA 12\.8, and CuPy needs CUDA 13\.2; update .*cupy-cuda12x"),
        (Machine(Gpu(capability=0)), "cuda:0", "no GPU: cudaErrorNoDevice"),
        (Machine(), "cuda:1", "device: expected a GPU from 0 to 0, got 1"),
        (Machine(Gpu(capability=70)), "cuda:0", r"compute capability 7\.5 or more, got 7\.0 \(GPU 0\)"),
    ],
)
def test_no_such_gpu(host, machine, device, message):
    host.put(machine)
    with pytest.raises(RuntimeError, match=message):
        rgru._backends.cuda.open_backend(device)
    if device == "cuda:0":
        assert rgru.info()["gpus"] == []


def test_names_of_gpus(host, monkeypatch):
    host.put(Machine(Gpu(), Gpu()))
    monkeypatch.setattr("rgru._runtime.find_spec", lambda name: name)
    assert rgru.info()["gpus"] == ["Fake 0", "Fake 1"]


def test_too_little_memory(host):
    gru, there = gru_of(), host.cupy.asarray(normal(2, 5, FEATURES))
    y, h_n, tape = gru.record(there)
    tape.backward(y, h_n)
    gpu = host.machine.gpus[0]
    gpu.memory = gpu.taken
    message = "^GPU 0: not enough memory .*smaller batches"
    for call in (lambda: gru(there), lambda: gru.record(there), lambda: tape.backward(y, h_n)):
        with pytest.raises(MemoryError, match=message):
            call()
    with pytest.raises(MemoryError, match=message):
        rgru.GRUClassifier(hidden_size=H, device="cuda", max_epochs=1).fit(normal(20, 5, FEATURES), [0, 1] * 10)
    gpu.memory = 1 << 36
    close(gru(there)[0], gru(there.get())[0])


def test_a_partitioned_gpu_has_no_room(host):
    host.put(Machine(Gpu()))
    host.monkeypatch.setattr("fake_cupy.kernels.blocks_at_once", lambda *_: 0)
    with pytest.raises(RuntimeError, match="expected room for"):
        gru_of()(host.cupy.asarray(normal(2, 5, FEATURES)))


# -- clusters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", slow([1, 4, 8, 16], [1]))
def test_clusters_that_a_part_of_a_gpu_has_no_room_for_are_not_chosen(host, most):
    host.put(Machine(Gpu(cluster=most, multiprocessors=132)))
    device, cell = devices.open_device(0), CellSpec(Precision.FLOAT32, True, 128, False)
    assert device.chip.clusters == tuple((size, 132 // size if size <= most else 0) for size in (2, 4, 8, 16))
    sizes = {one.blocks for one in plans.launch_shapes(device.chip, cell, 2, 1) if one.exchange is Exchange.CLUSTER}
    assert sizes == {size for size in (2, 4, 8, 16) if size <= most}
    if most > 1:
        shapes = [one for one in plans.launch_shapes(device.chip, cell, 2, 1) if one.exchange is Exchange.CLUSTER]
        host.monkeypatch.setattr(Device, "plan", lambda *_: max(shapes, key=lambda one: (one.blocks, one.slices)))
        gru, x = rgru.GRU(FEATURES, 128, reset_after=True, seed=0), normal(2, 2, FEATURES)
        close(gru(host.cupy.asarray(x))[0], gru(x)[0])


@pytest.mark.parametrize("why", ["no bindings", "no such function", "an error"])
def test_a_driver_that_does_not_report_the_room_for_clusters(host, why):
    if why == "no bindings":
        host.monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    else:

        def ask(func, config):
            if why == "no such function":
                raise RuntimeError('Function "cuOccupancyMaxActiveClusters" not found')
            return bindings.CUresult.CUDA_ERROR_UNKNOWN, 0

        host.monkeypatch.setattr(bindings.driver, "cuOccupancyMaxActiveClusters", ask)
    assert devices.open_device(0).chip == Chip(90, 8, 232448)


def test_older_chips_are_not_asked_about_clusters(host):
    host.put(Machine(Gpu(capability=80)))
    assert devices.open_device(0).chip == Chip(80, 8, 232448)
    assert not host.machine.functions


def test_the_fake_bindings_have_the_names_and_numbers_of_the_real_ones():
    real = pytest.importorskip("cuda.bindings.driver")
    for kind in ("CUlaunchAttribute", "CUlaunchConfig"):
        for name in getattr(bindings, kind).__slots__:
            assert hasattr(getattr(real, kind)(), name)
    for name in bindings.Dimensions.__slots__:
        assert hasattr(real.CUlaunchAttribute().value.clusterDim, name)
    for kind in ("CUresult", "CUlaunchAttributeID"):
        for one in getattr(bindings, kind):
            assert getattr(getattr(real, kind), one.name) == one
    assert int(real.CUfunction(77)) == 77
    config, attribute = real.CUlaunchConfig(), real.CUlaunchAttribute()
    attribute.id = real.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
    cluster = attribute.value.clusterDim
    cluster.x, cluster.y, cluster.z = 4, 1, 1
    config.attrs = [attribute]
    assert config.attrs[0].value.clusterDim.x == 4, "attributes are not copies"


# -- products ------------------------------------------------------------------------------------------------------


def test_products(host):
    """Multiply matrices of all orders, parts of matrices, and sizes of one."""
    device, cupy = devices.open_device(0), host.cupy

    def operand(rows, columns, how, seed):
        if how == "turned":
            return cupy.asarray(normal(columns, rows, seed=seed)).T
        if how == "part":
            return cupy.asarray(normal(rows, columns + 3, seed=seed))[:, 1 : columns + 1]
        if how == "column" and columns == 1:
            return cupy.asarray(normal(rows, seed=seed))[:, None]  # of a stride of 0
        if how == "part turned":
            return cupy.asarray(normal(columns, rows + 3, seed=seed))[:, 1 : rows + 1].T
        return cupy.asarray(normal(rows, columns, seed=seed))

    sizes = [
        (2, 3, 4),
        (1, 3, 4),
        (2, 1, 4),
        (2, 3, 1),
        (1, 1, 4),
        (1, 3, 1),
        (2, 1, 1),
        (1, 1, 1),
        (0, 2, 3),
        (2, 0, 3),
    ]
    hows = ("plain", "turned", "part", "part turned", "column")
    for m, k, n in sizes:
        for one in hows:
            for other in hows:
                for into in ("plain", "part"):
                    for add in (False, True):
                        a, b, out = operand(m, k, one, 0), operand(k, n, other, 1), operand(m, n, into, 2)
                        expected = a.get() @ b.get() + (out.get() if add else 0)
                        device.multiply(a, b, out, Precision.FLOAT32, add)
                        np.testing.assert_allclose(out.get(), expected, atol=1e-5)


def test_statuses_are_errors(host):
    array = host.cupy.asarray(normal(2, 2))
    host.library.cublasGemmEx_64._function = lambda *_: 13
    with pytest.raises(RuntimeError, match="cublasGemmEx failed with status 13"):
        devices.open_device(0).multiply(array, array, array, Precision.FLOAT32)
    assert ctypes.CDLL(None) is not None


def test_handles_of_ended_threads_are_used_again(host):
    """Destroying one would wait for the whole device, and invalidate captures of other threads."""
    gru, there = gru_of(), host.cupy.asarray(normal(2, 5, FEATURES))
    host.machine.synchronize()
    barrier = threading.Barrier(2)

    def work():
        with host.cupy.cuda.Stream(non_blocking=True) as stream:
            gru(there)
            stream.synchronize()
        barrier.wait()

    for _ in range(4):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(host.library.handles) == 2
    gru(there)
    assert len(host.library.handles) == 2
    host.machine.synchronize()


def test_workspaces_go_with_their_streams(host):
    gru, x = gru_of(), normal(2, 5, FEATURES)
    taken = []
    for _ in range(4):
        with host.cupy.cuda.Stream(non_blocking=True) as stream:
            gru(host.cupy.asarray(x))
            stream.synchronize()
        del stream
        taken.append(host.machine.gpus[0].taken)
    assert taken[-1] == taken[0] < 1 << 25


@pytest.mark.parametrize(("capability", "size"), [(75, 4), (86, 4), (90, 32), (100, 32), (120, 32)])
def test_workspaces_are_as_large_as_cublas_recommends(host, capability, size):
    host.put(Machine(Gpu(capability=capability)))
    gru_of()(host.cupy.asarray(normal(2, 5, FEATURES)))
    assert max(host.machine.allocated) == size << 20


# -- estimators and the command line -------------------------------------------------------------------------------


def test_an_estimator(host):
    options = {"hidden_size": H, "max_epochs": 2, "batch_size": 8, "random_state": 0, "bidirectional": True}
    x, labels = normal(20, 6, FEATURES), np.arange(20) % 2
    found = rgru.GRUClassifier(**options, device="cuda").fit(x, labels)
    expected = rgru.GRUClassifier(**options).fit(x, labels)
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(x), atol=1e-4)
    assert pickle.loads(pickle.dumps(found)).predict(x).tolist() == found.predict(x).tolist()


def test_rgru_predict(host, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rgru._cli import main

    x = normal(12, 6, FEATURES)
    model = rgru.GRUClassifier(hidden_size=H, max_epochs=1, random_state=0).fit(x, np.arange(12) % 2)
    model.save(tmp_path / "model.safetensors")
    table = pa.table({"sequence": pa.array([one.tolist() for one in x], pa.list_(pa.list_(pa.float32(), FEATURES)))})
    pq.write_table(table, tmp_path / "in.parquet")
    tables = []
    for device in ("cpu", "cuda"):
        to = tmp_path / f"{device}.parquet"
        command = ["predict", "model.safetensors", "in.parquet", "-o", str(to), "--device", device]
        command[1:3] = [str(tmp_path / name) for name in command[1:3]]
        assert not main(command)
        tables.append(pq.read_table(to))
    assert host.library.products
    assert tables[0].column_names == tables[1].column_names
    assert tables[0].num_rows == 12
