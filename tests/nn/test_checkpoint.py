"""Checkpoints: less memory, the same bits."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import rgru


def arrays(gru: rgru.GRU, batch: int, time: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(3)
    x = random.standard_normal((batch, time, gru.input_size)).astype(gru.dtype)
    dy = random.standard_normal((batch, time, gru.hidden_size)).astype(gru.dtype)
    return x, dy, random.standard_normal((gru.num_layers, batch, gru.hidden_size)).astype(gru.dtype)


@pytest.mark.parametrize("every", [1, 128, 150, 10_000])
@pytest.mark.parametrize("reset_after", [False, True])
def test_same_bits_as_without_checkpoints(reset_after: bool, every: int) -> None:
    gru = rgru.GRU(4, 10, 2, reset_after=reset_after, seed=0)
    x, dy, dh_n = arrays(gru, 3, 400)
    lengths = [400, 130, 0]
    y, h_n, tape = gru.record(x, lengths=lengths)
    kept_y, kept_h_n, kept = gru.record(x, lengths=lengths, checkpoint=every)
    np.testing.assert_array_equal(kept_y, y)
    np.testing.assert_array_equal(kept_h_n, h_n)
    expected, got = tape.backward(dy, dh_n), kept.backward(dy, dh_n)
    np.testing.assert_array_equal(got.x, expected.x)
    np.testing.assert_array_equal(got.h0, expected.h0)
    np.testing.assert_array_equal(got.flat, expected.flat)


def test_ragged_and_the_last_state_only() -> None:
    gru = rgru.GRU(4, 10, seed=0)
    values = np.random.default_rng(0).standard_normal((700, 4)).astype(np.float32)
    x = rgru.Ragged(values, [0, 300, 300, 700])
    dh_n = np.ones((1, 3, 10), np.float32)
    expected = gru.record(x)[2].backward(dh_n=dh_n)
    got = gru.record(x, checkpoint=128)[2].backward(dh_n=dh_n)
    np.testing.assert_array_equal(got.x.values, expected.x.values)
    np.testing.assert_array_equal(got.flat, expected.flat)


def test_y_may_be_overwritten() -> None:
    gru = rgru.GRU(4, 10, seed=0)
    x, dy, _ = arrays(gru, 2, 200)
    expected = gru.record(x)[2].backward(dy).flat
    y, _, tape = gru.record(x, checkpoint=128)
    y[:] = 0
    np.testing.assert_array_equal(tape.backward(dy).flat, expected)


@pytest.mark.parametrize(
    ("checkpoint", "error", "message"),
    [(0, ValueError, "checkpoint: "), (-1, ValueError, "checkpoint: "), (2.5, TypeError, "checkpoint: ")],
)
def test_bad_checkpoint(checkpoint: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rgru.GRU(4, 10).record(np.zeros((1, 5, 4), np.float32), checkpoint=checkpoint)


def test_not_for_two_directions() -> None:
    with pytest.raises(ValueError, match="checkpoint: expected None"):
        rgru.GRU(4, 10, bidirectional=True).record(np.zeros((1, 5, 4), np.float32), checkpoint=100)


MEASURE = """
import pathlib, sys
import numpy as np, rgru
def peak():  # of this process, in MiB: ru_maxrss would start with the parent's
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
time = 100_000
gru = rgru.GRU(4, 64, seed=0)
x = np.zeros((1, time, 4), np.float32)
y, h_n, tape = gru.record(x[:, :1000], checkpoint=128)  # loads and packs everything once
tape.backward(dh_n=h_n)
before = peak()
y, h_n, tape = gru.record(x, checkpoint=int(sys.argv[1]) or None)
tape.backward(dh_n=h_n)
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_hundred_thousand_steps_in_little_memory() -> None:
    def mebibytes(every: int) -> float:
        command = [sys.executable, "-c", MEASURE, str(every)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    y_and_dx = 100_000 * (64 + 4) * 4 / 2**20
    # In addition a few hundred states and the windows' tapes; without checkpoints 4H more numbers per step.
    assert mebibytes(316) < y_and_dx + 10
    assert mebibytes(0) > y_and_dx + 100_000 * 4 * 64 * 4 / 2**20
