"""Labels of classifiers: sortable or not, missing, strings that end in NUL."""

from __future__ import annotations

import datetime
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rgru
from command_line import succeed
from rgru.integrations.polars import predict as polars_predict

X = np.zeros((6, 1, 1))
NAN = float("nan")


def fit(y):
    return rgru.GRUClassifier(hidden_size=1, max_epochs=1, random_state=0).fit(X, y)


@pytest.mark.parametrize(
    "y",
    [
        np.array([0.0, NAN, 1.0] * 2, object),
        np.array([0.0, NAN, 1.0] * 2),
        [None, 1] * 3,
        ["a", None] * 3,
        ["a", NAN] * 3,
        [pd.NA, 1] * 3,
        [pd.NaT, pd.Timestamp("2020")] * 3,
        np.array(["2020", "NaT"] * 3, "M8[D]"),
        pd.Series(["a", None] * 3),
        pd.Series([1, None] * 3, dtype="Int64"),
        pd.Categorical(["a", None] * 3),
        pl.Series(["a", None] * 3),
        pa.array(["a", None] * 3),
        pa.array([1, None] * 3),
    ],
)
def test_missing_labels_are_refused(y):
    with pytest.raises(ValueError, match=r"^y: expected no missing labels, got .* at position [01]$"):
        fit(y)
    with pytest.raises(ValueError, match=r"^y: expected no missing labels, got .* at position [01]$"):
        fit([0, 1] * 3).score(X, y)


@pytest.mark.parametrize(
    "y",
    [
        [{1}, {2}] * 3,
        [frozenset({1}), frozenset({2})] * 3,
        np.array([1j, 2j] * 3, object),
        np.array([1j, 2j] * 3),
        [1, "a"] * 3,
        [True, "a"] * 3,
        [b"a", "a"] * 3,
        np.array([1, "a"] * 3, object),
        np.array([datetime.date(2020, 1, 1), "a"] * 3, object),
    ],
    ids=repr,
)
def test_labels_without_a_total_order_are_refused(y):
    with pytest.raises(TypeError, match=r"^y: expected labels of one sortable type"):
        fit(y)


@pytest.mark.parametrize("y", [[0.5, 1.0] * 3, np.array([0.5, 1.0] * 3, object), [1.0, np.inf] * 3])
def test_numbers_that_are_not_whole_are_refused(y):
    with pytest.raises(ValueError, match=r"^y: expected class labels, got the number (0.5|inf); GRURegressor"):
        fit(y)


@pytest.mark.parametrize("y", [["0", "1"] * 3, np.array(["0", "1"] * 3, object), [b"0", b"1"] * 3])
def test_score_refuses_strings_for_numbers_and_the_like(y):
    with pytest.raises(ValueError, match=r"^y: expected labels of the type of those in fit, such as 0, got b?'0'$"):
        fit([0, 1] * 3).score(X, y)
    with pytest.raises(ValueError, match=r"^y: expected labels of the type of those in fit, such as b?'0', got 0$"):
        fit(y).score(X, [0, 1] * 3)
    assert fit(y).score(X, y) == 0.5


def test_score_takes_numbers_of_any_type_and_labels_that_were_not_in_fit():
    classifier = fit([0, 1] * 3)
    for y in ([0.0, 1.0] * 3, [False, True] * 3, np.array([0, 1] * 3, object), [int(classifier.predict(X)[0]), 7] * 3):
        assert classifier.score(X, y) == 0.5


D, AWARE = datetime.date, pd.to_datetime(["2020-01-01", "2021-01-01"] * 3, utc=True)
DATES = [D(2020, 1, 1), D(2021, 1, 1)] * 3
DATETIMES = [datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1)] * 3
AS_DATES = [
    DATES,
    DATETIMES,
    np.array(DATES, "M8[D]"),
    np.array(DATES, "M8[ns]"),
    pd.Series(DATETIMES),
    np.array(list(map(pd.Timestamp, DATETIMES)), object),
]
PERIODS = pd.Series(pd.PeriodIndex(["2020", "2021"] * 3, freq="Y"))
DURATIONS = np.array([1, 2] * 3, "m8[s]")


@pytest.mark.parametrize("y", AS_DATES, ids=lambda y: str(getattr(y, "dtype", type(y[0]))))
@pytest.mark.parametrize("other", AS_DATES, ids=lambda y: str(getattr(y, "dtype", type(y[0]))))
def test_score_compares_dates_of_any_type(y, other):
    assert fit(y).score(X, other) == 0.5


def test_score_compares_durations_of_any_type():
    for y in (DURATIONS, DURATIONS.astype("m8[ns]"), DURATIONS.tolist(), pd.Series(DURATIONS)):
        assert fit(DURATIONS).score(X, y) == fit(y).score(X, DURATIONS) == 0.5


@pytest.mark.parametrize(
    ("y", "other"),
    [
        (AWARE, DATETIMES),
        (AWARE, np.array(DATETIMES, "M8[ns]")),
        (PERIODS, DATETIMES),
        ([0, 1] * 3, DURATIONS),
        ([0, 1] * 3, np.array(DATES, "M8[ns]")),
        (DURATIONS, DATES),
        (DATES, ["2020-01-01", "2021-01-01"] * 3),
    ],
    ids=str,
)
def test_score_refuses_labels_that_never_equal_those_of_fit(y, other):
    for fitted, scored in ((y, other), (other, y)):
        with pytest.raises(ValueError, match=r"^y: expected labels of the type of those in fit, such as .*, got "):
            fit(fitted).score(X, scored)


