"""Objects unpickled around read-only memory: joblib maps large arrays, Ray and others share theirs."""

import copy
import pickle

import numpy as np
import pytest

import rgru
from estimator_cases import EITHER, fitted, outputs, sequences

joblib = pytest.importorskip("joblib")


def mapped(thing, folder, mode):
    joblib.dump(thing, folder / "thing.joblib")
    return joblib.load(folder / "thing.joblib", mmap_mode=mode)


def shared(thing):
    """Pickle with the arrays out of band, as in an object store."""
    buffers = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


ROADS = {
    "read-only file": lambda thing, folder: mapped(thing, folder, "r"),
    "writable file": lambda thing, folder: mapped(thing, folder, "r+"),
    "private file": lambda thing, folder: mapped(thing, folder, "c"),
    "shared memory": lambda thing, folder: shared(thing),
    "pickle": lambda thing, folder: pickle.loads(pickle.dumps(thing)),
    "deepcopy": lambda thing, folder: copy.deepcopy(thing),
}


@pytest.fixture(params=list(ROADS))
def through(request, tmp_path):
    return lambda thing: ROADS[request.param](thing, tmp_path)


def test_parameters_of_a_gru_can_be_assigned_and_are_its_own(through):
    gru = rgru.GRU(2, 3, bidirectional=True, seed=0)
    x = np.ones((1, 4, 2), np.float32)
    expected = gru(x)[0]
    came = through(gru)
    assert np.array_equal(came(x)[0], expected)
    came.params["layers.0.fwd.b"] = np.ones(9, np.float32)
    came.layers[0].rev.b_z = np.ones(3, np.float32)
    assert not np.array_equal(came(x)[0], expected)
    assert np.array_equal(gru(x)[0], expected)


def test_nothing_is_written_to_the_file(tmp_path):
    gru = rgru.GRU(2, 3, seed=0)
    mapped(gru, tmp_path, "r+").params["layers.0.fwd.b"] = np.ones(9, np.float32)
    assert not joblib.load(tmp_path / "thing.joblib").params["layers.0.fwd.b"].any()


@EITHER
def test_estimators_predict_save_and_are_trained_again(kind, through, tmp_path):
    estimator = fitted(kind)
    X = sequences()
    came = through(estimator)
    expected = outputs(estimator, X)
    found = outputs(came, X)
    assert type(found) is np.ndarray
    assert np.array_equal(found, expected)
    came._head.bias[...] = 7
    came._head.weight[...] = 0
    came.model_._changed()
    assert not np.array_equal(outputs(came, X), expected)
    came.save(tmp_path / "model.safetensors")
    assert np.array_equal(outputs(rgru.load(tmp_path / "model.safetensors"), X), outputs(came, X))
    came.fit(X, estimator.predict(X))
    assert np.array_equal(outputs(estimator, X), expected)


@EITHER
def test_estimators_serve_sessions(kind, through):
    estimator = fitted(kind)
    keys, x = ["a", "b"], np.ones((2, 3))
    expected = rgru.Sessions(estimator).step(keys, x)
    assert np.array_equal(rgru.Sessions(through(estimator)).step(keys, x), expected)


def test_a_ragged_stays_read_only(through):
    ragged = rgru.Ragged(np.arange(6.0).reshape(3, 2), [0, 1, 3])
    came = through(ragged)
    assert type(came.values) is np.ndarray
    assert not came.values.flags.writeable
    assert not came.offsets.flags.writeable
    assert np.array_equal(came.values, ragged.values)
    assert [len(one) for one in came] == [1, 2]


def test_a_worker_of_joblib_runs_a_large_gru():
    """Arrays of 1 MB or more are mapped read-only from a file."""
    gru = rgru.GRU(100, 300, seed=0)
    assert gru.params.flat.nbytes > 2**20

    def assign(came):
        came.params["layers.0.fwd.b"] = np.ones(900, np.float32)
        return float(came.params["layers.0.fwd.b"].sum())

    assert joblib.Parallel(n_jobs=2)(joblib.delayed(assign)(gru) for _ in range(2)) == [900.0, 900.0]
    assert not gru.params["layers.0.fwd.b"].any()
