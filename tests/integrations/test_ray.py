"""Ray Data: the bits of `rgru.arrow.predict` over blocks and actors, sequences of events, and killed actors."""

from __future__ import annotations

import doctest
import logging
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
    check_sequences,
    check_table,
    check_two_outputs,
    check_validation,
    make_events,
    make_table,
    predictions_of_events,
)
from rgru.integrations import ray as integration
from rgru.integrations.model_reference import ModelReference
from rgru.integrations.ray import Predictor, predict, sequences_from_events

pytestmark = [
    pytest.mark.engines,
    # Ray Data sets options of its own that it has deprecated.
    pytest.mark.filterwarnings("ignore:`[a-z0-9_]*` is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    # More than two: actors keep the CPUs that they reserve, and the tasks that read and shuffle need some, too.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    yield ray
    ray.shutdown()


def dataset_of(ray, table, size=40):
    return ray.data.from_arrow([table.slice(start, size) for start in range(0, table.num_rows, size)])


def collected(ray, dataset):
    """Return all blocks; Ray drops the columns of some blocks without rows."""
    return pa.concat_tables(table for table in ray.get(dataset.to_arrow_refs()) if table.column_names)


def actors(ray, count):
    return ray.data.ActorPoolStrategy(size=count)


@pytest.mark.parametrize("name", ["reset after", "every step", "probabilities", "regressor"])
def test_the_bits_of_one_process(ray, name):
    (make, output), table = MODELS[name], make_table()
    model = make()
    dataset = predict(dataset_of(ray, table), model, "x", outputs={"prediction": output}, compute=actors(ray, 2))
    check_table(collected(ray, dataset), table, model, output)


def test_an_actor_class_for_map_batches_over_parquet(ray, path, tmp_path):
    """In batches other than the blocks."""
    table = make_table()
    for i in range(4):
        pa.parquet.write_table(table.slice(i * 50, 50), tmp_path / f"{i}.parquet", row_group_size=20)
    dataset = ray.data.read_parquet(str(tmp_path)).map_batches(
        Predictor,
        fn_constructor_args=(path, "x"),
        batch_format="pyarrow",
        batch_size=33,
        compute=actors(ray, 1),
        num_cpus=1,
    )
    dataset.write_parquet(str(tmp_path / "out"))
    check_table(pa.parquet.read_table(tmp_path / "out"), table, GRU, None)


def test_blocks_without_rows(ray, path):
    dataset = ray.data.from_arrow([make_table().slice(0, 0), make_table(3), make_table().slice(0, 0)])
    check_table(collected(ray, predict(dataset, path, "x", compute=actors(ray, 1))), make_table(3), GRU, None)
    none = dataset.map_batches(lambda table: table.slice(0, 0), batch_format="pyarrow")
    assert predict(none, path, "x", compute=actors(ray, 1)).count() == 0


def test_tensors_that_ray_makes_of_arrays(ray, path):
    """Tensors of one shape, or with a number of steps per row."""
    rng, kinds = np.random.default_rng(0), set()
    for lengths in ([3] * 6, [3, 1, 4, 2, 5, 1]):
        x = [rng.normal(size=(length, 2)).astype(np.float32) for length in lengths]
        items = [{"id": i, "x": one} for i, one in enumerate(x)]
        dataset = ray.data.from_items(items, override_num_blocks=1).materialize()
        kinds |= {block["x"].type.extension_name for block in ray.get(dataset.to_arrow_refs())}
        made = collected(ray, predict(dataset, path, "x", keep="id", compute=actors(ray, 1))).sort_by("id")
        expected = pa.array(rgru.arrow.predict(GRU, rgru.Ragged.from_list(x)))
        assert made["prediction"].to_pylist() == expected.to_pylist()
    assert len(kinds) == 2


def test_several_outputs_and_what_is_kept(ray):
    outputs = {"p": "probability", "l": "label"}
    model, dataset = MODELS["labels"][0](), dataset_of(ray, make_table())
    dataset = predict(dataset, model, "x", outputs=outputs, keep="id", compute=actors(ray, 1))
    check_two_outputs(collected(ray, dataset))


def test_rows_that_fail(ray, path):
    dataset = ray.data.from_arrow(FAILING)
    with pytest.raises(ray.exceptions.RayTaskError, match=r"ValueError: column 'x' .*: expected no nulls, got 1 null"):
        predict(dataset, path, "x", compute=actors(ray, 1)).count()
    made = collected(ray, predict(dataset, path, "x", on_error="null", compute=actors(ray, 1)))
    assert made["prediction"].is_null().to_pylist() == [False, True, True]


def test_arguments_are_validated_on_the_driver(ray, path):
    dataset = dataset_of(ray, make_table())
    check_validation(predict, dataset, path)
    with pytest.raises(ValueError, match=r"^num_blocks: expected .*, got 0$"):
        sequences_from_events(dataset, "id", "time", "x", num_blocks=0)


def test_the_model_is_loaded_once_per_actor(ray, path, tmp_path):
    """For any number of batches: counts the calls of `load`."""
    folder = str(tmp_path)

    class Logging(Predictor):
        def __init__(self, *args, **options):
            from rgru.integrations import model_reference

            load = model_reference.load

            def logged(path):
                self.log("loads")
                return load(path)

            model_reference.load = logged
            super().__init__(*args, **options)

        def __call__(self, table):
            self.log("batches")
            return super().__call__(table)

        def log(self, what):
            with open(f"{folder}/{what}", "a") as file:  # noqa: PTH123
                file.write(f"{os.getpid()}\n")

    table = make_table()
    dataset = dataset_of(ray, table, 20).map_batches(
        Logging, fn_constructor_args=(path, "x"), batch_format="pyarrow", batch_size=10, compute=actors(ray, 2)
    )
    check_table(collected(ray, dataset), table, GRU, None)
    loads, batches = ((tmp_path / what).read_text().split() for what in ("loads", "batches"))
    assert len(loads) == len(set(loads)) in {1, 2}  # an actor that starts late may find no batch left
    assert {*batches} <= {*loads}
    assert len(batches) >= 20
    assert set(batches) <= set(loads)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"num_cpus": 1}, 1),
        ({"num_cpus": 2}, 2),
        ({"num_cpus": 2, "runtime_env": {"env_vars": {"RGRU_NUM_THREADS": "4"}}}, 4),
        ({"num_cpus": 2, "num_threads": 3, "runtime_env": {"env_vars": {"RGRU_NUM_THREADS": "4"}}}, 3),
    ],
)
def test_threads_are_the_share_of_the_actor(ray, path, options, wanted, monkeypatch):
    monkeypatch.delenv("RGRU_NUM_THREADS", raising=False)

    class Counting(Predictor):
        def __call__(self, table):
            return pa.table({"threads": [rgru.info()["num_threads"]] * table.num_rows})

    threads = {"num_threads": options.pop("num_threads", None)}
    dataset = dataset_of(ray, make_table()).map_batches(
        Counting,
        fn_constructor_args=(path, "x"),
        fn_constructor_kwargs=threads,
        batch_format="pyarrow",
        compute=actors(ray, 1),
        **options,
    )
    assert set(collected(ray, dataset)["threads"].to_pylist()) == {wanted}


