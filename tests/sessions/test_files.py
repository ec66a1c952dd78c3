"""Snapshots of sessions: loaded sessions continue with the same bits, files are atomic, damage is reported."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import rgru
from layer_cases import normal
from rgru.sessions import _snapshot as snapshot

KEYS = {
    "int": np.arange(100) * 7 - 50,
    "str": [f"user-{n}" * (n % 4) + str(n) for n in range(100)],
    "bytes": [bytes([n, 0, n]) for n in range(100)],
}


@pytest.fixture
def gru():
    return rgru.GRU(3, 4, 2, seed=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.safetensors"


def filled(gru, kind="int", **settings):
    sessions = rgru.Sessions(gru, **settings)
    rng = np.random.default_rng(0)
    for time in range(3):
        order = rng.permutation(100)
        keys = [KEYS[kind][n] for n in order]
        sessions.step(keys, normal(100, 3, seed=time), time + order / 100 if sessions.timeout else None)
    return sessions


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("state_dtype", [None, "float16"])
@pytest.mark.parametrize("bounds", [{}, {"max_sessions": 60}, {"timeout": 1.5, "max_sessions": 1000}])
@pytest.mark.parametrize("piece", [24, 10**6])
def test_loaded_sessions_continue_with_the_same_bits(kind, state_dtype, bounds, piece, request):
    gru, path = (request.getfixturevalue(name) for name in ("gru", "path"))
    request.getfixturevalue("monkeypatch").setattr(snapshot, "_PIECE", piece)
    sessions = filled(gru, kind, state_dtype=state_dtype, **bounds)
    sessions.save(path)
    twin = rgru.Sessions.load(path, gru)
    assert repr(twin) == repr(sessions)
    for time in (3.0, 3.6, 4.2):
        keys = [KEYS[kind][n] for n in np.random.default_rng(5).integers(0, 100, 80)]
        arguments = keys, normal(80, 3, seed=9), time if "timeout" in bounds else None
        assert np.array_equal(twin.step(*arguments), sessions.step(*arguments))
        assert len(twin) == len(sessions)
        assert [key in twin for key in KEYS[kind]] == [key in sessions for key in KEYS[kind]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_sessions(path, dtype):
    gru = rgru.GRU(3, 4, dtype=dtype, seed=0)
    rgru.Sessions(gru, timeout=3).save(path)
    twin = rgru.Sessions.load(path, gru)
    assert len(twin) == 0
    assert twin.timeout == 3
    assert twin.step(["a"], [[0.0, 0, 0]], 1.0).dtype == dtype


@pytest.mark.parametrize("kind", KEYS)
def test_after_all_sessions_were_dropped(gru, path, kind):
    sessions = filled(gru, kind, timeout=10)
    sessions.drop(KEYS[kind])
    for _ in range(2):
        sessions.save(path)
        sessions = rgru.Sessions.load(path, gru)
    assert len(sessions) == 0
    with pytest.raises(TypeError, match=rf"keys: expected keys of type {kind} as before"):
        sessions.step([1] if kind == "str" else ["a"], normal(1, 3), 0.0)
    sessions.step(KEYS[kind], normal(100, 3), -20.0)  # counts as at the latest time so far, 2.99
    sessions.step(KEYS[kind][:1], normal(1, 3), 12.9)
    assert len(sessions) == 100


def test_an_estimator(path):
    x = [normal(5, 3, seed=n) for n in range(12)]
    model = rgru.GRUClassifier(hidden_size=4, pooling="last", max_epochs=1, random_state=0).fit(x, np.arange(12) % 2)
    sessions = rgru.Sessions(model)
    sessions.step([1] * 5, x[0])
    sessions.save(path)
    assert np.array_equal(rgru.Sessions.load(path, model).step([1], x[1][:1]), sessions.step([1], x[1][:1]))


def test_the_file_is_plain_safetensors(gru, path):
    sessions = filled(gru)
    sessions.save(path)
    tensors = safetensors.numpy.load_file(path)
    assert np.array_equal(tensors["states"], sessions.states(tensors["keys"]).transpose(1, 0, 2))
    with pytest.raises(ValueError, match=r"expected one of GRU, Model, GRUClassifier, GRURegressor, got 'Sessions'"):
        rgru.load(path)


def test_another_model_is_refused(gru, path):
    filled(gru).save(path)
    for other in (rgru.GRU(3, 4, 2, seed=1), rgru.GRU(3, 5, 2, seed=0), rgru.GRU(3, 4, 2, reset_after=True, seed=0)):
        with pytest.raises(
            ValueError, match=r"sessions.safetensors: expected the model that the states come from, got"
        ):
            rgru.Sessions.load(path, other)
    assert len(rgru.Sessions.load(path, rgru.GRU(3, 4, 2, seed=0))) == 100
    gru.save(path)
    with pytest.raises(ValueError, match=r"sessions.safetensors: expected one of Sessions, got 'GRU'"):
        rgru.Sessions.load(path, gru)


@pytest.mark.parametrize("length", [0, 4, 100, 700, -1])
def test_a_truncated_file_is_reported(gru, path, length):
    filled(gru).save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"sessions.safetensors: expected a safetensors file"):
        rgru.Sessions.load(path, gru)


def test_a_missing_file(gru, path):
    with pytest.raises(FileNotFoundError):
        rgru.Sessions.load(path, gru)


def rewritten(path, change=None, **config):
    """Rewrite the file with other tensors or settings, and without a checksum, like the first snapshots."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    del metadata["crc32"]
    metadata["config"] = json.dumps(json.loads(metadata["config"]) | config)
    tensors = safetensors.numpy.load(content)
    path.write_bytes(safetensors.numpy.save(tensors | (change(tensors) if change else {}), metadata=metadata))


