"""Cases for the tests of engines: models, tables of sequences and of events, and the results of one process."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pyarrow as pa
import pytest

import rgru

GRU = rgru.GRU(2, 5, seed=0)
PAIR = pa.list_(pa.list_(pa.float32(), 2))


def make_sequences(count=200, seed=0):
    """Return arrays (0 to 8, 2), the first one with steps."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rng.integers(i == 0, 9), 2)).astype(np.float32) for i in range(count)]


def make_table(count=200):
    """Return a table with sequences in a column x, in several chunks, and an id."""
    column = pa.array([one.tolist() for one in make_sequences(count)], PAIR)
    cut = count // 3
    return pa.table({"id": np.arange(count), "x": pa.chunked_array([column[:cut], column[cut:cut], column[cut:]])})


def make_classifier():
    x = [one for one in make_sequences(40, seed=1) if len(one)]
    y = np.array(["low", "high"])[[int(one.sum() > 0) for one in x]]
    return rgru.GRUClassifier(hidden_size=5, max_epochs=2, random_state=0).fit(x, y)


def make_regressor(**options):
    x = [one for one in make_sequences(40, seed=1) if len(one)]
    return rgru.GRURegressor(hidden_size=5, max_epochs=2, random_state=0, **options).fit(
        x, [one[:, 0] for one in x] if options else np.array([one[0] for one in x])
    )


# By name: how to make the model, and one of its outputs.
MODELS = {
    "reset before": (lambda: rgru.GRU(2, 5, seed=0), "last"),
    "reset after": (lambda: rgru.GRU(2, 5, reset_after=True, seed=0), "last"),
    "every step": (lambda: rgru.GRU(2, 5, 2, bidirectional=True, seed=0), "every"),
    "double": (lambda: rgru.GRU(2, 5, dtype="float64", seed=0), "last"),
    "labels": (make_classifier, "label"),
    "probabilities": (make_classifier, "probability"),
    "regressor": (make_regressor, "value"),
    "regressor of every step": (lambda: make_regressor(pooling="every"), "value"),
}


def make_events(keys=60, seed=0):
    """Return shuffled events of some keys, one to nine each: key, time, and two features."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 10, keys)
    key = np.repeat(np.arange(keys), counts)
    time = np.concatenate([np.arange(count) for count in counts]) * 10
    features = rng.normal(size=(len(key), 2)).astype(np.float32)
    order = rng.permutation(len(key))
    columns = {"key": [f"user {i}" for i in key[order]], "time": time[order]}
    return pa.table(columns | {name: features[order, i] for i, name in enumerate("ab")})


def grouped(events):
    """Group events by NumPy: {key: (times, features (T, 2))}."""
    key, time = np.array(events["key"].to_pylist()), events["time"].to_numpy()
    features = np.stack([events["a"].to_numpy(), events["b"].to_numpy()], axis=1)
    found = {}
    for one in np.unique(key).tolist():
        rows = np.flatnonzero(key == one)
        rows = rows[np.argsort(time[rows])]
        found[one] = (time[rows].tolist(), features[rows])
    return found


def check_sequences(made, events):
    """Check that a table has the sequences of the events: each key once, its steps in order."""
    wanted = grouped(events)
    rows = made.to_pylist()
    assert sorted(row["key"] for row in rows) == sorted(wanted)
    for row in rows:
        times, features = wanted[row["key"]]
        assert row["time"] == times
        np.testing.assert_array_equal(np.array([row["a"], row["b"]], np.float32).T, features)


def predictions_of_events(model, events):
    """Return the predictions of one process for each key, after a grouping by NumPy: {key: numbers}."""
    found = grouped(events)
    x = rgru.Ragged.from_list([features for _, features in found.values()])
    return dict(zip(found, pa.array(rgru.arrow.predict(model, x)).to_pylist(), strict=True))


def check_table(made, table, model, output, name="prediction"):
    """Check that a table has all rows of another, each once and in any order, with the predictions of one process."""
    wanted = table.append_column(name, pa.array(rgru.arrow.predict(model, table["x"], output=output)))
    assert made.column_names == wanted.column_names
    assert made["id"].to_pylist() != [] or table.num_rows == 0
    assert made.sort_by("id").to_pylist() == wanted.sort_by("id").to_pylist()


def python_calls(function, *arguments):
    """Return the number of functions, of Python or C, that are called from Python while a function runs."""
    count = 0

    def counted(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return count


def need_spark():
    """Skip without PySpark or Java; else make workers use this Python instead of the first one in PATH."""
    pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("there is no Java for Spark")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)


FAILING = pa.table({"id": [1, 2, 3], "x": pa.array([[[1, 2]], None, [[float("nan"), 1]]], PAIR)})
"""Sequences of which only the first is valid."""

_BAD_ARGUMENTS = [
    ({"sequences": "y"}, "^sequences: expected one of the columns id, x, got 'y'$"),
    ({"sequences": "x", "keep": "y"}, "^keep: expected one of the columns id, x, got 'y'$"),
    ({"sequences": "x", "outputs": {"id": "last"}}, "^outputs: expected names that .* does not have, got 'id'$"),
    (
        {"sequences": "x", "outputs": {"y": "label"}},
        "^outputs: expected 'last' or 'every' of a GRU for 'y', got 'label'$",
    ),
    ({"sequences": "x", "outputs": {"y": None}}, "^outputs: expected 'last' or 'every' of a GRU for 'y', got None$"),
    ({"sequences": "x", "num_threads": 0}, "^num_threads: "),
]
"""Arguments of `predict` over `make_table`, and the errors."""


def check_validation(predict, data, path):
    """Check that an engine's `predict` refuses bad arguments on the driver, for `data` like `make_table`."""
    for arguments, message in _BAD_ARGUMENTS:
        with pytest.raises(ValueError, match=message):
            predict(data, path, **arguments)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        predict(data, "none.safetensors", "x")


def check_two_outputs(made):
    """Check the probabilities p and labels l of a classifier of `make_classifier`, for `make_table` with keep="id"."""
    model, x = make_classifier(), make_table()["x"]
    assert made.column_names == ["id", "p", "l"]
    made = made.sort_by("id")
    for name, output in (("p", "probability"), ("l", "label")):
        assert made[name].to_pylist() == pa.array(rgru.arrow.predict(model, x, output=output)).to_pylist()