def test_a_killed_actor_neither_loses_nor_repeats_a_row(ray, tmp_path):
    """In the middle of the job; Ray starts another one with the same model and the same blocks.

    The model is in memory, and so large that Ray sends it through the object store.
    """
    killed, model = tmp_path / "killed", rgru.GRU(2, 400, seed=0)
    assert model.params.flat.nbytes > 1_900_000

    class Deadly(Predictor):
        def __call__(self, table):
            made = super().__call__(table)
            if 211 in table["id"].to_pylist():
                try:
                    killed.touch(exist_ok=False)
                except FileExistsError:
                    return made
                os.kill(os.getpid(), signal.SIGKILL)
            return made

    table = make_table(400)
    dataset = dataset_of(ray, table).map_batches(
        Deadly,
        fn_constructor_args=(ModelReference(model), "x"),
        batch_format="pyarrow",
        batch_size=10,
        compute=actors(ray, 2),
    )
    made = collected(ray, dataset)
    assert killed.exists()
    check_table(made, table, model, None)


def test_sequences_of_events(ray):
    events = make_events()
    sequences = sequences_from_events(dataset_of(ray, events, 50), "key", "time", ["a", "b"], num_blocks=4)
    sequences = sequences.materialize()
    assert sequences.num_blocks() == 4
    check_sequences(collected(ray, sequences), events)
    made = collected(ray, predict(sequences, GRU, ["a", "b"], keep="key", compute=actors(ray, 2))).to_pylist()
    assert {row["key"]: row["prediction"] for row in made} == predictions_of_events(GRU, events)
    assert len(made) == 60


