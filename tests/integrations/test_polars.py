"""Polars: the bits of `rgru.arrow.predict` from eager, lazy and streaming frames; sequences of events."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

import rgru
from engine_cases import GRU, MODELS, check_sequences, check_table, make_events, make_table, predictions_of_events

pl = pytest.importorskip("polars")

from rgru.arrow._predict import predict_all  # noqa: E402
from rgru.integrations.polars import Predictor, predict, sequences_from_events  # noqa: E402

ENGINES = ["in-memory", "streaming"]


@pytest.mark.parametrize(("make", "output"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_bits_of_one_process(make, output, engine):
    model, table = make(), make_table()
    frame = pl.from_arrow(table)
    lazy = frame.lazy().with_columns(prediction=predict(model, "x", output=output))
    assert lazy.collect_schema()["prediction"] == pl.Series(rgru.arrow.predict(model, table["x"], output=output)).dtype
    check_table(lazy.collect(engine=engine).to_arrow(), table, model, output)
    check_table(lazy.slice(7, 90).collect(engine=engine).to_arrow(), table.slice(7, 90), model, output)
    assert lazy.filter(pl.col("id") < 0).collect(engine=engine).height == 0


def test_eager_frames(path):
    table = make_table()
    check_table(pl.from_arrow(table).with_columns(prediction=predict(path, "x")).to_arrow(), table, GRU, None)


def test_a_function_for_map_batches(path):
    table, predictor = make_table(), pickle.loads(pickle.dumps(Predictor(path)))
    column = pl.col("x").map_batches(predictor, return_dtype=predictor.dtype, is_elementwise=True)
    check_table(pl.from_arrow(table).lazy().with_columns(prediction=column).collect().to_arrow(), table, GRU, None)


def test_a_file_streams_into_another(path, tmp_path, monkeypatch):
    """In several batches, so that memory need not grow with the file, and with the bits of one batch."""
    count = 30_000
    lengths = np.arange(count) % 4
    values = np.random.default_rng(0).normal(size=(lengths.sum(), 2)).astype(np.float32)
    x = rgru.Ragged(values, np.append(0, lengths.cumsum()))
    pl.DataFrame({"id": np.arange(count), "x": pl.Series(x)}).write_parquet(
        tmp_path / "in.parquet", row_group_size=5_000
    )
    batches = []
    column = predict(path, "x")

    def counted(model, column, *args, **options):
        batches.append(len(column))
        return predict_all(model, column, *args, **options)

    monkeypatch.setattr("rgru.integrations.polars.predict_all", counted)
    pl.scan_parquet(tmp_path / "in.parquet").with_columns(h=column).sink_parquet(
        tmp_path / "out.parquet", engine="streaming"
    )
    assert len(batches) > 1
    assert sum(batches) == count
    made = pl.read_parquet(tmp_path / "out.parquet")
    assert made["id"].to_list() == list(range(count))
    assert made["h"].equals(pl.Series(rgru.arrow.predict(GRU, x)))


def test_features_in_several_columns():
    frame = pl.DataFrame({"a": [[1.0, 2.0], [], [5.0]], "b": [[3.0, 4.0], [], [6.0]]})
    made = frame.lazy().select(h=predict(GRU, ["b", "a"])).collect()["h"]
    assert made.equals(pl.Series(rgru.arrow.predict(GRU, frame.select("b", "a"))))


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_that_fail(engine):
    frame = pl.LazyFrame({"a": [[1.0, 2.0], None, [5.0]], "b": [[3.0, 4.0], [], [6.0]]})
    with pytest.raises(ValueError, match=r"^columns 'a', 'b' \(rows.*, column 'a': expected no nulls, got 1 .* row 1 "):
        frame.with_columns(h=predict(GRU, ["a", "b"])).collect(engine=engine)
    made = frame.with_columns(h=predict(GRU, ["a", "b"], on_error="null")).collect(engine=engine)
    assert made["h"].is_null().to_list() == [False, True, False]
    with pytest.raises(ValueError, match=r"^column 'b' \(rows.*: expected 2 features as the model has, got 1"):
        frame.with_columns(h=predict(GRU, "b")).collect(engine=engine)


def test_arguments_are_validated_at_once():
    with pytest.raises(ValueError, match=r"^output: expected 'last' or 'every' of a GRU, got 'label'$"):
        predict(GRU, "x", output="label")
    with pytest.raises(TypeError, match=r"^sequences: expected the name of a column"):
        predict(GRU, pl.col("x"))
    for pattern in ("*", "^x.*$"):
        with pytest.raises(ValueError, match=r"^sequences: expected names of columns, got the pattern"):
            predict(GRU, pattern)
    with pytest.raises(FileNotFoundError):
        predict("none.safetensors", "x")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("parts", [1, 5])
def test_sequences_of_events(engine, parts):
    events = make_events()
    size = -(-events.num_rows // parts)
    frame = pl.concat([pl.from_arrow(events.slice(start, size)) for start in range(0, events.num_rows, size)])
    lazy = sequences_from_events(frame, "key", "time", ["a", "b"])
    assert lazy.collect_schema().names() == ["key", "time", "a", "b"]
    check_sequences(lazy.collect(engine=engine).to_arrow(), events)
    predicted = lazy.select("key", h=predict(GRU, ["a", "b"])).collect(engine=engine)
    assert dict(zip(predicted["key"], predicted["h"].to_list(), strict=True)) == predictions_of_events(GRU, events)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("argument", ["key", "time"])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_gaps_in_key_and_time_are_refused(engine, argument, value):
    frame = pl.DataFrame({"key": [1.0, 1.0], "time": [1.0, 2.0], "a": [1.0, 2.0]})
    frame = frame.with_columns(pl.Series(argument, [1.0, value]))
    lazy = sequences_from_events(frame, "key", "time", "a")
    message = f"^{argument}: expected no {'nulls' if value is None else 'NaN'} in column '{argument}', got "
    with pytest.raises(ValueError, match=message):
        lazy.collect(engine=engine)


def test_events_without_a_column():
    with pytest.raises(ValueError, match=r"^features: expected one of the columns key, time, a, b, got 'c'$"):
        sequences_from_events(pl.from_arrow(make_events()), "key", "time", "c")


def test_polars_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[polars\]' in a clone of rgru"):
        predict(GRU, "x")
    with pytest.raises(ImportError, match=r"pip install '\.\[polars\]' in a clone of rgru"):
        sequences_from_events(pa.table({}), "key", "time", "a")
