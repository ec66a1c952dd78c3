"""The pipeline over a device: correct for any schedule of the streams, overlapping, bounded, and clean at its end."""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest

from fake_cupy.machine import EAGER, LAZY, RANDOM, Event, Machine
from rgru import Ragged
from rgru._backends.cuda.transfer import pipelined


class Array:
    """An array of the device, whose operations run by the schedule."""

    def __init__(self, device, data):
        self.device, self.data = device, data
        self.shape, self.dtype, self.size = data.shape, data.dtype, data.size

    def __getitem__(self, key):
        return Array(self.device, self.data[key])

    def reshape(self, shape):
        return Array(self.device, self.data.reshape(shape))

    def set(self, host, stream):
        def copy():
            self.data[...] = host
            self.device.log.append(f"upload {host.flat[0]:.0f}" if host.size else "upload nothing")

        stream.put(copy)

    def get(self, out, stream, blocking):
        assert not blocking

        def copy():
            out[...] = self.data
            self.device.log.append(f"download {out.flat[0]:.0f}" if out.size else "download nothing")

        stream.put(copy)


class Device:
    def __init__(self, schedule=LAZY, seed=0):
        self.machine = Machine(schedule=schedule, seed=seed)
        self.compute = self.machine.queue("compute")
        self.xp = self
        self.log, self.pinned, self.depth = [], [], 0

    @contextmanager
    def here(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def empty(self, shape, dtype):
        """Allocate memory that earlier work of the current stream still writes to, as from a stream-ordered pool."""
        array = Array(self, np.full(shape, -1, dtype))
        self.compute.put(lambda: array.data.fill(-2))
        return array

    def pinned_empty(self, shape, dtype):
        array = np.full(shape, -3, dtype)
        self.pinned.append(weakref.ref(array))
        return array

    def stream(self):
        return self.machine.queue()

    def current_stream(self):
        assert self.depth > 0
        return self.compute

    def event(self):
        return Event()

    def run(self, values, offsets):
        """Compute twice the sum of each sequence (N, I)."""
        assert self.depth > 0
        result = Array(self, np.full((len(offsets) - 1, values.shape[1]), -4, values.dtype))

        def compute():
            for i, (start, end) in enumerate(pairwise(offsets)):
                result.data[i] = 2 * values.data[start:end].sum(axis=0)
            self.log.append(f"compute {values.data.flat[0]:.0f}" if values.size else "compute nothing")

        self.compute.put(compute)
        return result


def make_pieces(lengths):
    """Make pieces of two sequences; all numbers of piece k are k in its first sequence, k + 1/2 in its second."""
    pieces = []
    for k, length in enumerate(lengths):
        values = np.full((2 * length, 3), k, np.float32)
        values[length:] += 0.5
        pieces.append(Ragged(values, [0, length, 2 * length]))
    return pieces


def expected(piece):
    return np.stack([2 * one.sum(axis=0) for one in piece])


@pytest.mark.parametrize(
    ("schedule", "seed"), [(LAZY, 0), (EAGER, 0), *((RANDOM, seed) for seed in range(40))], ids=str
)
@pytest.mark.parametrize(
    "lengths", [[], [3], [3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 1, 0, 5, 0, 30, 2, 100, 1]], ids=len
)
def test_results_are_right_for_any_schedule(schedule, seed, lengths):
    device, pieces = Device(schedule, seed), make_pieces(lengths)
    found = list(pipelined(device, device.run, pieces))
    assert len(found) == len(pieces)
    for one, piece in zip(found, pieces, strict=True):  # compared at the end, so that none may share a buffer
        np.testing.assert_array_equal(one, expected(piece))
    assert device.machine.idle


def test_the_next_upload_does_not_wait_for_the_computation_and_a_download_not_for_the_next():
    device = Device(EAGER)
    device.machine.held.append(device.compute)  # it computes only when the host waits for it
    found = pipelined(device, device.run, make_pieces([4] * 6))  # results begin with 8 times the piece's number
    next(found)
    next(found)
    assert device.log[-2:] == ["compute 1", "download 8"]  # both slots have their memory now
    done = len(device.log)
    list(found)
    assert device.log[done:] == [
        *("upload 2", "upload 3", "compute 2", "download 16"),
        *("upload 4", "compute 3", "download 24"),
        *("upload 5", "compute 4", "download 32"),
        *("compute 5", "download 40"),
    ]


def test_pieces_are_consumed_one_ahead_of_the_results():
    device, taken = Device(), []

    def pieces():
        for piece in make_pieces([2] * 6):
            taken.append(piece)
            yield piece

    for count, _ in enumerate(pipelined(device, device.run, pieces()), start=1):
        assert len(taken) == min(count + 1, 6)
        assert device.depth == 0


def test_memory_does_not_grow_with_the_pieces():
    device = Device(RANDOM)
    lengths = np.random.default_rng(0).integers(1, 100, 200)
    found = pipelined(device, device.run, make_pieces(lengths))
    for _ in range(150):
        next(found)
        assert sum(one() is not None for one in device.pinned) <= 4
    assert len(device.pinned) <= 2 * (8 + 2)  # sizes of powers of two, of at most 600 and 6 numbers, in two places


@pytest.mark.parametrize("schedule", [LAZY, EAGER, RANDOM])
@pytest.mark.parametrize("failing", [0, 1, 2, 5])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("where", ["pieces", "run", "pinned_empty"])
def test_errors_leave_no_copy_in_flight(schedule, failing, error, where):
    device, count = Device(schedule), 0
    pieces = make_pieces([2, 4, 8, 16, 32, 64, 128])  # each needs new buffers

    def fails_at(function):
        def call(*arguments):
            nonlocal count
            count += 1
            if count > failing:
                raise error("now")
            return function(*arguments)

        return call

    run = device.run
    if where == "run":
        run = fails_at(device.run)
    elif where == "pinned_empty":
        device.pinned_empty = fails_at(device.pinned_empty)
    else:
        pieces = map(fails_at(lambda piece: piece), pieces)
    found = pipelined(device, run, pieces)
    with pytest.raises(error, match="now"):
        list(found)
    assert all(not stream.work for stream in device.machine.queues if stream is not device.compute)
    assert device.depth == 0
    del found
    gc.collect()
    assert next(pipelined(device, device.run, make_pieces([2])), None) is not None if where != "pinned_empty" else True


@pytest.mark.parametrize("results", [1, 2, 3])
def test_closing_early_leaves_no_copy_in_flight(results):
    device = Device()
    found = pipelined(device, device.run, make_pieces([4] * 5))
    for _ in range(results):
        next(found)
    found.close()
    assert all(not stream.work for stream in device.machine.queues if stream is not device.compute)
    assert device.depth == 0