def test_more_blocks_than_keys(ray):
    events = make_events(2)
    sequences = sequences_from_events(dataset_of(ray, events), "key", "time", ["a", "b"], num_blocks=4)
    check_sequences(collected(ray, sequences), events)


def test_a_worker_killed_after_the_shuffle_splits_no_sequence(ray, tmp_path, monkeypatch):
    killed = tmp_path / "killed"

    class Deadly(integration._Cut):
        def __call__(self, table):
            made = super().__call__(table)
            if table.num_rows:
                try:
                    killed.touch(exist_ok=False)
                except FileExistsError:
                    return made
                os.kill(os.getpid(), signal.SIGKILL)
            return made

    monkeypatch.setattr(integration, "_Cut", Deadly)
    events = make_events()
    sequences = sequences_from_events(dataset_of(ray, events, 100), "key", "time", ["a", "b"], num_blocks=3)
    made = collected(ray, sequences)
    assert killed.exists()
    check_sequences(made, events)


def test_invalid_events(ray):
    table = pa.table({"key": [1, None, 2], "time": [1.0, 2.0, float("nan")], "a": [1.0, 2.0, 3.0]})
    with pytest.raises(ray.exceptions.RayTaskError, match="ValueError: key: expected no nulls in column 'key', got 1"):
        sequences_from_events(ray.data.from_arrow(table), "key", "time", "a", num_blocks=1).count()
    whole = ray.data.from_arrow(table.take([0, 2]))
    with pytest.raises(ray.exceptions.RayTaskError, match="ValueError: time: expected no NaN in column 'time'"):
        sequences_from_events(whole, "key", "time", "a", num_blocks=1).count()
    structs = ray.data.from_arrow(table.set_column(0, "key", pa.array([{"i": 1}] * 3)))
    with pytest.raises(ray.exceptions.RayTaskError, match=r"TypeError: key: expected numbers, .* got struct<i"):
        sequences_from_events(structs, "key", "time", "a", num_blocks=1).count()
    with pytest.raises(ValueError, match=r"^features: expected one of the columns key, time, a, got 'b'$"):
        sequences_from_events(whole, "key", "time", "b")
    whole.context.shuffle_strategy = "sort_shuffle_pull_based"
    with pytest.raises(ValueError, match=r"^dataset: expected a DataContext.shuffle_strategy by hash, .*, got 'sort_"):
        sequences_from_events(whole, "key", "time", "a")


def test_examples(ray):
    results = doctest.testmod(integration)
    assert results.attempted >= 12
    assert results.failed == 0


def test_ray_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray.data", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[ray\]' in a clone of rgru"):
        predict(None, GRU, "x")
    with pytest.raises(ImportError, match=r"pip install '\.\[ray\]' in a clone of rgru"):
        sequences_from_events(None, "key", "time", "a")


@pytest.mark.parametrize("none", [pa.nulls(1), pa.array([[]]), pa.array([[None]])], ids=str)
@pytest.mark.parametrize("first", [False, True])
def test_a_block_without_numbers(ray, none, first):
    blocks = [pa.table({"id": [1], "x": pa.array([[[1.0, 2.0]]])}), pa.table({"id": [2], "x": none})]
    dataset = ray.data.from_arrow(blocks[::-1] if first else blocks)
    rows = predict(dataset, GRU, "x", on_error="null", keep="id", compute=actors(ray, 1)).take_all()
    found = {row["id"]: row["prediction"] for row in rows}
    expected = pa.array(rgru.arrow.predict(GRU, blocks[0]["x"])).to_pylist()[0]
    assert found[1] == pytest.approx(expected, abs=0)
    assert found[2] == ([0.0] * 5 if none.to_pylist() == [[]] else None)
