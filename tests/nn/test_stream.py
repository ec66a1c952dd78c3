"""Streams: the outputs of a call step by step, with a state that can be read and set."""

import numpy as np
import pytest

import rgru
from layer_cases import normal, with_biases


def test_stream_runs_step_by_step_and_keeps_its_state():
    gru = with_biases(rgru.GRU(3, 4, 2, seed=0))
    x, h0 = normal(2, 6, 3), normal(2, 2, 4, seed=1)
    y, h_n = gru(x, h0)
    stream = gru.stream(2, h0)
    assert stream.batch_size == 2
    assert np.array_equal(stream.h, h0)
    for t in range(6):
        assert np.array_equal(stream.step(x[:, t]), y[:, t])  # x[:, t] is strided: the slow path
    assert np.array_equal(stream.h, h_n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reset_after", [False, True])
def test_one_small_sequence_has_the_bits_of_the_whole(reset_after, dtype):
    """Cells whose units fit into a register, which has up to 16 numbers, have a kernel of their own."""
    x = np.random.default_rng(0).standard_normal((1, 6, 5)).astype(dtype)
    for hidden in range(1, 19):
        for options in ({}, {"num_layers": 3}, {"activation": "relu", "clip": 1.0}, {"zoneout": 0.2, "bias": False}):
            gru = rgru.GRU(5, hidden, reset_after=reset_after, dtype=dtype, seed=hidden, **options)
            y, h_n = gru(x)
            stream = gru.stream()
            for t in range(6):
                np.testing.assert_array_equal(stream.step(x[:, t]), y[:, t])
            np.testing.assert_array_equal(stream.h, h_n)


def test_stream_state_can_be_set_and_reset():
    gru = with_biases(rgru.GRU(3, 4, 2, seed=0))
    stream, x = gru.stream(), normal(1, 3)
    first = stream.step(x)
    kept = stream.h
    second = stream.step(x)
    assert not np.array_equal(first, second)
    stream.h = kept
    assert np.array_equal(stream.step(x), second)
    stream.reset()
    assert not stream.h.any()
    assert np.array_equal(stream.step(x), first)


def test_outputs_and_states_of_a_stream_are_copies():
    gru = rgru.GRU(3, 4, seed=0)
    stream, x = gru.stream(), normal(1, 3)
    y = stream.step(x)
    kept = y.copy()
    stream.step(x)
    assert np.array_equal(y, kept)
    state = stream.h
    state[:] = 0
    assert stream.h.any()


def test_stream_keeps_the_parameters_of_its_start():
    gru = rgru.GRU(3, 4, seed=0)
    x = normal(1, 3)
    expected = gru.stream().step(x)
    stream = gru.stream()
    gru.layers[0].fwd.W = np.zeros((12, 3), np.float32)
    assert np.array_equal(stream.step(x), expected)


def test_bidirectional_cannot_stream():
    with pytest.raises(ValueError, match="bidirectional"):
        rgru.GRU(3, 4, bidirectional=True).stream()
