"""Names of features: which data have them, and that estimators check them in every interface."""

from __future__ import annotations

import pickle

import nanoarrow as na
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

import rgru
from command_line import fail, succeed
from estimator_cases import EITHER, QUICK, labels, outputs, sums
from rgru import GRUClassifier, GRURegressor, Ragged
from rgru._files.model_file import read_config, save
from rgru.integrations._append_predictions import Predictions
from rgru.integrations.polars import predict as polars_predict

A, B = [[1.0, 2.0], [-3.0], [4.0, 5.0]] * 4, [[9.0, 8.0], [7.0], [6.0, 5.0]] * 4
X = [np.column_stack(pair) for pair in zip(A, B, strict=True)]
TABLE = pa.table({"a": A, "b": B})
SWAPPED, RENAMED = TABLE.select(["b", "a"]), TABLE.rename_columns(["a", "c"])
STRUCTS = pa.array(
    [[{"a": a, "b": b} for a, b in one.tolist()] for one in X],
    pa.list_(pa.struct({"a": pa.float64(), "b": pa.float64()})),
)
PAIRS = pa.array([one.tolist() for one in X], pa.list_(pa.list_(pa.float64(), 2)))
FRAMES = [pd.DataFrame(one, columns=["a", "b"]) for one in X]


def structs(table):
    return pa.StructArray.from_arrays([column.combine_chunks() for column in table.columns], table.column_names)


def fit(kind, x=TABLE):
    return kind(**QUICK).fit(x, labels(X) if kind is GRUClassifier else sums(X))


# -- which data have names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (TABLE, ("a", "b")),
        (structs(TABLE), ("a", "b")),
        (TABLE.to_pandas(), ("a", "b")),
        (pl.from_arrow(TABLE), ("a", "b")),
        (pl.from_arrow(TABLE).to_struct("s"), ("a", "b")),
        (na.ArrayStream(TABLE), ("a", "b")),
        (TABLE.select(["a"]), ("a",)),
        (TABLE["a"], None),
        (STRUCTS, ("a", "b")),
        (pa.table({"x": STRUCTS}), ("a", "b")),
        (pa.table({"x": STRUCTS, "a": A}), ("x.a", "x.b", "a")),
        (PAIRS, None),
        (pa.table({"x": PAIRS}), None),
        (pa.table({"x": PAIRS, "a": A}), ("x[0]", "x[1]", "a")),
        (pa.table({"a": A, "x": PAIRS.cast(pa.list_(pa.list_(pa.float64())))}), ("a", "x[0]", "x[1]")),
        (TABLE.slice(0, 0), None),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else None,
)
def test_names_of_arrow_columns(column, names):
    assert Ragged.from_arrow(column).feature_names == names


def test_names_of_lists_of_tables():
    for frames in (FRAMES, [pl.DataFrame(frame) for frame in FRAMES], [pa.table(frame) for frame in FRAMES]):
        assert Ragged.from_list(frames).feature_names == ("a", "b")
        assert fit(GRUClassifier, frames).feature_names_in_.tolist() == ["a", "b"]
        assert Ragged.from_list([X[0], frames[1]]).feature_names == ("a", "b")
    assert Ragged.from_list(X).feature_names is None
    assert Ragged.from_list([pd.DataFrame(one) for one in X]).feature_names is None
    wrong = [*FRAMES[:2], FRAMES[2][["b", "a"]]]
    message = r"\[2\]: expected features 'a', 'b' in this order, as before, got 'b', 'a'$"
    with pytest.raises(ValueError, match=rf"^sequences{message}"):
        Ragged.from_list(wrong)
    with pytest.raises(ValueError, match=rf"^X{message}"):
        fit(GRUClassifier, wrong)


