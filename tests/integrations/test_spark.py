"""PySpark: the bits of `rgru.arrow.predict` over many partitions, sequences of events, and workers that are killed."""

from __future__ import annotations

import doctest
import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import rgru
from engine_cases import (
    FAILING,
    GRU,
    MODELS,
    PAIR,
    check_sequences,
    check_table,
    check_two_outputs,
    check_validation,
    make_events,
    make_table,
    need_spark,
    predictions_of_events,
)
from rgru.integrations import spark as integration
from rgru.integrations.spark import Predictor, predict, sequences_from_events

pytestmark = [
    pytest.mark.engines,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]

LISTS = pa.list_(pa.list_(pa.float32()))  # Spark has no lists of fixed size


@pytest.fixture(scope="module")
def spark():
    need_spark()
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2,3]")  # two threads, and up to three attempts a task
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def frame_of(spark, table, parts=5):
    if "x" in table.column_names:
        table = table.set_column(table.column_names.index("x"), "x", table["x"].cast(LISTS))
    return spark.createDataFrame(table).repartition(parts)


@pytest.mark.parametrize(("make", "output"), MODELS.values(), ids=MODELS)
def test_the_bits_of_one_process(spark, make, output):
    model, table = make(), make_table()
    frame = predict(frame_of(spark, table), model, "x", outputs={"prediction": output})
    check_table(frame.toArrow(), table, model, output)


def test_a_function_for_map_in_arrow_over_parquet(spark, path, tmp_path):
    table = make_table()
    pa.parquet.write_table(table, tmp_path / "in.parquet", row_group_size=60)
    frame = spark.read.parquet(str(tmp_path / "in.parquet"))
    predictor = Predictor(path, "x")
    frame.mapInArrow(predictor, predictor.schema(frame.schema)).write.parquet(str(tmp_path / "out.parquet"))
    check_table(pa.parquet.read_table(tmp_path / "out.parquet"), table, GRU, None)


def test_partitions_without_rows(spark, path):
    table = make_table(3)
    check_table(predict(frame_of(spark, table, parts=7), path, "x").toArrow(), table, GRU, None)
    none = predict(frame_of(spark, table).filter("id < 0"), path, "x")
    assert none.count() == 0
    assert none.columns == ["id", "x", "prediction"]


def test_several_outputs_and_what_is_kept(spark):
    model = MODELS["labels"][0]()
    frame = predict(frame_of(spark, make_table()), model, "x", outputs={"p": "probability", "l": "label"}, keep="id")
    assert frame.schema["l"].dataType.simpleString() == "string"
    check_two_outputs(frame.toArrow())


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8", "bool", "float32"])
def test_labels_that_spark_has_no_type_for(spark, kind):
    """Unsigned types are widened."""
    x = [np.ones((2, 2), np.float32), np.zeros((1, 2), np.float32)] * 4
    model = rgru.GRUClassifier(hidden_size=3, max_epochs=1, random_state=0).fit(x, np.array([0, 1] * 4, kind))
    made = predict(frame_of(spark, make_table()), model, "x").toArrow().sort_by("id")
    assert made["prediction"].to_pylist() == pa.array(rgru.arrow.predict(model, make_table()["x"])).to_pylist()


def test_rows_that_fail(spark, path):
    errors = pytest.importorskip("pyspark.errors")
    frame = frame_of(spark, FAILING, parts=1)
    with pytest.raises(errors.PythonException, match=r"ValueError: column 'x' .*: expected no nulls, got 1 null"):
        predict(frame, path, "x").count()
    made = predict(frame, path, "x", on_error="null").toArrow().sort_by("id")
    assert made["prediction"].is_null().to_pylist() == [False, True, True]


def test_arguments_are_validated_on_the_driver(spark, path):
    frame = frame_of(spark, make_table())
    check_validation(predict, frame, path)
    with pytest.raises(ValueError, match=r"^num_partitions: expected .*, got 0$"):
        sequences_from_events(frame, "id", "time", "x", num_partitions=0)


