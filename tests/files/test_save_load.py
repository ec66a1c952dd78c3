"""Files: saved models are restored bit for bit, files are atomic, damage is reported."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import rgru
from rgru._files import model_file as io

X = np.random.default_rng(0).standard_normal((2, 5, 3))


@pytest.fixture
def gru():
    return rgru.GRU(3, 4, 2, bidirectional=True, reset_after=True, dropout=0.25, dtype="float64", seed=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("as_text", [False, True])
def test_it_is_restored_bit_for_bit(gru, path, as_text):
    where = str(path) if as_text else path
    gru.save(where)
    twin = rgru.load(where)
    assert repr(twin) == repr(gru)
    assert np.array_equal(twin.params.flat, gru.params.flat)
    assert np.array_equal(twin(X)[0], gru(X)[0])
    twin.layers[0].fwd.b = np.ones(12)  # a restored model can be changed
    assert not np.array_equal(twin(X)[0], gru(X)[0])


def test_the_file_is_plain_safetensors(gru, path):
    gru.save(path)
    tensors = safetensors.numpy.load_file(path)
    assert set(tensors) == set(gru.params)
    for name, array in tensors.items():
        assert np.array_equal(array, gru.params[name])


def test_only_the_header(gru, path):
    gru.save(path)
    kind, config = io.read_config(path)
    assert kind == "GRU"
    assert config == {
        "input_size": 3,
        "hidden_size": 4,
        "num_layers": 2,
        "bidirectional": True,
        "reset_after": True,
        "bias": True,
        "dropout": 0.25,
        "dtype": "float64",
    }


def test_saving_replaces_and_leaves_nothing_behind(gru, path):
    rgru.GRU(1, 1).save(path)
    gru.save(path)
    assert repr(rgru.load(path)) == repr(gru)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("place", "step"), [(os, "fsync"), (Path, "replace")])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(gru, path, monkeypatch, place, step):
    old = rgru.GRU(1, 1, seed=0)
    old.save(path)

    def fail(*_args, **_kwargs):
        raise OSError("the disk is full")

    monkeypatch.setattr(place, step, fail)
    with pytest.raises(OSError, match="disk is full"):
        gru.save(path)
    monkeypatch.undo()
    assert list(path.parent.iterdir()) == [path]
    assert np.array_equal(rgru.load(path).params.flat, old.params.flat)


def test_saving_into_a_missing_folder(gru, tmp_path):
    with pytest.raises(FileNotFoundError):
        gru.save(tmp_path / "none" / "model.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="modes and links are those of POSIX")
def test_mode_follows_the_umask_and_links_stay(gru, path):
    path.with_name("link").symlink_to(path)
    gru.save(path.with_name("link"))
    assert path.with_name("link").is_symlink()
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


# -- damage ------------------------------------------------------------------------------------------------------------


def rewrite(path, *, tensors=None, **metadata):
    """Rewrite the file with other tensors, or other metadata (None omits a key), and as the first files: no digest."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    found = json.loads(content[8 : 8 + size])["__metadata__"] | {"digest": None} | metadata
    whole = safetensors.numpy.load(content) if tensors is None else tensors(safetensors.numpy.load(content))
    found = {key: value for key, value in found.items() if value is not None}
    path.write_bytes(safetensors.numpy.save(whole, metadata=found))


def config_with(**changes):
    plain = rgru.GRU(3, 4, 2, bidirectional=True, reset_after=True, dropout=0.25, dtype="float64")._config
    return json.dumps({key: value for key, value in (plain | changes).items() if value is not None})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": None}, "expected an rgru file.*None"),
        ({"format": "other"}, "expected an rgru file.*other"),
        ({"version": "2"}, "version '1'.*'2'"),
        ({"kind": "LSTM"}, "GRU, Model, GRUClassifier, GRURegressor.*LSTM"),
        ({"config": None}, "configuration.*None"),
        ({"config": "{"}, "configuration.*{"),
        ({"config": "[1]"}, r"configuration.*\[1\]"),
        ({"config": config_with(hidden_size=None)}, "hidden_size"),
        ({"config": config_with(hidden_size=5)}, r"expected \d+ numbers.*got \d+"),
        ({"config": config_with(hidden_size=10**8)}, r"expected \d+ numbers.*got \d+"),
        ({"config": config_with(hidden_size="4")}, "hidden_size: .*'4'"),
        ({"config": config_with(peephole=0.5)}, "peephole"),
        ({"config": config_with(zoneout=1.5)}, "zoneout: .*1.5"),
        ({"config": config_with(bias=False)}, r"layers\.0\.fwd\.b\b"),
        ({"tensors": lambda t: {n: a for n, a in t.items() if n != "layers.1.rev.U"}}, r"layers\.1\.rev\.U"),
        ({"tensors": lambda t: t | {"extra": np.zeros(1)}}, "extra"),
        (
            {"tensors": lambda t: t | {"layers.0.fwd.W": np.zeros((3, 12))}},
            r"layers\.0\.fwd\.W: .*\(12, 3\).*\(3, 12\)",
        ),
        ({"tensors": lambda t: t | {"layers.0.fwd.W": np.zeros((12, 3), np.int64)}}, r"layers\.0\.fwd\.W: .*int64"),
    ],
)
def test_damage_is_reported_with_the_file(gru, path, change, words):
    gru.save(path)
    rewrite(path, **change)
    with pytest.raises(ValueError, match=f"(?s)model.safetensors: .*{words}"):
        rgru.load(path)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_reported(gru, path, length):
    gru.save(path)
    path.write_bytes(path.read_bytes()[:length])
    for read in (rgru.load, io.read_config):
        with pytest.raises(ValueError, match=r"model\.safetensors: expected a safetensors file"):
            read(path)


def test_a_flipped_bit_anywhere_is_found(gru, path):
    gru.save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    read = 0
    for at in rng.choice(len(whole), 300, replace=False):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            twin = rgru.load(path)
        except ValueError as error:
            assert "model.safetensors" in str(error)  # noqa: PT017 - most files raise it, not all
        else:  # the damage was to the name of the digest
            assert np.array_equal(twin.params.flat, gru.params.flat)
            read += 1
    assert read < 5


def test_files_without_a_digest_are_read(gru, path):
    gru.save(path)
    rewrite(path)
    assert io.read_digest(path) is None
    assert np.array_equal(rgru.load(path).params.flat, gru.params.flat)


def test_another_digest_is_damage(gru, path):
    gru.save(path)
    found = io.read_digest(path)
    rewrite(path, digest="0" * 64)
    with pytest.raises(ValueError, match=rf"model.safetensors: expected .* digest 0{{64}}, got {found}"):
        rgru.load(path)


def test_a_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        rgru.load(path)


def test_another_process_reads_the_same_bits(gru, path, tmp_path):
    gru.save(path)
    np.save(tmp_path / "x.npy", X)
    code = "import sys, numpy, rgru; sys.stdout.buffer.write(rgru.load('model.safetensors')(numpy.load('x.npy'))[0])"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert run.stdout == gru(X)[0].tobytes()
