"""A model in Arrow columns, on the command line, in sessions and in workers: the numbers of its own call."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rgru
from command_line import succeed
from rgru.integrations.model_reference import ModelReference
from rgru.model import Activation, LayerNorm, Linear, Pool

LENGTHS = [3, 0, 5, 1]


def make_model(pooling="last", **options):
    gru = rgru.GRU(4, 6, seed=1, **options)
    pooled = [] if pooling is None else [Pool(pooling)]
    before = [LayerNorm(2), Linear(2, 4, seed=0), Activation("relu")]
    return rgru.Model([*before, gru, *pooled, Linear(6, 3, seed=2), Activation("softmax")])


def make_batch():
    rng = np.random.default_rng(0)
    return rgru.Ragged(rng.normal(size=(sum(LENGTHS), 2)).astype(np.float32), np.cumsum([0, *LENGTHS]))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    make_model().save(path)
    return path


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_an_arrow_column(pooling):
    model, x = make_model(pooling), make_batch()
    column = pa.array(rgru.arrow.predict(model, x))
    assert column.type == pa.list_(pa.float32(), 3)
    np.testing.assert_array_equal(np.array(column.to_pylist(), np.float32), model(x))


def test_an_arrow_column_of_every_step():
    model, x = make_model(None), make_batch()
    column = pa.array(rgru.arrow.predict(model, x, output="value"))
    assert [len(row) for row in column.to_pylist()] == LENGTHS
    np.testing.assert_array_equal(np.array(column.flatten().to_pylist(), np.float32), model(x).values)


def test_rows_that_cannot_be_predicted():
    column = pa.array([[[1.0, 2.0]], None, [[np.nan, 1.0]]], pa.list_(pa.list_(pa.float64())))
    with pytest.raises(ValueError, match=r"column.*1"):
        rgru.arrow.predict(make_model(), column)
    found = pa.array(rgru.arrow.predict(make_model(), column, on_error="null"))
    assert found.is_valid().to_pylist() == [True, False, False]
    with pytest.raises(ValueError, match=r"column: expected 2 features.*got 3"):
        rgru.arrow.predict(make_model(), pa.array([[[1.0, 2.0, 3.0]]]))
    with pytest.raises(ValueError, match="output: expected 'value' of a Model, got 'label'"):
        rgru.arrow.predict(make_model(), column, output="label")


def test_rgru_predict_and_info(path, tmp_path):
    x = make_batch()
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "x": pa.array(x)}), tmp_path / "in.parquet")
    succeed("predict", path, tmp_path / "in.parquet", "-o", tmp_path / "out.parquet", "--column", "p=value")
    out = pq.read_table(tmp_path / "out.parquet")
    np.testing.assert_array_equal(np.array(out["p"].to_pylist(), np.float32), make_model()(x))
    shown = succeed("info", path).decode()
    assert "layer 3          reset-before GRU, 4 features, 1 layer of 6 units, float32" in shown
    assert "layer 5          Linear, input_size=6, output_size=3, bias=True" in shown


@pytest.mark.parametrize("pooling", [None, "last"])
def test_sessions(pooling):
    model, events = make_model(pooling), np.random.default_rng(1).normal(size=(2, 4, 2)).astype(np.float32)
    live = rgru.Sessions(model)
    found = np.stack([live.step([7, 8], events[:, t]) for t in range(4)], axis=1)
    np.testing.assert_array_equal(found, make_model(None)(events))


def test_what_sessions_refuse():
    for model, words in (
        (make_model("mean"), r"model: expected Pool\('last'\) or none, got Pool\('mean'\), layers\[4\]"),
        (rgru.Model([rgru.GRU(2, 3), rgru.GRU(3, 3)]), "model: expected a model with one GRU.*got 2"),
        (rgru.Model([rgru.GRU(2, 3, bidirectional=True)]), "model: expected a GRU with bidirectional=False"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            rgru.Sessions(model)
    with pytest.raises(ValueError, match=r"^x: expected 2 features \(input_size\), got 4"):
        rgru.Sessions(make_model()).step([1], np.zeros((1, 4), np.float32))


def test_ids_are_read_by_the_first_layer(tmp_path):
    gru = rgru.GRU(1, 6, vocabulary=5, embedding_size=3, seed=0)
    model, ids = rgru.Model([gru, Pool("last"), Linear(6, 2, seed=1)]), np.array([[0, 4, 2], [1, 1, 3]])
    expected = gru(ids)[1][0] @ model.layers[2].weight.T
    np.testing.assert_allclose(model(ids), expected, rtol=1e-5)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(rgru.load(tmp_path / "m.safetensors")(ids), model(ids))
    found = pa.array(rgru.arrow.predict(model, pa.array(ids.tolist())))
    np.testing.assert_array_equal(np.array(found.to_pylist(), np.float32), model(ids))
    with pytest.raises(ValueError, match=r"^x.*id.*5"):
        model([[5]])


def test_workers_find_the_model(path):
    reference = pickle.loads(pickle.dumps(ModelReference(path)))
    assert repr(reference.get()) == repr(make_model())
    assert reference.no_sequences().values.shape == (0, 2)
