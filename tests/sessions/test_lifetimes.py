"""The set of live sessions: which begin, continue and end."""

import time

import numpy as np
import pytest

import rgru
from layer_cases import normal
from session_model import DictOfStreams, a_gru, random_batches

X2 = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize("bounds", [{}, {"max_sessions": 7}, {"timeout": 2.5}, {"max_sessions": 7, "timeout": 2.5}])
@pytest.mark.parametrize(
    "name", [int, "user-{}".format, lambda n: bytes(n % 3) + bytes([n])], ids=["int", "str", "bytes"]
)
@pytest.mark.parametrize("state_dtype", [None, "float16"])
@pytest.mark.parametrize("seed", range(3))
def test_random_operations_against_a_dict_of_streams(bounds, name, state_dtype, seed, tmp_path):
    gru = a_gru(2, 3, 2)
    rng = np.random.default_rng(seed)
    sessions = rgru.Sessions(gru, state_dtype=state_dtype, **bounds)
    oracle, now = DictOfStreams(gru, state_dtype=state_dtype, **bounds), 0.0
    everyone = [name(n) for n in range(25)]
    for numbers, x in random_batches(rng, 60, 25, 2, 30):
        keys, x = [everyone[n] for n in numbers], x.astype("float32")  # noqa: PLW2901
        # Mostly forward, sometimes back.
        times = (now + np.cumsum(rng.normal(0.1, 0.3, len(keys)))) if "timeout" in bounds else None
        y = sessions.step(keys, x, times)
        now += 1.5
        if keys:
            assert np.array_equal(y, oracle.step(keys, x, times))
        action = rng.integers(0, 6)
        if action == 0:
            gone = [everyone[n] for n in rng.integers(0, 25, 4)]
            assert sessions.drop(gone) == len({*gone} & {*oracle.streams})
            for key in {*gone} & {*oracle.streams}:
                oracle.end(key)
        elif action == 1:
            sessions.save(tmp_path / "sessions")
            sessions = rgru.Sessions.load(tmp_path / "sessions", gru)
        elif action == 2:
            with pytest.raises(ValueError, match=r"x: expected"):
                sessions.step(keys, x[:, :1], times)
        elif action > 3 and "timeout" in bounds:
            later = now + rng.normal(0.5, 1.5)
            assert sessions.expire(later) == oracle.expire(later)
        oracle.check(sessions)
        assert all((key in sessions) == (key in oracle.streams) for key in everyone)
        if bounds:
            assert sessions.keys().tolist() == [*oracle.streams]


def test_the_least_recently_used_one_ends():
    sessions, x = rgru.Sessions(a_gru(), max_sessions=2), normal(1, 3)
    for key in [1, 2, 1, 3]:
        sessions.step([key], x)
    assert [key in sessions for key in (1, 2, 3)] == [True, False, True]
    first = rgru.Sessions(a_gru()).step([0], x)
    assert np.array_equal(sessions.step([2], x), first)  # a new session


def test_a_session_may_end_and_restart_within_a_batch():
    gru, x = a_gru(3, 8, 2), normal(6, 3)
    sessions = rgru.Sessions(gru, max_sessions=2)
    sessions.step([1], x[:1])
    y = sessions.step([1, 2, 3, 1, 1, 2], x)
    expected = DictOfStreams(gru, max_sessions=2)
    expected.step([1], x[:1])
    assert np.array_equal(y, expected.step([1, 2, 3, 1, 1, 2], x))
    expected.check(sessions)


def test_timeout_by_times():
    sessions, x = rgru.Sessions(a_gru(), timeout=10), normal(1, 3)
    begun = sessions.step([1], x, 0)
    sessions.step([2], x, 5)
    assert not np.array_equal(sessions.step([1], x, 10), begun)  # exactly the timeout: it continues
    sessions.step([3], x, 15.5)
    assert [key in sessions for key in (1, 2, 3)] == [True, False, True]
    assert np.array_equal(sessions.step([1, 1], np.repeat(x, 2, 0), [21, 40])[1:], begun)
    sessions.step([4], x, 1)  # late: counts as at 40
    assert len(sessions) == 2
    sessions.step([5], x, np.datetime64("1970-01-01T00:00:50"))
    assert [key in sessions for key in (1, 4, 5)] == [True, True, True]
    assert sessions.step([6], x, np.array(["1970-01-01T00:00:50.001"], "M8[ms]")).shape == (1, 8)
    assert [key in sessions for key in (1, 4, 5, 6)] == [False, False, True, True]


