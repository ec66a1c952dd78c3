"""Estimators and the command line on a fake CuPy, whose kernels run in the emulator."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

import rgru
from fake_host import FEATURES, H
from layer_cases import normal


def test_an_estimator(host):
    options = {"hidden_size": H, "max_epochs": 2, "batch_size": 8, "random_state": 0, "bidirectional": True}
    x, labels = normal(20, 6, FEATURES), np.arange(20) % 2
    found = rgru.GRUClassifier(**options, device="cuda").fit(x, labels)
    expected = rgru.GRUClassifier(**options).fit(x, labels)
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(x), atol=1e-4)
    assert pickle.loads(pickle.dumps(found)).predict(x).tolist() == found.predict(x).tolist()


def test_rgru_predict(host, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rgru._cli import main

    x = normal(12, 6, FEATURES)
    model = rgru.GRUClassifier(hidden_size=H, max_epochs=1, random_state=0).fit(x, np.arange(12) % 2)
    model.save(tmp_path / "model.safetensors")
    table = pa.table({"sequence": pa.array([one.tolist() for one in x], pa.list_(pa.list_(pa.float32(), FEATURES)))})
    pq.write_table(table, tmp_path / "in.parquet")
    tables = []
    for device in ("cpu", "cuda"):
        to = tmp_path / f"{device}.parquet"
        command = ["predict", "model.safetensors", "in.parquet", "-o", str(to), "--device", device]
        command[1:3] = [str(tmp_path / name) for name in command[1:3]]
        assert not main(command)
        tables.append(pq.read_table(to))
    assert host.library.products
    assert tables[0].column_names == tables[1].column_names
    assert tables[0].num_rows == 12
