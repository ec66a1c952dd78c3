"""Equal seeds and data yield equal files, in any process, at any speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import rgru
from estimator_cases import fitted

MAKE = {
    "layer": "rgru.GRU(3, 4, 2, bidirectional=True, reset_after=True, seed=0).save(path)",
    "classifier": "rgru.GRUClassifier(**QUICK, dropout=0.2).fit(X, X[:, 0, 0] > 0).save(path)",
    "labels": "rgru.GRUClassifier(**QUICK).fit(X, ['ab'[i % 2] for i in range(40)]).save(path)",
    "regressor": "rgru.GRURegressor(**QUICK, dtype='float64').fit(X, X.sum((1, 2))).save(path)",
    "sessions": """
sessions = rgru.Sessions(rgru.GRU(3, 4, seed=0), timeout=10)
for t in range(5):
    sessions.step([f'user {i % (7 + t)}' for i in range(40)], X[:, t], times=np.full(40, t))
sessions.drop(['user 3'])
sessions.save(path)
""",
    "numbered sessions": """
sessions = rgru.Sessions(rgru.GRU(3, 4, seed=0), max_sessions=20)
for t in range(5):
    sessions.step(np.random.default_rng(t).permutation(40), X[:, t])
sessions.save(path)
""",
}


@pytest.mark.parametrize("what", MAKE)
def test_equal_seeds_yield_equal_bytes(tmp_path, what):
    contents = []
    for i, threads in enumerate(["1", "2", "2"]):
        code = f"""
import sys
import numpy as np
import rgru
path = sys.argv[1]
QUICK = {{"hidden_size": 3, "max_epochs": 3, "random_state": 0}}
X = np.random.default_rng(0).standard_normal((40, 5, 3)).astype(np.float32)
{MAKE[what]}
"""
        variables = {**os.environ, "PYTHONHASHSEED": str(i), "RGRU_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True, env=variables, timeout=60)
        contents.append((tmp_path / "file").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_throughput_is_not_in_the_file(tmp_path):
    estimator = fitted(rgru.GRURegressor)
    assert len(estimator.history_.sequences_per_second) == estimator.n_iter_
    estimator.save(tmp_path / "model")
    assert rgru.load(tmp_path / "model").history_.sequences_per_second == []


def test_files_with_throughput_are_read(tmp_path):
    """The first versions saved it."""
    from rgru._files.model_file import save

    estimator = fitted(rgru.GRURegressor)
    config = estimator._config()
    config["history"]["sequences_per_second"] = [5.0] * estimator.n_iter_
    save(tmp_path / "model", estimator._tensors(), config, kind="GRURegressor")
    assert rgru.load(tmp_path / "model").history_.sequences_per_second == [5.0] * estimator.n_iter_


def test_tensors_are_aligned_and_whole(tmp_path):
    from rgru._files.model_file import save

    tensors = {"a": np.ones(3, np.float16), "b": np.arange(4, dtype=">f8")[::2], "c": np.ones((0, 2), np.float32)}
    save(tmp_path / "file", tensors, {}, kind="GRU")
    found = safetensors.numpy.load_file(tmp_path / "file")
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in tensors.items()}
    content = (tmp_path / "file").read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert size % 8 == 0
    begins = {
        name: one["data_offsets"][0] for name, one in json.loads(content[8 : 8 + size]).items() if name in tensors
    }
    assert all(begins[name] % array.itemsize == 0 for name, array in tensors.items())