def test_expire_ends_sessions_without_an_event():
    sessions, x = rgru.Sessions(a_gru(), timeout=10), normal(3, 3)
    first = sessions.step([1, 2, 3], x, [0, 4, 4])
    assert sessions.expire(10) == 0  # exactly the timeout: it stays
    assert sessions.expire(11) == 1
    assert [key in sessions for key in (1, 2, 3)] == [False, True, True]
    assert sessions.expire(5) == 0  # late: counts as at 11
    assert sessions.expire(np.datetime64("1970-01-01T00:00:14.001")) == 2
    assert len(sessions) == 0
    assert np.array_equal(sessions.step([1, 2, 3], x, 0), first)  # counts as at 14.001
    assert sessions.expire(24) == 0
    assert sessions.expire(24.01) == 3


def test_slots_of_expired_sessions_are_reused():
    sessions, x = rgru.Sessions(a_gru(), timeout=10), normal(4, 3)
    for now in range(0, 200, 20):
        sessions.step(np.arange(now, now + 4), x, now)
        assert sessions._core.places().max() == 3
        assert sessions.expire(now + 11) == 4


def test_expire_by_the_clock(monkeypatch, tmp_path):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    sessions = rgru.Sessions(a_gru(), timeout=10)
    sessions.step([1], X2[:1])
    now[0] = 1010.5
    assert sessions.expire() == 1
    sessions.save(tmp_path / "sessions")
    sessions = rgru.Sessions.load(tmp_path / "sessions", a_gru())
    with pytest.raises(ValueError, match=r"now: expected None as before, got times"):
        sessions.expire(2000.0)


def test_expire_before_the_first_event():
    sessions = rgru.Sessions(a_gru(), timeout=10)
    assert sessions.expire(100.0) == 0
    sessions.step(["a", "b"], X2, 1.0)  # counts as at 100
    assert sessions.expire(110.0) == 0
    assert sessions.expire(110.5) == 2
    with pytest.raises(ValueError, match=r"times: expected times as before, got None"):
        sessions.step(["a", "b"], X2)


@pytest.mark.parametrize(
    ("now", "error", "words"),
    [
        (None, ValueError, "now: expected times as before, got None"),
        (np.nan, ValueError, "now: expected finite numbers, got nan"),
        (np.inf, ValueError, "now: expected finite numbers, got inf"),
        ([30.0], ValueError, r"now: expected one time, got shape \(1,\)"),
        ("noon", TypeError, "now: expected numbers"),
        (np.datetime64("NaT"), ValueError, "now: expected dates, got NaT"),
        (np.datetime64(2**62, "D"), ValueError, "now: expected dates that are seconds in 64 bits, got"),
    ],
)
def test_invalid_times_to_expire(now, error, words):
    sessions = rgru.Sessions(a_gru(), timeout=10)
    sessions.step([1, 2], X2, 5.0)
    with pytest.raises(error, match=words):
        sessions.expire(now)
    assert len(sessions) == 2
    sessions.step([3], X2[:1], 15.0)
    assert len(sessions) == 3


def test_expire_without_a_timeout():
    for now in (None, 1.0):
        with pytest.raises(ValueError, match=r"timeout: expected a number of seconds, .* got None"):
            rgru.Sessions(a_gru(), max_sessions=3).expire(now)


def test_timeout_by_the_clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    sessions, x = rgru.Sessions(a_gru(), timeout=10), normal(1, 3)
    begun = sessions.step([1], x)
    now[0] = 1010.0
    assert not np.array_equal(sessions.step([1], x), begun)
    now[0] = 1020.5
    assert np.array_equal(sessions.step([1], x), begun)
    now[0] = 900.0  # set back: the time stays
    assert not np.array_equal(sessions.step([1], x), begun)


def test_drop_and_clear():
    sessions, x = rgru.Sessions(a_gru()), normal(4, 3)
    first = sessions.step([1, 2, 3, 4], x)
    assert sessions.drop([2, 2, 9]) == 1
    assert len(sessions) == 3
    assert np.array_equal(sessions.step([2], x[1:2]), first[1:2])
    sessions.clear()
    assert len(sessions) == 0
    assert np.array_equal(sessions.step(["a", "b", "c", "d"], x), first)  # keys of another kind now
    assert sessions.drop([]) == 0


def test_states():
    gru = a_gru(3, 8, 2)
    sessions, x = rgru.Sessions(gru), normal(3, 3)
    sessions.step(["a", "b", "a"], x)
    states = sessions.states(["b", "a", "b"])
    assert np.array_equal(states[:, :1], gru(x[None, 1:2])[1])
    assert np.array_equal(states[:, 1:2], gru(x[None, ::2])[1])
    assert np.array_equal(states[:, 2], states[:, 0])
    assert sessions.states([]).shape == (2, 0, 8)
    with pytest.raises(KeyError, match=r"keys: expected keys with a session, got 'c' at position 1"):
        sessions.states(["a", "c"])
