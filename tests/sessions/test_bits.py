"""Sessions: the bits of streams, in any batches and on any number of threads."""

import numpy as np
import pytest

import rgru
from layer_cases import CELLS, normal
from session_model import DictOfStreams, a_gru, random_batches


@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_bits_of_streams(reset_after, dtype, layers):
    gru = a_gru(3, 5, layers, reset_after=reset_after, dtype=dtype)
    sessions, oracle = rgru.Sessions(gru), DictOfStreams(gru)
    rng = np.random.default_rng(1)
    for keys, x in random_batches(rng, 20, 30, 3):
        x = x.astype(dtype)  # noqa: PLW2901
        y = sessions.step(keys, x)
        assert y.dtype == dtype
        if len(keys):
            assert np.array_equal(y, oracle.step(keys.tolist(), x))
    oracle.check(sessions)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_batches_with_repeats_on_any_number_of_threads(threads):
    gru = a_gru(4, 20, 2)
    rng = np.random.default_rng(2)
    sessions = rgru.Sessions(gru)
    keys, x = rng.integers(0, 900, (2, 3000)), rng.standard_normal((2, 3000, 4)).astype("float32")
    rgru.set_num_threads(threads)
    try:
        y = [sessions.step(keys[b], x[b]) for b in range(2)]
    finally:
        rgru.set_num_threads(None)
    for key in rng.integers(0, 900, 40):
        rows = np.concatenate([x[b][keys[b] == key] for b in range(2)])
        if len(rows):
            expected, h_n = gru(rows[None])
            assert np.array_equal(np.concatenate([y[b][keys[b] == key] for b in range(2)]), expected[0])
            assert np.array_equal(sessions.states([key]), h_n)


def test_one_key_many_times_among_others():
    gru = a_gru(3, 70, 2)
    x = normal(500, 3)
    keys = np.where(np.arange(500) % 5 == 0, np.arange(500), 1)
    y, oracle = rgru.Sessions(gru).step(keys, x), DictOfStreams(gru)
    assert np.array_equal(y, oracle.step(keys.tolist(), x))


def test_a_large_cell_that_threads_split_by_units():
    gru = a_gru(8, 600)
    sessions, stream, x = rgru.Sessions(gru), gru.stream(), normal(6, 8)
    for row in x:
        assert np.array_equal(sessions.step([5], row[None]), stream.step(row[None]))


def test_it_keeps_the_parameters_of_its_start():
    gru = a_gru()
    sessions, stream, x = rgru.Sessions(gru), gru.stream(), normal(1, 3)
    gru.layers[0].fwd.W = np.zeros((24, 3), np.float32)
    assert np.array_equal(sessions.step([1], x), stream.step(x))


def test_inputs_stay_and_outputs_are_copies():
    sessions, keys, x = rgru.Sessions(a_gru()), np.arange(3), normal(3, 3)
    kept = keys.copy(), x.copy()
    y = sessions.step(keys, x)
    states = sessions.states(keys)
    y[:], states[:] = 7, 7
    assert abs(sessions.states(keys)).max() < 1
    assert np.array_equal(keys, kept[0])
    assert np.array_equal(x, kept[1])
    assert np.array_equal(sessions.step(keys[::-1], x[:, ::-1]), sessions_again(keys, x))  # strided


def sessions_again(keys, x):
    sessions = rgru.Sessions(a_gru())
    sessions.step(keys, x)
    return sessions.step(keys[::-1].copy(), x[:, ::-1].copy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float16_states_are_rounded_after_each_event_in_any_batches(dtype):
    gru = a_gru(3, 5, 2, dtype=dtype)
    rng = np.random.default_rng(3)
    keys, x = rng.integers(0, 20, 200), rng.standard_normal((200, 3)).astype(dtype)
    sessions = rgru.Sessions(gru, state_dtype="float16")
    assert sessions.state_dtype == np.float16
    y = sessions.step(keys, x)
    states = {}
    for n, key in enumerate(keys.tolist()):
        stream = gru.stream(h0=states.get(key))
        assert np.array_equal(stream.step(x[n : n + 1])[0], y[n])
        # float64 is rounded to float32 first.
        states[key] = stream.h.astype(np.float32).astype(np.float16).astype(dtype)
    assert np.array_equal(sessions.states([*states]), np.concatenate([*states.values()], axis=1))
