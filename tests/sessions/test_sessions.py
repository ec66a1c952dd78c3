"""Sessions: the bits of streams for any batch, the set of live sessions, and refused arguments."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rgru
from layer_cases import CELLS, normal, with_biases
from session_model import DictOfStreams

X2 = np.zeros((2, 3), np.float32)


def a_gru(*sizes, **more):
    return with_biases(rgru.GRU(*(sizes or (3, 8)), seed=0, **more))


def random_batches(rng, count, keys, features, most=40):
    for _ in range(count):
        m = int(rng.integers(0, most + 1))
        yield rng.integers(0, keys, m), rng.standard_normal((m, features))


# -- bits --------------------------------------------------------------------------------------------------------------


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


# -- the set of live sessions ------------------------------------------------------------------------------------------


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


# -- float16 states ----------------------------------------------------------------------------------------------------


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


# -- estimators --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings():
    rng = np.random.default_rng(4)
    return [rng.standard_normal((int(n), 3)) * 5 + 2 for n in rng.integers(2, 7, 24)]


def prefixes(model, recording):
    """Return the model's predictions after each event."""
    return np.concatenate([model([recording[: n + 1]]) for n in range(len(recording))])


@pytest.mark.parametrize("standardize", [True, False])
def test_a_classifier_returns_the_probabilities_so_far(recordings, standardize):
    labels = np.arange(24) % 3
    model = rgru.GRUClassifier(hidden_size=6, pooling="last", max_epochs=2, standardize=standardize, random_state=0)
    model.fit(recordings, labels)
    sessions = rgru.Sessions(model)
    x = np.concatenate([recordings[0], recordings[1]])
    keys = ["a"] * len(recordings[0]) + ["b"] * len(recordings[1])
    expected = np.concatenate([prefixes(model.predict_proba, recordings[n]) for n in (0, 1)])
    assert np.array_equal(sessions.step(keys, x), expected)
    model.fit(recordings[:12], labels[:12])  # the sessions keep their snapshot
    assert sessions.step(["a"], x[:1]).shape == (1, 3)
    with pytest.raises(ValueError, match=r"x: expected finite numbers, got nan in event 1, feature 2"):
        sessions.step(["a", "b"], [[0.0, 0, 0], [0, 0, np.nan]])
    with pytest.raises(ValueError, match=r"x: expected 3 features as in fit, got 2"):
        sessions.step(["a"], [[0.0, 0]])


@pytest.mark.parametrize("pooling", ["last", "every"])
@pytest.mark.parametrize("targets", [1, 2])
def test_a_regressor_returns_the_predictions(recordings, pooling, targets):
    totals = [np.cumsum(one[:, :targets], axis=0) for one in recordings]
    y = totals if pooling == "every" else np.stack([one[-1] for one in totals])
    y = y if targets > 1 or pooling == "every" else y[:, 0]
    if pooling == "every" and targets == 1:
        y = [one[:, 0] for one in y]
    model = rgru.GRURegressor(hidden_size=6, pooling=pooling, max_epochs=2, random_state=0).fit(recordings, y)
    found = rgru.Sessions(model).step(np.zeros(len(recordings[0]), int), recordings[0])
    expected = model.predict(recordings[:1])[0] if pooling == "every" else prefixes(model.predict, recordings[0])
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_models_that_cannot_run_step_by_step(recordings):
    with pytest.raises(ValueError, match=r"model: .*bidirectional=False"):
        rgru.Sessions(rgru.GRU(3, 4, bidirectional=True))
    labels = np.arange(24) % 2
    mean = rgru.GRUClassifier(hidden_size=4, pooling="mean", max_epochs=1, random_state=0).fit(recordings, labels)
    with pytest.raises(ValueError, match=r"model: .*pooling='last', got pooling='mean'"):
        rgru.Sessions(mean)
    both = rgru.GRUClassifier(hidden_size=4, pooling="last", bidirectional=True, max_epochs=1).fit(recordings, labels)
    with pytest.raises(ValueError, match=r"model: .*bidirectional=False"):
        rgru.Sessions(both)
    with pytest.raises(ValueError, match=r"model: expected a fitted GRUClassifier"):
        rgru.Sessions(rgru.GRUClassifier())
    for strange in (None, "gru", rgru.GRU):
        with pytest.raises(TypeError, match=r"model: expected a GRU, a Model, a GRUClassifier or a GRURegressor"):
            rgru.Sessions(strange)


# -- refused arguments -------------------------------------------------------------------------------------------------


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


