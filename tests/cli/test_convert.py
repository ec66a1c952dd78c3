"""`rgru convert`: what is found, what is written, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

import rgru
from command_line import fail, succeed
from rgru.convert.torch import to_state_dict
from rgru.model import Linear, Pool

GRU = rgru.GRU(3, 4, 2, bidirectional=True, reset_after=True, seed=0)


@pytest.fixture
def state(tmp_path):
    arrays = {f"encoder.gru.{name}": array for name, array in to_state_dict(GRU).items()}
    arrays["head.weight"] = np.zeros((2, 8), np.float32)
    save_file(arrays, tmp_path / "torch.safetensors")
    return tmp_path / "torch.safetensors"


def same(path):
    found = rgru.load(path)
    assert repr(found) == repr(GRU)
    assert np.array_equal(found.params.flat, GRU.params.flat)


@pytest.mark.parametrize("name", [(), ("--name", "encoder.gru")])
def test_a_state_dict(state, tmp_path, name):
    out = succeed("convert", state, tmp_path / "out.safetensors", *name).decode()
    left = "not read, since they are no parameters of a GRU: head.weight\n"
    assert out == f"{state}: {GRU!r}\n{left}written to {tmp_path / 'out.safetensors'}\n"
    same(tmp_path / "out.safetensors")


def test_there_and_back(tmp_path):
    GRU.save(tmp_path / "a.safetensors")
    succeed("convert", tmp_path / "a.safetensors", tmp_path / "b.npz")
    succeed("convert", tmp_path / "b.npz", tmp_path / "c.safetensors")
    same(tmp_path / "c.safetensors")


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("ending", ["onnx", "keras"])
def test_a_whole_model(tmp_path, ending, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(ending)
    model = rgru.Model([rgru.GRU(2, 3, seed=0), Pool("last"), Linear(3, 1, seed=0)])
    model.save(tmp_path / "a.safetensors")
    succeed("convert", tmp_path / "a.safetensors", tmp_path / f"b.{ending}")
    succeed("convert", tmp_path / f"b.{ending}", tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.peers
@pytest.mark.parametrize("ending", ["onnx", "pt"])
def test_there_and_back_through_frameworks(tmp_path, ending):
    pytest.importorskip({"onnx": "onnx", "pt": "torch"}[ending])
    GRU.save(tmp_path / "a.safetensors")
    succeed("convert", tmp_path / "a.safetensors", tmp_path / f"b.{ending}")
    succeed("convert", tmp_path / f"b.{ending}", tmp_path / "c.safetensors")
    same(tmp_path / "c.safetensors")


def test_what_is_refused(state, tmp_path):
    out = tmp_path / "out.safetensors"
    fail(r"OUT: expected an ending \.safetensors, .*, got .*out\.h6", "convert", state, tmp_path / "out.h6")
    fail(r"torch\.safetensors: prefix: expected one of 'encoder\.gru\.', got 'x'", "convert", state, out, "--name", "x")
    fail("expected an ending .safetensors, .pt", "convert", __file__, out)
    fail("No such file", "convert", tmp_path / "none.pt", out)
    rgru.Model([rgru.GRU(2, 3), Pool("last"), Linear(3, 1)]).save(tmp_path / "model.safetensors")
    message = r"out\.npz: expected a GRU alone for \.npz, got a Model; \.safetensors, \.keras and \.onnx take both"
    fail(message, "convert", tmp_path / "model.safetensors", tmp_path / "out.npz")
    fail("--name: expected none for a file of rgru", "convert", tmp_path / "model.safetensors", out, "--name", "x")
    assert not out.exists()