def test_ragged_keeps_its_names():
    ragged = Ragged.from_arrow(TABLE)
    for kept in (ragged.take([2, 0]), pickle.loads(pickle.dumps(ragged))):
        assert kept.feature_names == ("a", "b")
    assert pickle.loads(pickle.dumps(Ragged(ragged.values, ragged.offsets))).feature_names is None


# -- estimators keep and check them --------------------------------------------------------------------------------

WRONG = pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (SWAPPED, "'b', 'a'"),
        (RENAMED, "'a', 'c'"),
        (SWAPPED.to_pandas(), "'b', 'a'"),
        (pl.from_arrow(SWAPPED), "'b', 'a'"),
        (structs(SWAPPED), "'b', 'a'"),
        (Ragged.from_arrow(SWAPPED), "'b', 'a'"),
        (pa.table({"a": A, "b": B, "c": A}), "'a', 'b', 'c'"),
        (TABLE.select(["b"]), "'b'"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__module__.split(".")[0],
)
EXPECTED = r": expected features 'a', 'b' in this order, as in fit, got "


@EITHER
@WRONG
def test_other_names_and_orders_are_refused(kind, wrong, got):
    estimator = fit(kind)
    assert estimator.feature_names_in_.tolist() == ["a", "b"]
    assert estimator.feature_names_in_.dtype == object
    y = labels(X) if kind is GRUClassifier else sums(X)
    calls = [lambda: estimator.predict(wrong), lambda: estimator.score(wrong, y)]
    calls += [lambda: estimator.predict_proba(wrong)] if kind is GRUClassifier else []
    for call in calls:
        with pytest.raises(ValueError, match=rf"^X{EXPECTED}{got}$"):
            call()
    if len(got.split()) == 2:
        for on_error in ("raise", "null"):
            with pytest.raises(ValueError, match=rf"^column{EXPECTED}{got}$"):
                rgru.arrow.predict(estimator, wrong, on_error=on_error)


@EITHER
def test_data_without_names_are_matched_by_position(kind):
    estimator = fit(kind)
    expected = outputs(estimator, TABLE)
    for same in (X, PAIRS, STRUCTS, Ragged.from_list(X), FRAMES, structs(TABLE), TABLE.to_pandas()):
        assert_array_equal(outputs(estimator, same), expected)
    nameless = fit(kind, X)
    assert not hasattr(nameless, "feature_names_in_")
    assert_array_equal(outputs(nameless, RENAMED), expected)
    assert len(estimator.predict(SWAPPED.slice(0, 0))) == 0


def test_a_later_fit_without_names_forgets_them():
    estimator = fit(GRUClassifier)
    assert not hasattr(estimator.fit(X, labels(X)), "feature_names_in_")


@EITHER
def test_files_and_pickles_keep_the_names(kind, tmp_path):
    estimator = fit(kind)
    estimator.save(tmp_path / "model")
    for same in (rgru.load(tmp_path / "model"), pickle.loads(pickle.dumps(estimator))):
        assert same.feature_names_in_.tolist() == ["a", "b"]
        with pytest.raises(ValueError, match=EXPECTED):
            same.predict(SWAPPED)
    config = {name: value for name, value in read_config(tmp_path / "model")[1].items() if name != "feature_names"}
    save(tmp_path / "first", estimator._tensors(), config, kind=kind.__name__)
    assert not hasattr(rgru.load(tmp_path / "first"), "feature_names_in_")
    for damaged in (["a"], [1, 2], "a"):
        save(tmp_path / "damaged", estimator._tensors(), {**config, "feature_names": damaged}, kind=kind.__name__)
        with pytest.raises(ValueError, match=r"damaged: not a whole .*feature_names: expected 2 names, got"):
            rgru.load(tmp_path / "damaged")


def test_the_message_shows_the_first_of_many_names_that_differ():
    names = [f"f{i}" for i in range(300)]
    other = [*names[:200], "g", *names[201:]]
    columns = [[[1.0]] * 4] * 300
    classifier = GRUClassifier(**QUICK).fit(pa.table(columns, names), [0, 1] * 2)
    with pytest.raises(ValueError, match=r"features \.\.\., 'f200', 'f201', .*, \.\.\. in .* got \.\.\., 'g', 'f201'"):
        classifier.predict(pa.table(columns, other))