def threads_of(frame, path, **options):
    """Return the numbers of threads in the workers."""

    def answer(batches):
        import rgru

        for batch in predictor(batches):
            threads = rgru.info()["num_threads"]
            yield pa.RecordBatch.from_arrays([pa.array([threads] * batch.num_rows)], names=["threads"])

    predictor = Predictor(path, "x", **options)
    return set(frame.mapInArrow(answer, "threads long").toArrow()["threads"].to_pylist())


def test_the_model_is_loaded_once_per_worker(spark, path, tmp_path):
    """For any number of batches and partitions: counts the calls of `load`."""
    log = str(tmp_path / "loads")

    def logging(batches):
        from rgru.integrations import model_reference

        load = model_reference.load

        def logged(path):
            with open(log, "a") as file:  # noqa: PTH123
                file.write(f"{os.getpid()}\n")
            return load(path)

        model_reference.load = logged
        try:
            yield from predictor(batches)
        finally:
            model_reference.load = load

    rgru.GRU(2, 5, seed=7).save(tmp_path / "new.safetensors")  # new to all workers
    predictor = Predictor(tmp_path / "new.safetensors", "x")
    frame = frame_of(spark, make_table(), parts=8)
    made = frame.mapInArrow(logging, predictor.schema(frame.schema)).toArrow()
    assert made.num_rows == 200
    loads = (tmp_path / "loads").read_text().split()
    assert 1 <= len(loads) == len(set(loads)) <= 2


def test_threads_are_the_share_of_the_task(spark, path):
    frame = frame_of(spark, make_table())
    assert threads_of(frame, path) == {1}  # spark.task.cpus, not the machine's
    assert threads_of(frame, path, num_threads=3) == {3}
    assert threads_of(frame, path) == {1}


def test_threads_by_precedence(spark, monkeypatch):
    """Argument, then RGRU_NUM_THREADS, then the task's CPUs."""

    class Context:
        @staticmethod
        def get():
            return Context

        @staticmethod
        def cpus():
            return 5

    monkeypatch.setattr("pyspark.TaskContext", Context)
    try:
        for argument, environment, wanted in [(None, None, 5), (None, "4", 4), (3, "4", 3), (3, None, 3)]:
            with monkeypatch.context() as patch:
                patch.delenv("RGRU_NUM_THREADS", raising=False)
                if environment:
                    patch.setenv("RGRU_NUM_THREADS", environment)
                integration._set_task_threads(argument)
                assert rgru.info()["num_threads"] == wanted
    finally:
        rgru.set_num_threads(None)


def test_a_killed_worker_neither_loses_nor_repeats_a_row(spark, path, tmp_path):
    """In the middle of a partition, after some of its rows; Spark retries the task."""
    killed = tmp_path / "killed"

    def deadly(batches):
        for i, batch in enumerate(predictor(batches)):
            yield batch
            if i == 1:
                try:
                    killed.touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)

    predictor, table = Predictor(path, "x"), make_table(400)
    frame = frame_of(spark, table, parts=4)
    made = frame.mapInArrow(deadly, predictor.schema(frame.schema)).toArrow()
    assert killed.exists()
    check_table(made, table, GRU, None)


@pytest.mark.parametrize("parts", [1, 6])
def test_sequences_of_events(spark, parts):
    events = make_events()
    frame = sequences_from_events(frame_of(spark, events, parts), "key", "time", ["a", "b"])
    check_sequences(frame.toArrow(), events)
    few = sequences_from_events(frame_of(spark, events, parts), "key", "time", ["a", "b"], num_partitions=1)
    assert few.rdd.getNumPartitions() == 1
    made = predict(few, GRU, ["a", "b"], keep="key").toArrow().to_pylist()
    assert {row["key"]: row["prediction"] for row in made} == predictions_of_events(GRU, events)
    assert len(made) == 60


def test_events_with_timestamps_and_several_keys(spark):
    time = pa.array([30, 10, 20, 5, 7], pa.timestamp("us", "UTC"))
    table = pa.table({"k": [1, 1, 2, 2, 1], "t": time, "l": ["b", "a", "a", "b", "b"], "f": [1, 2, 3, 4, 5]})
    frame = sequences_from_events(frame_of(spark, table), ["k", "l"], "t", "f")
    assert frame.columns == ["k", "l", "t", "f"]
    made = frame.toArrow()
    rows = sorted((row["k"], row["l"], row["f"]) for row in made.to_pylist())
    assert rows == [(1, "a", [2]), (1, "b", [5, 1]), (2, "a", [3]), (2, "b", [4])]
    assert made["t"].type.value_type == pa.timestamp("us", "UTC")


