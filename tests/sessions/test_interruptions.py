"""Too little memory, Ctrl-C and a second caller leave all sessions as they were."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rgru
from layer_cases import normal
from session_model import a_gru

X2 = np.zeros((2, 3), np.float32)


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