def test_wrong_names_are_refused_despite_rows_that_cannot_be_predicted():
    a, b = [*A[:-1], [float("nan"), 1.0]], [*B[:-1], None]
    for wrong in (
        pa.table({"b": B, "a": a}),
        pa.table({"b": b, "a": A}),
        pa.table({"b": B, "a": [*A[1:], [9e99] * 2]}),
    ):
        with pytest.raises(ValueError, match=rf"^column{EXPECTED}'b', 'a'$"):
            rgru.arrow.predict(fit(GRUClassifier), wrong, on_error="null")


# -- interfaces ----------------------------------------------------------------------------------------------------


def test_in_sessions():
    classifier = fit(GRUClassifier)
    events = pd.DataFrame({"a": [1.0], "b": [2.0]})
    expected = rgru.Sessions(classifier).step([0], events.to_numpy())
    for make in (lambda frame: frame, pl.DataFrame, pa.table, pa.RecordBatch.from_pandas):
        sessions = rgru.Sessions(classifier)
        for wrong in (events[["b", "a"]], events.rename(columns={"a": "c"})):
            with pytest.raises(ValueError, match=r"^x: expected features 'a', 'b' in this order, as in fit, got '"):
                sessions.step([0], make(wrong))
        assert len(sessions) == 0
        assert_array_equal(sessions.step([0], make(events)), expected)


def test_in_polars():
    classifier, frame = fit(GRUClassifier), pl.from_arrow(TABLE)
    right = frame.lazy().select(p=polars_predict(classifier, ["a", "b"])).collect()
    assert_array_equal(right["p"], classifier.predict(TABLE))
    for wrong in (polars_predict(classifier, ["b", "a"]), polars_predict(classifier, ["b", "a"], on_error="null")):
        with pytest.raises(ValueError, match="expected features 'a', 'b' in this order, as in fit"):
            frame.lazy().select(wrong).collect()


def test_in_tables_of_ray_and_spark():
    classifier = fit(GRUClassifier)
    assert Predictions(classifier, ["a", "b"])(TABLE)["prediction"].to_pylist() == classifier.predict(TABLE).tolist()
    for names, table in ((["b", "a"], TABLE), (["a", "c"], RENAMED)):
        with pytest.raises(ValueError, match=r"^columns .*: expected features 'a', 'b' in this order, as in fit, got "):
            Predictions(classifier, names)(table)


def test_on_the_command_line(tmp_path):
    data, model, out = tmp_path / "data.parquet", tmp_path / "model", tmp_path / "out.parquet"
    pq.write_table(TABLE.append_column("y", [labels(X).tolist()]), data)
    columns = ["--sequence", "a", "--sequence", "b"]
    succeed("fit", data, "-o", model, *columns, "--target", "y", "--hidden-size", 3, "--max-epochs", 1)
    assert rgru.load(model).feature_names_in_.tolist() == ["a", "b"]
    assert "'a', 'b'" in succeed("info", model).decode()
    succeed("predict", model, data, "-o", out)
    message = "columns 'b', 'a': expected features 'a', 'b' in this order, as in fit, got 'b', 'a'"
    fail(message, "predict", model, data, "-o", out, *columns[2:], *columns[:2])
    pq.write_table(pa.table({"x": STRUCTS}), tmp_path / "structs.parquet")
    succeed("predict", model, tmp_path / "structs.parquet", "-o", out, "--sequence", "x")
    GRURegressor(**QUICK).fit(SWAPPED, sums(X)).save(tmp_path / "python")
    fail("expected features 'b', 'a'", "predict", tmp_path / "python", data, "-o", out, *columns)
