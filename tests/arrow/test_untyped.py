"""Columns, partitions and blocks without a number may have the type null, at any level."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import rgru

NULL = pa.null()
# Columns whose rows are sequences without steps, or null.
EMPTY = {
    "list<null>": pa.array([[], []]),
    "large_list<null>": pa.array([[], []], pa.large_list(NULL)),
    "list_view<null>": pa.array([[], []], pa.list_view(NULL)),
    "fixed_size_list<null>[0]": pa.array([[], []], pa.list_(NULL, 0)),
    "list<list<null>>": pa.array([[], []], pa.list_(pa.list_(NULL))),
    "list<large_list<null>>": pa.array([[], []], pa.list_(pa.large_list(NULL))),
    "list<fixed_size_list<null>[2]>": pa.array([[], []], pa.list_(pa.list_(NULL, 2))),
    "list<struct<null, double>>": pa.array([[], []], pa.list_(pa.struct({"a": NULL, "b": pa.float64()}))),
    "chunks": pa.chunked_array([[[]], [[]]], pa.list_(NULL)),
    "slice": pa.array([[], [], [None], []]).slice(0, 2),
}
NOTHING = {
    "null": pa.nulls(2),
    "chunks of null": pa.chunked_array([pa.nulls(1), pa.nulls(1)]),
    "nulls in list<null>": pa.array([None, None], pa.list_(NULL)),
    "null steps": pa.array([[None, None], [None]]),
    "list_view of nulls": pa.array([[None, None], [None]], pa.list_view(NULL)),
    "fixed_size_list of nulls": pa.array([[None, None], None], pa.list_(NULL, 2)),
    "null values in lists": pa.array([[[None, None]], [[None, None]]]),
    "null values in lists of a fixed size": pa.array([[[None, None]], None], pa.list_(pa.list_(NULL, 2))),
    "null field": pa.array([[{"a": None, "b": 1.0}], None], pa.list_(pa.struct({"a": NULL, "b": pa.float64()}))),
    "a table of nulls": pa.table({"a": pa.nulls(2), "b": pa.nulls(2)}),
    "a table that is half null": pa.table({"a": [[1.0], []], "b": pa.nulls(2)}),
}
MODELS = {}


def models():
    if not MODELS:
        rng = np.random.default_rng(0)
        x, options = rng.standard_normal((20, 3, 2)), {"hidden_size": 3, "max_epochs": 1, "random_state": 0}
        MODELS["gru"] = rgru.GRU(2, 3, seed=0)
        MODELS["gru of float64"] = rgru.GRU(2, 3, dtype="float64", seed=0)
        MODELS["classifier"] = rgru.GRUClassifier(**options).fit(x, [0, 1] * 10)
        MODELS["regressor"] = rgru.GRURegressor(**options).fit(x, x[:, -1])
        MODELS["every"] = rgru.GRURegressor(pooling="every", **options).fit(x, x)
    return MODELS


@pytest.mark.parametrize("column", EMPTY.values(), ids=EMPTY)
def test_sequences_without_steps_are_predicted_as_typed_ones(column):
    typed = pa.array([[], []], pa.list_(pa.list_(pa.float32(), 2)))
    for model in models().values():
        for on_error in ("raise", "null"):
            made = pa.array(rgru.arrow.predict(model, column, on_error=on_error))
            assert made.equals(pa.array(rgru.arrow.predict(model, typed)))
    assert models()["classifier"].predict(column).tolist() == models()["classifier"].predict(typed).tolist()


@pytest.mark.parametrize("column", NOTHING.values(), ids=NOTHING)
def test_nulls_without_a_type_are_nulls(column):
    for model in models().values():
        assert rgru.arrow.predict(model, column, on_error="null").null_count == 2
        with pytest.raises(ValueError, match=r"expected no nulls, got \d null (sequence|step|value)"):
            rgru.arrow.predict(model, column)
    for name in ("classifier", "regressor", "every"):
        with pytest.raises(ValueError, match=r"X.*: expected no nulls, got \d null (sequence|step|value)"):
            models()[name].predict(column)


@pytest.mark.parametrize("column", [*EMPTY.values(), *NOTHING.values()], ids=[*EMPTY, *NOTHING])
def test_no_rows_of_such_a_type_are_no_rows(column):
    for model in models().values():
        for on_error in ("raise", "null"):
            assert len(rgru.arrow.predict(model, column.slice(0, 0), on_error=on_error)) == 0
    assert models()["classifier"].predict(column.slice(0, 0)).shape == (0,)


def test_half_of_the_columns_may_have_no_type():
    table = pa.table({"a": pa.array([[], [1.0], None]), "b": pa.array([[], None, []], pa.list_(NULL))})
    made = pa.array(rgru.arrow.predict(models()["gru"], table, on_error="null"))
    assert made.is_null().to_pylist() == [False, True, True]
    assert made[0].as_py() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"^column 'b': expected no nulls, got 1 null sequence in row 1 "):
        rgru.arrow.predict(models()["gru"], table.slice(0, 2))


def test_as_ragged():
    ragged = rgru.Ragged.from_arrow(pa.array([[], []]), num_features=3)
    assert ragged.values.shape == (0, 3)
    assert ragged.values.dtype == np.float32
    assert ragged.lengths.tolist() == [0, 0]
    assert rgru.Ragged.from_arrow(pa.nulls(0)).values.shape == (0, 1)
    with pytest.raises(ValueError, match=r"^column: expected no nulls, got 2 null sequences, the first in row 0 "):
        rgru.Ragged.from_arrow(pa.nulls(2))
    with pytest.raises(ValueError, match=r"^column: expected no nulls, got 3 null steps, the first in row 1 "):
        rgru.Ragged.from_arrow(pa.array([[], [None, None], [None]]))


def test_an_index_of_pandas_without_a_type_is_no_feature():
    table = pa.table({"a": pa.array([[1.0], []]), "__index_level_0__": pa.nulls(2)})
    assert rgru.Ragged.from_arrow(table).values.shape == (1, 1)


def test_a_pandas_selection_without_rows():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [[[1.0, 2.0]], [[3.0, 4.0]]], "id": [1, 2]})
    none = frame[frame["id"] > 2]
    for column in (none["x"], none[["x"]]):
        if hasattr(column, "__arrow_c_stream__"):
            assert len(rgru.arrow.predict(models()["gru"], column)) == 0
            assert models()["classifier"].predict(column).shape == (0,)


def test_polars_without_a_type():
    polars = pytest.importorskip("polars")
    from rgru.integrations.polars import predict

    for values, kind in (([[], []], polars.List(polars.Null)), ([None, None], polars.Null)):
        frame = polars.DataFrame({"x": polars.Series(values, dtype=kind)})
        made = frame.with_columns(h=predict(models()["gru"], "x", on_error="null"))["h"]
        assert made.null_count() == sum(value is None for value in values)
        assert made.dtype == polars.Array(polars.Float32, 3)


def test_keys_of_sessions_without_a_type():
    sessions = rgru.Sessions(models()["gru"])
    assert sessions.step(pa.nulls(0), np.zeros((0, 2), np.float32)).shape == (0, 3)
    assert sessions.drop(pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.nulls(0))) == 0
    with pytest.raises(ValueError, match="keys: expected no nulls, got 2"):
        sessions.step(pa.nulls(2), np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("kind", [[], ()])
def test_an_empty_list_is_a_sequence_without_steps(kind):
    model = models()["classifier"]
    expected = model.predict_proba([np.zeros((0, 2)), np.ones((1, 2))])
    assert np.array_equal(model.predict_proba([kind, [[1.0, 1.0]]]), expected)
    assert np.array_equal(model.predict_proba([np.array([]), [[1.0, 1.0]]]), expected)
    objects = np.empty(2, object)
    objects[:] = [[], np.ones((1, 2))]
    assert np.array_equal(model.predict_proba(objects), expected)
    assert np.array_equal(model.predict_proba([kind, kind]), expected[[0, 0]])
    every = models()["every"]
    assert [one.shape for one in every.predict([kind, [[1.0, 1.0]]])] == [(0, 2), (1, 2)]
    assert np.isfinite(every.score([kind, [[1.0, 2.0], [3.0, 4.0]]], [[], [[1.0, 2.0], [2.0, 1.0]]]))
    ragged = rgru.Ragged.from_list([kind, [[1.0, 1.0]], kind])
    assert ragged.lengths.tolist() == [0, 1, 0]
    assert rgru.Ragged.from_list([kind], num_features=2, dtype="float64").values.shape == (0, 2)
    with pytest.raises(ValueError, match="num_features: expected a number, since no sequence determines it, got None"):
        rgru.Ragged.from_list([kind])
    with pytest.raises(ValueError, match=r"X\[2\]: expected 2 features as X\[1\], got shape \(1, 1\)"):
        model.predict([kind, [[1.0, 1.0]], [[1.0]]])
