"""References to models: small pickles, loaded once per process, and errors."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rgru
from engine_cases import make_classifier
from rgru.integrations import model_reference
from rgru.integrations.model_reference import ModelReference

X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)


@pytest.fixture
def gru():
    return rgru.GRU(3, 40, seed=0)


@pytest.fixture
def path(gru, tmp_path):
    gru.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture(autouse=True)
def _nothing_loaded():
    model_reference._loaded.clear()


def travel(model):
    """Unpickle as in another process, where nothing is loaded."""
    content = pickle.dumps(ModelReference(model))
    model_reference._loaded.clear()
    return pickle.loads(content)


def test_a_path_is_a_small_pickle(gru, path):
    assert len(pickle.dumps(ModelReference(path))) < 500
    assert np.array_equal(travel(path).get()(X)[0], gru(X)[0])
    assert np.array_equal(travel(str(path)).get()(X)[0], gru(X)[0])


def test_a_model_is_a_pickle_of_about_its_weights(gru):
    assert 0 < len(pickle.dumps(ModelReference(gru))) - gru.params.flat.nbytes < 1500
    assert np.array_equal(travel(gru).get()(X)[0], gru(X)[0])


def test_a_packed_model_is_pickled_without_packed_weights(gru):
    before = len(pickle.dumps(ModelReference(gru)))
    gru(X)
    assert len(pickle.dumps(ModelReference(gru))) <= before + 10


def test_a_reference_to_an_estimator():
    model = make_classifier()
    x = rgru.Ragged.from_list([np.ones((3, 2), np.float32)])
    assert np.array_equal(travel(model).get().predict_proba(x), model.predict_proba(x))


def test_later_changes_are_not_sent(gru):
    y, _ = gru(X)
    sent = ModelReference(gru)
    gru.layers[0].fwd.b = np.ones(120, np.float32)
    assert np.array_equal(sent.get()(X)[0], y)


def test_it_is_loaded_once_per_process(path, monkeypatch):
    loads = []
    monkeypatch.setattr(model_reference, "load", lambda path: loads.append(path) or rgru.load(path))
    content = pickle.dumps(ModelReference(path))
    model_reference._loaded.clear()
    loads.clear()
    models = []
    start = threading.Barrier(8)

    def get():
        start.wait()
        models.append(pickle.loads(content).get())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(models) == 8
    assert len(set(map(id, models))) == 1


def test_a_process_keeps_a_bounded_number(gru):
    sent = []
    for i in range(model_reference.MOST_MODELS + 3):
        gru.layers[0].fwd.b = np.full(120, i, np.float32)
        sent.append(ModelReference(gru))
        sent[-1].get()
        sent[0].get()  # used again and again: it stays
    assert len(model_reference._loaded) == model_reference.MOST_MODELS
    assert sent[0]._digest in model_reference._loaded
    assert sent[1]._digest not in model_reference._loaded
    assert np.array_equal(sent[1].get().layers[0].fwd.b, np.full(120, 1))  # loaded again on demand


def test_a_relative_path_is_found_from_another_folder(gru, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sent = ModelReference("model.safetensors")
    monkeypatch.chdir("/")
    model_reference._loaded.clear()
    assert np.array_equal(sent.get()(X)[0], gru(X)[0])


def test_a_missing_file_is_an_error_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        ModelReference(tmp_path / "none.safetensors")


def test_a_file_of_another_format_is_an_error_at_once(path):
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"model\.safetensors: expected a safetensors file"):
        ModelReference(path)


def test_another_file_on_the_worker_is_refused(path):
    sent = travel(path)
    rgru.GRU(3, 40, seed=1).save(path)
    with pytest.raises(ValueError, match=r"model\.safetensors: expected the file as it was when the job was made"):
        sent.get()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        sent.get()


def test_a_file_that_was_replaced_is_another_model(path):
    old = ModelReference(path)
    rgru.GRU(3, 40, seed=1).save(path)
    new = ModelReference(path)
    assert not np.array_equal(new.get()(X)[0], old.get()(X)[0])


def test_objects_other_than_models_are_refused():
    with pytest.raises(TypeError, match=r"^model: expected a path, GRU, Model, .*, got dict$"):
        ModelReference({})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_while_another_thread_loads(path):
    """The lock that the thread holds is free in the child."""
    sent = ModelReference(path)
    with model_reference._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if np.isfinite(sent.get()(X)[0]).all() else 1)
    deadline = time.monotonic() + 30
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(found[1]) == 0


def test_no_engine_is_imported():
    code = """
import pkgutil, importlib, sys, rgru.integrations
for module in pkgutil.iter_modules(rgru.integrations.__path__):
    importlib.import_module(f"rgru.integrations.{module.name}")
print(*sorted({"ray", "pyspark", "polars", "pyarrow", "pandas"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "\n"