def test_names_with_dots_and_backticks(spark):
    names = {"key": "the.key", "time": "t`t", "a": "x.a", "b": "`x.b`"}
    events = make_events()
    frame = frame_of(spark, events.rename_columns([names[name] for name in events.column_names]))
    sequences = sequences_from_events(frame, "the.key", "t`t", ["x.a", "`x.b`"])
    assert sequences.columns == list(names.values())
    check_sequences(sequences.toArrow().rename_columns(list(names)), events)
    made = predict(sequences, GRU, ["x.a", "`x.b`"], keep="the.key", outputs={"h.1": "last"}).toArrow().to_pylist()
    assert {row["the.key"]: row["h.1"] for row in made} == predictions_of_events(GRU, events)


def test_keys_that_cannot_be_compared_are_refused_on_the_driver(spark):
    frame = spark.createDataFrame([((1, "a"), 1, 1.0)], "key struct<i:int,s:string>, time int, a float")
    message = r"^key: expected numbers, strings, bytes, dates or times in column 'key', got struct<"
    with pytest.raises(TypeError, match=message):
        sequences_from_events(frame, "key", "time", "a")
    assert sequences_from_events(frame.select("key.*", "time", "a"), ["i", "s"], "time", "a").count() == 1


def test_gaps_in_key_and_time_are_refused(spark):
    errors = pytest.importorskip("pyspark.errors")
    table = pa.table({"key": [1, None, 2], "time": [1.0, 2.0, float("nan")], "a": [1.0, 2.0, 3.0]})
    with pytest.raises(errors.PythonException, match="ValueError: key: expected no nulls in column 'key', got 1"):
        sequences_from_events(frame_of(spark, table), "key", "time", "a").count()
    with pytest.raises(errors.PythonException, match="ValueError: time: expected no NaN in column 'time'"):
        sequences_from_events(frame_of(spark, table.take([0, 2])), "key", "time", "a").count()
    with pytest.raises(ValueError, match=r"^features: expected one of the columns key, time, a, got 'b'$"):
        sequences_from_events(frame_of(spark, table), "key", "time", "b")


def test_a_killed_worker_splits_no_sequence(spark, tmp_path, monkeypatch):
    killed = tmp_path / "killed"

    class Deadly(integration._Cut):
        def __call__(self, batches):
            for batch in super().__call__(batches):
                yield batch
                try:
                    killed.touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(integration, "_Cut", Deadly)
    table = make_events()
    check_sequences(sequences_from_events(frame_of(spark, table), "key", "time", ["a", "b"]).toArrow(), table)
    assert killed.exists()


def test_examples(spark):
    results = doctest.testmod(integration)
    assert results.attempted >= 12
    assert results.failed == 0


def test_spark_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyspark.sql.types", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[spark\]' in a clone of rgru"):
        Predictor(GRU, "x").schema(None)
    with pytest.raises(ImportError, match=r"pip install '\.\[spark\]' in a clone of rgru"):
        sequences_from_events(None, "key", "time", "a")


@pytest.mark.parametrize(
    ("sql", "null"),
    [
        ("array()", False),
        ("NULL", True),
        ("array(NULL)", True),
        ("array(array(1.5, 2.5))", False),  # decimals
        ("array(array(true, false))", False),
    ],
)
def test_columns_of_types_that_are_no_floats(spark, sql, null):
    frame = spark.range(3).selectExpr("id", f"{sql} AS x")
    made = predict(frame, GRU, "x", on_error="null", keep="id").collect()
    assert [row["prediction"] is None for row in made] == [null] * 3
    if "array(array" in sql:
        numbers = [[1.5, 2.5]] if "1.5" in sql else [[1.0, 0.0]]
        assert made[0]["prediction"] == pa.array(rgru.arrow.predict(GRU, pa.array([numbers], PAIR)))[0].as_py()