def test_score_compares_dates_with_a_time_zone():
    assert fit(AWARE).score(X, [one.to_pydatetime() for one in AWARE]) == 0.5


# -- numbers that are not in an array of one type ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        ([2**53, 2**53 + 1, 1.0], np.int64),
        ((2**63, np.uint64(2**63 + 1), 1.0), np.uint64),
        (np.array([2**60 + 1, 2**60, 1.0], object), np.int64),
        (pd.Series([2, 0, 1], dtype=object), np.int64),
        (np.array([True, 2, 0], object), np.int64),
        (np.array([0.0, 1.0, 2.0], object), np.float64),
        (np.array([0, 1, 2], np.longdouble), np.int64),
        ([0.0, 1.0, 2.0**70], np.float64),
        ([2**64, 0, 1], np.float64),
    ],
    ids=str,
)
def test_numbers_are_exact_and_can_be_saved(y, dtype, tmp_path):
    classifier = fit([*y, *y] if isinstance(y, (list, tuple)) else np.tile(np.asarray(y), 2))
    assert classifier.classes_.dtype == dtype
    assert classifier.classes_.tolist() == sorted(map(int, y))
    classifier.save(tmp_path / "m")
    assert rgru.load(tmp_path / "m").classes_.tolist() == classifier.classes_.tolist()
    assert set(pa.array(rgru.arrow.predict(classifier, rgru.Ragged.from_list(list(X)))).to_pylist()) <= set(map(int, y))


def test_booleans_in_an_object_array_can_be_saved(tmp_path):
    fit(np.array([True, False] * 3, object)).save(tmp_path / "m")
    assert rgru.load(tmp_path / "m").classes_.tolist() == [False, True]


@pytest.mark.parametrize("y", [[2**63, 2**63 + 1, -1], [np.uint64(2**63 + 1), np.int64(-1), 5], [2**64 + 1, 0, 1]])
def test_numbers_that_no_type_holds_are_refused(y):
    with pytest.raises(ValueError, match=r"^y: expected integers of 64 bits of one sign, got -?\d+ and \d+$"):
        fit(y * 2)
    with pytest.raises(ValueError, match=r"^y: expected integers of 64 bits of one sign, got -?\d+ and \d+$"):
        fit(np.array(y * 2, object))


# -- strings that end in NUL, which NumPy's own strings cannot hold ------------------------------------------------

NUL = ["a\0", "a"] * 3


def separable():
    """Make sequences of 1 step whose sign determines the label."""
    return np.array([1.0, -1.0] * 3).reshape(6, 1, 1)


@pytest.mark.parametrize(
    "y",
    [NUL, tuple(NUL), np.array(NUL, object), pd.Series(NUL), pl.Series(NUL), pa.array(NUL)],
    ids=lambda y: str(type(y)),
)
def test_labels_that_end_in_nul_keep_it(y, tmp_path):
    x = separable()
    classifier = rgru.GRUClassifier(hidden_size=4, max_epochs=60, learning_rate=0.05, random_state=0).fit(x, y)
    assert classifier.classes_.tolist() == ["a", "a\0"]
    assert classifier.score(x, y) == 1.0
    classifier.save(tmp_path / "model")
    for model in (classifier, rgru.load(tmp_path / "model")):
        assert model.predict(x).tolist() == NUL
        column = pa.array(x[:, 0].tolist(), pa.list_(pa.float64()))
        assert pa.array(rgru.arrow.predict(model, column)).to_pylist() == NUL
        frame = pl.DataFrame({"x": column})
        assert frame.select(polars_predict(model, "x"))["x"].to_list() == NUL


def test_labels_that_end_in_nul_keep_it_on_the_command_line(tmp_path):
    table = pa.table({"x": pa.array(separable()[:, 0].tolist(), pa.list_(pa.float64())), "y": NUL})
    options = ["--hidden-size", 4, "--max-epochs", 60, "--learning-rate", 0.05, "--seed", 0]
    for name, y in (("plain", table["y"]), ("dictionary", table["y"].dictionary_encode())):
        data, model, out = tmp_path / f"{name}.parquet", tmp_path / name, tmp_path / "out.parquet"
        pq.write_table(table.set_column(1, "y", y), data)
        succeed("fit", data, "-o", model, "--sequence", "x", "--target", "y", *options)
        succeed("predict", model, data, "-o", out)
        assert pq.read_table(out)["prediction"].to_pylist() == NUL


@pytest.mark.parametrize("arrow", [True, False])
def test_session_keys_that_end_in_nul_are_different_keys(arrow, monkeypatch):
    if not arrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    for keys in (NUL, pl.Series(NUL), pd.Series(NUL), np.array(NUL, object)):
        sessions = rgru.Sessions(rgru.GRU(1, 2))
        sessions.step(keys, np.zeros((6, 1), np.float32))
        assert set(sessions.keys()) == {"a", "a\0"}
