"""Arguments that sessions refuse."""

import numpy as np
import pytest

import rgru
from layer_cases import normal
from session_model import a_gru

X2 = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"max_sessions": 0}, ValueError, "max_sessions: expected an integer from 1"),
        ({"max_sessions": 1.5}, TypeError, "max_sessions: expected an integer"),
        ({"timeout": 0}, ValueError, "timeout: expected a number of seconds above 0"),
        ({"timeout": float("nan")}, ValueError, "timeout: expected a number of seconds above 0"),
        ({"timeout": "1h"}, TypeError, "timeout: expected a number of seconds or None, got '1h'"),
        ({"state_dtype": "float64"}, ValueError, "state_dtype: expected 'float16', 'float32' or None, got 'float64'"),
        ({"state_dtype": "half a float"}, TypeError, "state_dtype: expected"),
    ],
)
def test_bad_settings(settings, error, words):
    with pytest.raises(error, match=words):
        rgru.Sessions(a_gru(), **settings)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([1], X2), ValueError, r"keys: expected shape \(2,\), got \(1,\)"),
        (([1, 2], X2[:, :2]), ValueError, r"x: expected last dimension 3 \(input_size\), got 2"),
        (([1, 2], X2[0]), ValueError, r"x: expected 2 dimensions \(M, I\)"),
        (([1, 2], X2.astype("float64")), TypeError, "x: expected float32, got float64"),
        (([1, 2], None), TypeError, "x: expected an array"),
        (([1, 2], X2, [1.0]), ValueError, r"times: expected one time or shape \(2,\), got shape \(1,\)"),
        (([1, 2], X2, [1.0, np.nan]), ValueError, "times: expected finite numbers, got nan at position 1"),
        (([1, 2], X2, ["a", "b"]), TypeError, "times: expected numbers"),
        (([1, 2], X2, np.array(["NaT", 0], "M8[s]")), ValueError, "times: expected dates, got NaT at position 0"),
        (([1, 2], X2, np.array([0, 10**12], "M8[Y]")), ValueError, "times: expected dates that are .* at position 1"),
        (([1, 2], X2), ValueError, "times: expected times as before, got None"),
        ((["a", "b"], X2, 2.0), TypeError, "keys: expected keys of type int as before, got str"),
    ],
)
def test_bad_events_leave_all_sessions_as_they_were(arguments, error, words):
    sessions = rgru.Sessions(a_gru(), timeout=10, max_sessions=5)
    sessions.step([1, 2, 3], normal(3, 3), 1.0)
    before = sessions.states([1, 2, 3])
    keys, x, *times = arguments
    if words.startswith(("x", "keys: expected shape")):
        times = [100.0]
    with pytest.raises(error, match=words):
        sessions.step(keys, x, *times)
    assert len(sessions) == 3
    assert np.array_equal(sessions.states([1, 2, 3]), before)
    sessions.step([4], normal(1, 3), 2.0)  # the time has not changed either
    assert len(sessions) == 4


def test_times_without_a_timeout():
    with pytest.raises(ValueError, match=r"times: expected None without a timeout"):
        rgru.Sessions(a_gru()).step([1], X2[:1], 1.0)


def test_an_error_in_the_first_batch_determines_nothing():
    sessions = rgru.Sessions(a_gru(), timeout=1)
    with pytest.raises(ValueError, match=r"x:"):
        sessions.step(["a"], X2[:, :1], 1.0)
    sessions.step([1, 2], X2)


def test_keys_of_another_kind_without_sessions():
    """As after an interrupted first batch; the class itself refuses them until `clear`."""
    core = rgru.Sessions(a_gru(), timeout=10)._core
    core.step(np.arange(2), None, X2, 5.0)
    core.drop(np.arange(2), None)
    core.step(np.frombuffer(b"ab", np.uint8), np.arange(3), X2, 1.0)
    assert len(core) == 2
    assert core.clock == 5.0
