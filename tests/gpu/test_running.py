"""Calls on a GPU: streams, graphs, threads, memory, arrays of other libraries, errors."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

import rgru
from gpu_runs import BOUNDS, FORMS, Batch, agree, bits, close, force, gpu, random_gru, run, spin
from rgru import Ragged

pytestmark = gpu


def values(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# -- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stream_that_waits_for_no_other(cupy, monkeypatch, form, bidirectional):
    """x is written late and freed right after the call: all work, on other streams too, must be ordered between."""
    force(monkeypatch, form)
    gru = random_gru("float32", 8, 48, bidirectional=bidirectional)
    batch = Batch(gru, "float32", 6, 80)
    expected = run(gru, batch.x, batch.h0, batch.dy, batch.dh_n)
    wait, stream = spin(cupy), cupy.cuda.Stream(non_blocking=True)
    source = [cupy.asarray(array) for array in (batch.x, batch.h0, batch.dy, batch.dh_n)]
    arrays = [cupy.full_like(array, np.nan) for array in source]
    cupy.cuda.Device().synchronize()
    with stream:
        for _ in range(3):
            wait(30)
            for array, content in zip(arrays, source, strict=True):
                array[...] = content
            got = run(gru, *arrays)
            for array in arrays:
                array.fill(np.nan)
        stream.synchronize()
        agree(got, expected, "float32")


@pytest.mark.parametrize("form", FORMS)
def test_weights_that_are_made_on_another_stream(cupy, monkeypatch, form):
    """The first call, on a busy stream, copies and packs the weights; the second one, on another, needs them."""
    force(monkeypatch, form)
    gru = random_gru("float32", 8, 48, bidirectional=True)
    x = values(6, 70, 8)
    expected, _ = gru(x)
    given, wait = cupy.asarray(x), spin(cupy)
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    cupy.cuda.Device().synchronize()
    with streams[0]:
        wait(50)
        first, _ = gru(given)
    with streams[1]:
        second, _ = gru(given)
        streams[1].synchronize()
        close("the second call", second, expected, 1e-5)
    streams[0].synchronize()
    close("the first call", first, expected, 1e-5)


def test_two_streams_of_one_thread_at_once(cupy, monkeypatch):
    """Their graphs and products run concurrently, and must not write to the same memory."""
    force(monkeypatch, "STEPS")
    gru = random_gru("float16", 512, 512, reset_after=True)
    batches = [Batch(gru, "float16", 8, 200, seed=seed) for seed in range(2)]
    given = [batch.to(cupy, batch.x) for batch in batches]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    expected = [bits({"y": gru(x)[0]}) for x in given]
    cupy.cuda.Device().synchronize()
    for _ in range(5):
        got = []
        for stream, x in zip(streams, given, strict=True):
            with stream:
                got.append(gru(x)[0])
        cupy.cuda.Device().synchronize()
        assert [bits({"y": y}) for y in got] == expected


@pytest.mark.parametrize("form", FORMS)
def test_the_host_waits_for_nothing(cupy, monkeypatch, form):
    force(monkeypatch, form)
    # Not step by step in two directions: some thousand launches wait in a queue, and then the host does.
    gru = random_gru("float32", 8, 48, bidirectional=form != "STEPS")
    batch = Batch(gru, "float32", 6, 70)
    x, h0, dy, dh_n = (cupy.asarray(array) for array in (batch.x, batch.h0, batch.dy, batch.dh_n))
    lengths, offsets = np.array([70, 3, 0, 50, 20, 70]), np.arange(7) * 70
    ragged = Ragged(x.reshape(-1, 8), offsets)
    kept = gru.record(x, h0)[2]
    calls = {
        "a call": lambda: gru(x, h0),
        "lengths on the host": lambda: gru(x, lengths=lengths),
        "lengths on the device": lambda: gru(x, lengths=on_device),
        "a Ragged": lambda: gru(ragged),
        "forward": lambda: gru.record(x, h0),
        "backward": lambda: kept.backward(dy, dh_n),
        "forward and backward with lengths": lambda: gru.record(x, h0, lengths=on_device)[2].backward(dy, dh_n),
    }
    on_device = cupy.asarray(lengths)
    wait, stream = spin(cupy), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    waited = []
    with stream:
        for name, call in calls.items():
            for _ in range(2):
                call()
            wait(1)
            stream.synchronize()
            wait(150)
            spun = stream.record()
            begun = time.perf_counter()
            call()
            seconds = time.perf_counter() - begun
            if spun.done:
                waited.append(f"{name} ({1e3 * seconds:.0f} ms)")
            stream.synchronize()
    assert not waited


# -- graphs ----------------------------------------------------------------------------------------------------------


def captured(cupy, stream, work):
    """Capture `work` into a graph."""
    stream.begin_capture()
    try:
        found = work()
    finally:
        graph = stream.end_capture()
    return graph, found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_captured_graph(cupy, monkeypatch, form, bidirectional):
    """It is launched with other numbers in the same arrays, after other allocations and calls."""
    force(monkeypatch, form)
    gru = random_gru("float32", 8, 48, 2, bidirectional=bidirectional)
    batches = [Batch(gru, "float32", 6, 40, seed=seed) for seed in range(3)]
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        first = batches[0]
        arrays = [cupy.asarray(array) for array in (first.x, first.h0, first.dy, first.dh_n)]
        run(gru, *arrays)
        graph, got = captured(cupy, stream, lambda: run(gru, *arrays))
        for batch in batches:
            junk = [cupy.full(1 << size, np.nan, np.float32) for size in range(6, 20) for _ in range(3)]
            gru(cupy.full((3, 7, 8), np.nan, np.float32))  # another shape, so another place of sequences
            numbers = [cupy.full(1 << size, -1, np.int32) for size in range(2, 12) for _ in range(5)]
            for array, content in zip(arrays, (batch.x, batch.h0, batch.dy, batch.dh_n), strict=True):
                array.set(content)
            graph.launch()
            stream.synchronize()
            agree(got, run(gru, batch.x, batch.h0, batch.dy, batch.dh_n), "float32")
            del junk, numbers
            close("a plain call", gru(arrays[0])[0], gru(batch.x)[0], 1e-5)


def test_lengths_on_the_device_in_a_graph(cupy):
    gru = random_gru("float32", 8, 48, bidirectional=True)
    x, stream = values(5, 20, 8), cupy.cuda.Stream(non_blocking=True)
    with stream:
        given, lengths = cupy.asarray(x), cupy.full(5, 20)
        gru(given, lengths=lengths)
        graph, (y, _) = captured(cupy, stream, lambda: gru(given, lengths=lengths))
        for fresh in ([0, 20, 3, 7, 19], [1, 1, 1, 20, 0]):
            lengths.set(np.array(fresh))
            graph.launch()
            stream.synchronize()
            close("y", y, gru(x, lengths=fresh)[0], 1e-5)


def test_a_first_call_cannot_be_captured(cupy):
    """Its weights would not exist before the graph has run."""
    gru, stream = random_gru("float32", 8, 48), cupy.cuda.Stream(non_blocking=True)
    x = values(3, 5, 8)
    with stream:
        given = cupy.asarray(x)
        stream.synchronize()
        with pytest.raises(RuntimeError, match=r"(?i)captur"):
            captured(cupy, stream, lambda: gru(given))
        close("y", gru(given)[0], gru(x)[0], 1e-5)


# -- threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["CLUSTER", "GRID", "PACKETS", "STEPS"])
@pytest.mark.parametrize("own_streams", [False, True])
def test_threads(cupy, monkeypatch, form, own_streams):
    """Four threads call one GRU with arrays of two shapes alternately."""
    force(monkeypatch, form)
    gru = random_gru("float32", 8, 48, bidirectional=True)
    arrays = [cupy.asarray(values(5 + n % 2, 70, 8, seed=n)) for n in range(8)]
    expected = [bits({"y": gru(x)[0]}) for x in arrays]
    cupy.cuda.Device().synchronize()
    wrong, begin = [], threading.Barrier(4)

    def work(number):
        with cupy.cuda.Device(0), cupy.cuda.Stream(non_blocking=True) if own_streams else cupy.cuda.Stream.null:
            begin.wait()
            for turn in range(25):
                n = (number + turn) % len(arrays)
                try:
                    if bits({"y": gru(arrays[n])[0]}) != expected[n]:
                        wrong.append((number, turn, "other bits"))
                except Exception as error:
                    wrong.append((number, turn, repr(error)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_another_thread_that_waits_for_the_whole_device(cupy, monkeypatch):
    """CUDA refuses such a wait while steps are captured, and invalidates the capture."""
    force(monkeypatch, "STEPS")
    gru, done = random_gru("float32", 8, 48, bidirectional=True), threading.Event()
    x = cupy.asarray(values(5, 200, 8))
    expected = bits({"y": gru(x)[0]})

    def wait():
        while not done.is_set():
            try:
                cupy.cuda.Device(0).synchronize()
            except cupy.cuda.runtime.CUDARuntimeError as error:
                assert "Capture" in str(error)  # noqa: PT017 - most waits succeed

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        assert [bits({"y": gru(x)[0]}) for _ in range(50)] == [expected] * 50
    finally:
        done.set()
        thread.join()


def test_threads_that_come_and_go_leave_nothing(cupy, monkeypatch):
    """Each thread has its own streams and workspaces, and reuses the cuBLAS handle of the previous one."""
    force(monkeypatch, "STEPS")
    gru, pool = random_gru("float32", 8, 48, bidirectional=True), cupy.get_default_memory_pool()
    x = cupy.asarray(values(5, 70, 8))

    def in_a_thread():
        thread = threading.Thread(target=lambda: gru(x))
        thread.start()
        thread.join()
        cupy.cuda.Device().synchronize()
        gc.collect()
        return cupy.cuda.Device().mem_info[0], pool.used_bytes()

    for _ in range(3):
        free, used = in_a_thread()
    for _ in range(10):
        free_after, used_after = in_a_thread()
    assert used_after == used
    assert free - free_after < 64 << 20


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_hundred_calls_leave_nothing(cupy, monkeypatch, form):
    force(monkeypatch, form)
    gru = random_gru("float32", 8, 48, 2, bidirectional=True)
    batch, pool = Batch(gru, "float32", 6, 70), cupy.get_default_memory_pool()
    arrays = [cupy.asarray(array) for array in (batch.x, batch.h0, batch.dy, batch.dh_n)]
    lengths = cupy.asarray([70, 3, 0, 50, 20, 70])

    def work():
        run(gru, *arrays)
        run(gru, *arrays, lengths=lengths)
        gc.collect()
        return pool.used_bytes()

    for _ in range(3):
        used = work()
    total = pool.total_bytes()
    assert {work() for _ in range(50)} == {used}
    assert pool.total_bytes() == total


def test_memory_that_is_short(cupy):
    gru, pool = random_gru("float32", 16, 256), cupy.get_default_memory_pool()
    small, x = values(2, 3, 16), cupy.zeros((64, 1000, 16), np.float32)
    gru(cupy.asarray(small))
    cupy.cuda.Device().synchronize()
    gc.collect()
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + (8 << 20))
    try:
        with pytest.raises(MemoryError):
            gru(x)
        with pytest.raises(MemoryError):
            gru.record(x)
    finally:
        pool.set_limit(size=0)
    close("y", gru(cupy.asarray(small))[0], gru(small)[0], 1e-5)
    assert gru(x)[0].shape == (64, 1000, 256)


# -- other libraries' arrays, other GPUs -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_tensors_of_torch(cupy, torch, kind):
    gru = random_gru("float32", 8, 48)
    x = torch.randn(3, 9, 8, device="cuda", dtype=getattr(torch, kind))
    before = x.clone()
    y, h_n = gru(x)
    assert isinstance(y, cupy.ndarray)
    back = torch.from_dlpack(y)
    assert back.data_ptr() == y.data.ptr
    assert back.dtype == x.dtype
    assert torch.equal(x, before)
    close("y", back.float().cpu(), gru(x.float().cpu().numpy())[0], BOUNDS[kind])
    assert torch.from_dlpack(h_n).shape == (1, 3, 48)


def test_a_tensor_on_torch_s_own_stream(cupy, torch):
    """The libraries synchronise their streams in both directions: x is written late, and y is waited for."""
    gru, x = random_gru("float32", 8, 48), values(3, 9, 8)
    source, given = torch.tensor(x, device="cuda"), torch.full((3, 9, 8), float("nan"), device="cuda")
    gru(source)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        given.copy_(source)
        y, _ = gru(given)
        result = torch.from_dlpack(y) + 0
        torch.cuda.current_stream().synchronize()
    close("y", result.cpu(), gru(x)[0], 1e-5)


def test_the_second_gpu(cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU only")
    gru, x = random_gru("float32", 8, 48, bidirectional=True), values(3, 9, 8)
    expected, _ = gru(x)
    for index in (1, 0):
        with cupy.cuda.Device(index):
            given = cupy.asarray(x)
        y, _, tape = gru.record(given)  # device 0 is the current one
        grads = tape.backward(y)
        assert y.device.id == grads.x.device.id == grads.flat.device.id == index
        close("y", y, expected, 1e-5)


# -- errors ----------------------------------------------------------------------------------------------------------


def test_errors_name_the_argument(cupy):
    gru = rgru.GRU(3, 8, 2, bidirectional=True, seed=0)
    x, h0 = cupy.zeros((2, 5, 3), np.float32), cupy.zeros((4, 2, 8), np.float32)
    y, _, tape = gru.record(x)
    wrong = [
        (TypeError, r"^h0: expected an array on the GPU", lambda: gru(x, h0.get())),
        (TypeError, r"^x: expected float32, got float64", lambda: gru(x.astype(np.float64))),
        (TypeError, r"^x: expected float32, got int64", lambda: gru(x.astype(np.int64))),
        (TypeError, r"^x: expected float32, got complex64", lambda: gru(x.astype(np.complex64))),
        (TypeError, r"^h0: expected float16, got float32", lambda: gru(x.astype(np.float16), h0)),
        (ValueError, r"^x: expected 3 dimensions", lambda: gru(x[0])),
        (ValueError, r"^x: expected last dimension 3 \(input_size\), got 2", lambda: gru(x[..., :2])),
        (ValueError, r"^h0: expected shape \(4, 2, 8\), got \(4, 1, 8\)", lambda: gru(x, h0[:, :1])),
        (ValueError, r"^h0: expected 3 dimensions", lambda: gru(x, h0[0])),
        (ValueError, r"^lengths: expected shape \(2,\), got \(3,\)", lambda: gru(x, lengths=[1, 2, 3])),
        (ValueError, r"^lengths: expected shape \(2,\), got \(1,\)", lambda: gru(x, lengths=cupy.ones(1, int))),
        (ValueError, r"^lengths: expected values in 0..=5, got 6 at position 1", lambda: gru(x, lengths=[1, 6])),
        (ValueError, r"^lengths: expected 1 dimension", lambda: gru(x, lengths=cupy.ones((2, 1), int))),
        (TypeError, r"^lengths: expected integers, got float32", lambda: gru(x, lengths=cupy.ones(2, np.float32))),
        (TypeError, r"^dy: expected an array on the GPU", lambda: tape.backward(y.get())),
        (ValueError, r"^dy: expected shape", lambda: tape.backward(y[:, :2])),
        (ValueError, r"^dh_n: expected shape", lambda: tape.backward(y, h0[:2])),
        (TypeError, r"^dy: expected float32, got float64", lambda: tape.backward(y.astype(np.float64))),
        (ValueError, r"^checkpoint", lambda: gru.record(x, checkpoint=128)),
        (TypeError, r"^x: .*on a GPU|^h0: .*on a GPU", lambda: gru(x.get(), h0)),
    ]
    for error, message, call in wrong:
        with pytest.raises(error, match=message):
            call()
    close("and still", gru(x)[0], gru(x.get())[0], 1e-6)


def test_a_tensor_that_needs_gradients_is_refused(cupy, torch):
    gru = rgru.GRU(3, 8, seed=0)
    with pytest.raises((RuntimeError, TypeError, BufferError), match="detach"):
        gru(torch.zeros(2, 5, 3, device="cuda", requires_grad=True))
