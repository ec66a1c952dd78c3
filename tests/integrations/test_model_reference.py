"""Models on their way to workers: small pickles, loaded once a process, and what can go wrong."""

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
from rgru.integrations import model_reference as shipped
from rgru.integrations.model_reference import Shipped

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
    shipped._loaded.clear()


def travel(model):
    """To another process, as it were: nothing is loaded there."""
    content = pickle.dumps(Shipped(model))
    shipped._loaded.clear()
    return pickle.loads(content)


def test_a_path_is_a_small_pickle(gru, path):
    assert len(pickle.dumps(Shipped(path))) < 500
    assert np.array_equal(travel(path).get()(X)[0], gru(X)[0])
    assert np.array_equal(travel(str(path)).get()(X)[0], gru(X)[0])


def test_a_model_is_a_pickle_of_about_its_weights(gru):
    assert 0 < len(pickle.dumps(Shipped(gru))) - gru.params.flat.nbytes < 1500
    assert np.array_equal(travel(gru).get()(X)[0], gru(X)[0])


def test_a_packed_model_travels_without_what_was_packed(gru):
    before = len(pickle.dumps(Shipped(gru)))
    gru(X)
    assert len(pickle.dumps(Shipped(gru))) <= before + 10


def test_an_estimator_travels():
    model = make_classifier()
    x = rgru.Ragged.from_list([np.ones((3, 2), np.float32)])
    assert np.array_equal(travel(model).get().predict_proba(x), model.predict_proba(x))


def test_later_changes_stay_at_home(gru):
    y, _ = gru(X)
    sent = Shipped(gru)
    gru.layers[0].fwd.b = np.ones(120, np.float32)
    assert np.array_equal(sent.get()(X)[0], y)


def test_it_is_loaded_once_a_process(path, monkeypatch):
    loads = []
    monkeypatch.setattr(shipped, "load", lambda path: loads.append(path) or rgru.load(path))
    content = pickle.dumps(Shipped(path))
    shipped._loaded.clear()
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
    for i in range(shipped.MOST_MODELS + 3):
        gru.layers[0].fwd.b = np.full(120, i, np.float32)
        sent.append(Shipped(gru))
        sent[-1].get()
        sent[0].get()  # used all the time: it stays
    assert len(shipped._loaded) == shipped.MOST_MODELS
    assert sent[0]._digest in shipped._loaded
    assert sent[1]._digest not in shipped._loaded
    assert np.array_equal(sent[1].get().layers[0].fwd.b, np.full(120, 1))  # it comes back when it is asked for


def test_a_relative_path_is_found_from_another_folder(gru, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sent = Shipped("model.safetensors")
    monkeypatch.chdir("/")
    shipped._loaded.clear()
    assert np.array_equal(sent.get()(X)[0], gru(X)[0])


def test_no_file_is_told_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        Shipped(tmp_path / "none.safetensors")


def test_no_model_file_is_told_at_once(path):
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"model\.safetensors: expected a safetensors file"):
        Shipped(path)


def test_another_file_on_the_worker_is_refused(path):
    sent = travel(path)
    rgru.GRU(3, 40, seed=1).save(path)
    with pytest.raises(ValueError, match=r"model\.safetensors: expected the file as it was when the job was made"):
        sent.get()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        sent.get()


def test_a_file_that_was_replaced_is_another_model(path):
    old = Shipped(path)
    rgru.GRU(3, 40, seed=1).save(path)
    new = Shipped(path)
    assert not np.array_equal(new.get()(X)[0], old.get()(X)[0])


def test_no_model():
    with pytest.raises(TypeError, match=r"^model: expected a path, GRU, GRUClassifier or GRURegressor, got dict$"):
        Shipped({})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_while_another_thread_loads(path):
    """The lock that the thread holds is held by nobody in the child."""
    sent = Shipped(path)
    with shipped._lock:
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
