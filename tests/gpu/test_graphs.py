"""Streams, threads and graphs on a fake CuPy."""

from __future__ import annotations

import threading
from weakref import ref

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

import fake_cupy
import rgru
from fake_host import FEATURES, H, Tensor, close, forms_and_cells, gru_of
from layer_cases import normal
from rgru._cuda.device import Device
from rgru._cuda.kernel_config import Exchange


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


@forms_and_cells(Exchange.BLOCK, None)
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


@pytest.mark.parametrize("captured", ["the same stream", "one that the default stream waits for"])
def test_an_array_of_another_library_that_goes_during_a_capture(host, captured):
    """No event can be recorded then, and the work before the capture may still read the array."""
    gru, cupy, x = gru_of(), host.cupy, normal(2, 5, FEATURES)
    stream, theirs = cupy.cuda.Stream(), cupy.cuda.Stream(non_blocking=True)
    with stream if captured == "the same stream" else cupy.cuda.Stream(null=True) as used:
        with theirs:
            made = cupy.asarray(x)
        theirs.synchronize()
        memory, tape = ref(made.data.mem), gru.record(Tensor(made))[2]
        del made
        stream.begin_capture()
        del tape
        assert memory() is not None
        stream.end_capture()
        gru(Tensor(cupy.asarray(x)))
        assert memory() is not None
        used.synchronize()
        gru(Tensor(cupy.asarray(x)))
        assert memory() is None
    host.machine.synchronize()


def test_an_array_of_another_library_in_a_graph(host):
    """Whoever launches the graph writes new numbers to it, and has to keep it, as an array of CuPy."""
    gru, cupy = gru_of(), host.cupy
    with cupy.cuda.Stream(non_blocking=True) as stream:
        there = cupy.asarray(normal(2, 5, FEATURES))
        gru(Tensor(there))
        stream.begin_capture()
        y, _ = gru(Tensor(there))
        graph = stream.end_capture()
        for seed in range(2):
            x = normal(2, 5, FEATURES, seed=seed)
            there.set(x)
            graph.launch()
            close(y, gru(x)[0])
        memory = ref(there.data.mem)
        del there
        gru(Tensor(cupy.asarray(x)))
        stream.synchronize()
        gru(Tensor(cupy.asarray(x)))
        assert memory() is None
        stream.synchronize()


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