@pytest.mark.parametrize(
    ("change", "config", "words"),
    [
        (lambda t: {"keys": np.repeat(t["keys"][:1], 100)}, {}, "each key once.*position 1"),
        (lambda t: {"keys": t["keys"][:-1]}, {}, r"states: expected float32 of shape \(99, 2, 4\)"),
        (lambda t: {"states": t["states"].astype("f8")}, {}, "states: expected float32"),
        (lambda t: {"times": t["times"][::-1].copy()}, {}, "times: expected ascending numbers"),
        (lambda t: {"times": t["times"] * np.nan}, {}, "times: expected ascending numbers"),
        (lambda t: {"times": t["times"][:-1]}, {}, "times: expected shape"),
        (lambda t: {"more": t["keys"]}, {}, "tensors: expected"),
        (None, {"keys": "float"}, "tensors|keys"),
        (None, {"timing": "never"}, "timing"),
        (None, {"max_sessions": 99}, r"at most 99 \(max_sessions\)"),
        (None, {"max_sessions": "many"}, "max_sessions: expected an integer"),
        (None, {"timeout": None}, "tensors: expected"),
        (None, {"state_dtype": "float16"}, "states: expected float16"),
        (None, {"clock": 0.5}, "times: expected ascending numbers"),
        (None, {"clock": "noon"}, "noon"),
        (None, {"clock": float("inf")}, "clock: expected a finite number, got inf"),
        (None, {"clock": float("nan")}, "clock: expected a finite number, got NaN"),
    ],
)
def test_damage_is_reported_with_the_file(gru, path, change, config, words):
    filled(gru, timeout=100).save(path)
    rewritten(path, change, **config)
    with pytest.raises(ValueError, match=f"(?s)sessions.safetensors: not a whole snapshot .*{words}"):
        rgru.Sessions.load(path, gru)


def test_each_damaged_byte_is_found(gru, path):
    sessions = filled(gru, "str", timeout=1.5, max_sessions=60)
    sessions.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            twin = rgru.Sessions.load(path, gru)
        except ValueError as error:
            assert path.name in str(error)  # noqa: PT017
            found += 1
        else:  # a damaged name of the checksum means that there is none
            assert b'"crc32"' not in damaged
            assert np.array_equal(twin.states(sessions.keys()), sessions.states(sessions.keys()))
    assert found > len(whole) // 3 - 4


def test_the_checksum_finds_plausible_damage(gru, path):
    filled(gru).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-900] + bytes([content[-900] ^ 1]) + content[-899:])
    with pytest.raises(ValueError, match=r"sessions.safetensors: expected content of the checksum .*is damaged"):
        rgru.Sessions.load(path, gru)


@pytest.mark.parametrize("kind", KEYS)
def test_snapshots_without_a_checksum_are_read(gru, path, kind):
    sessions = filled(gru, kind, timeout=1.5)
    sessions.save(path)
    rewritten(path)
    twin = rgru.Sessions.load(path, gru)
    assert np.array_equal(twin.states(sessions.keys()), sessions.states(sessions.keys()))


@pytest.mark.parametrize("offsets", [[0, 5, 3], [-1, 2, 3], [0, 1, 10**9], []])
def test_bad_offsets_of_keys(gru, path, offsets):
    sessions = rgru.Sessions(gru)
    sessions.step(["a", "bc"], normal(2, 3))
    sessions.save(path)
    rewritten(path, lambda _: {"key_offsets": np.array(offsets, np.int64)})
    with pytest.raises(ValueError, match=r"sessions.safetensors: not a whole snapshot"):
        rgru.Sessions.load(path, gru)


def test_the_core_is_intact_after_a_failed_restoration(gru):
    core = rgru.Sessions(gru)._core
    with pytest.raises(ValueError, match=r"keys: expected each key once"):
        core.restore(np.array([7, 8, 7]), None, np.ones((3, 2, 4), np.float32), None, -np.inf)
    assert core.states(np.array([7, 8]), None).shape == (2, 2, 4)


def test_a_failure_keeps_the_old_file_and_the_sessions(gru, path, monkeypatch):
    old = rgru.Sessions(gru)
    old.step([1], normal(1, 3))
    old.save(path)
    sessions = filled(gru)

    def fail(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=r"disk is full"):
            sessions.save(path)
    assert list(path.parent.iterdir()) == [path]
    assert len(rgru.Sessions.load(path, gru)) == 1
    sessions.save(path)
    assert len(rgru.Sessions.load(path, gru)) == 100


FULL = """
import resource, signal, sys, numpy as np, rgru
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sessions = rgru.Sessions(rgru.GRU(3, 64, seed=0))
sessions.step(np.arange(5000), np.zeros((5000, 3), "f4"))
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    sessions.save("sessions")
except OSError as error:
    print(error.filename or "", len(sessions))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the size of files")
def test_a_disk_that_fills_up(tmp_path):
    (tmp_path / "sessions").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "5000"
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("sessions", b"old")]