SHORT_OF_MEMORY = """
import resource, sys, numpy as np, rgru
rgru.set_num_threads(1)
sessions = rgru.Sessions(rgru.GRU(1, 1, seed=0), max_sessions=150_000, timeout=50)
rng = np.random.default_rng(0)
sessions.step(np.arange(1000), np.zeros((1000, 1), "f4"), 0.0)
before = sessions.states(np.arange(1000))
keys, x, times = rng.integers(0, 300_000, 500_000), np.zeros((500_000, 1), "f4"), np.linspace(0, 60, 500_000)
if sys.argv[1] == "texts":
    sessions.clear()
    keys = np.array(["a key of some length " + str(key) for key in keys.tolist()], object)
failures = 0
for more in range(0, 1 << 30, 3 << 19):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, resource.RLIM_INFINITY))
    try:
        sessions.step(keys, x, times)
        break
    except MemoryError:
        failures += 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if sys.argv[1] == "integers":
        assert np.array_equal(sessions.states(np.arange(1000)), before) and len(sessions) == 1000
assert len(sessions) > 50_000 and failures > 20, failures
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory")
@pytest.mark.parametrize("kind", ["integers", "texts"])
def test_too_little_memory_is_an_error(kind):
    subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY, kind], check=True)


INTERRUPTED = """
import numpy as np, rgru, sys
gru = rgru.GRU(4, 64, seed=0)
sessions = rgru.Sessions(gru, max_sessions=1000, timeout=50)
x = np.random.default_rng(0).standard_normal((1500, 4)).astype("f4")
sessions.step(np.arange(1500), x, 0.0)
before, order = sessions.states(np.arange(500, 1500)), sessions._core.places()
many = np.random.default_rng(1).integers(0, 3000, 8_000_000)
print("ready", flush=True)
try:
    sessions.step(many, np.zeros((len(many), 4), "f4"), np.linspace(0, 200, len(many)))
except KeyboardInterrupt:
    assert len(sessions) == 1000 and 0 not in sessions and 500 in sessions
    assert np.array_equal(sessions.states(np.arange(500, 1500)), before)
    assert np.array_equal(sessions._core.places(), order)
    sessions.step([1], x[:1], 1.0)
    assert 500 not in sessions and 501 in sessions
    print("interrupted", flush=True)
"""


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_leaves_all_sessions_as_they_were():
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(30) == 0


def test_an_interrupt_during_the_commit_leaves_the_batch_in_effect(monkeypatch):
    class Late:
        def __init__(self, core):
            self.core = core

        def __len__(self):
            return len(self.core)

        def step(self, *arguments):
            self.core.step(*arguments)
            raise KeyboardInterrupt

    sessions = rgru.Sessions(a_gru(), timeout=10)
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "_core", Late(sessions._core))
        with pytest.raises(KeyboardInterrupt):
            sessions.step(["a", "b"], normal(2, 3), 1.0)
    assert len(sessions) == 2
    assert sorted(sessions.keys()) == ["a", "b"]
    with pytest.raises(TypeError, match=r"keys: expected keys of type str as before, got int"):
        sessions.step([1], normal(1, 3), 2.0)


def test_there_are_no_keys_after_an_interrupted_first_batch(tmp_path):
    sessions = rgru.Sessions(a_gru())
    texts = np.frombuffer(b"ab", np.uint8), np.arange(3)
    sessions._core.step(*texts, X2, None)  # after which the core has a kind of keys
    sessions._core.drop(*texts)
    assert sessions.keys().tolist() == []
    sessions.save(tmp_path / "sessions")
    assert len(rgru.Sessions.load(tmp_path / "sessions", a_gru())) == 0


def test_a_call_during_a_lookup_is_refused(monkeypatch):
    """It was once accepted, and returned nothing if it ended during the lookup."""
    sessions = rgru.Sessions(a_gru())
    sessions.step([1], X2[:1])
    core, refused = sessions._core, []

    class Slow:
        def has(self, *keys):
            with pytest.raises(ValueError, match="one call at a time"):
                sessions.step([2], X2[:1])
            refused.append(True)
            return core.has(*keys)

        def __getattr__(self, name):
            return getattr(core, name)

        def __len__(self):
            return len(core)

    monkeypatch.setattr(sessions, "_core", Slow())
    assert 1 in sessions
    assert refused == [True]
    assert len(sessions) == 1


def test_a_call_during_another_is_refused():
    sessions = rgru.Sessions(a_gru(16, 64))
    rng = np.random.default_rng(0)
    keys, x = rng.integers(0, 1000, 500_000), np.zeros((500_000, 16), np.float32)
    thread = threading.Thread(target=sessions.step, args=(keys, x))
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            sessions.step([1], x[:1])
        except ValueError as error:
            assert "one call at a time" in str(error)  # noqa: PT017
            refused += 1
    thread.join()
    assert refused
    assert len(sessions) == 1000
