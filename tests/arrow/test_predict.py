"""Predictions from Arrow to Arrow: the bits of the NumPy path, one result per row, null for invalid rows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import rgru
from rgru.arrow._predict import predict_all

PAIR = pa.list_(pa.list_(pa.float32(), 2))


def random_sequences(count=20, dtype=np.float32):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(int(rng.integers(0, 9)), 2)).astype(dtype) for _ in range(count)]


def as_column(sequences, kind=PAIR):
    return pa.array([None if one is None else one.tolist() for one in sequences], kind)


def as_table(sequences):
    return pa.table({name: pa.array([one[:, i].tolist() for one in sequences]) for i, name in enumerate("ab")})


SEQUENCES = random_sequences()
FULL = [one for one in SEQUENCES if len(one)]
GRUS = {
    "plain": {},
    "stack": {"num_layers": 2},
    "both": {"num_layers": 2, "bidirectional": True},
    "double": {"dtype": "float64", "reset_after": True},
}


def make_gru(**options):
    return rgru.GRU(2, 5, **options, seed=1)


def rows(column):
    """Return the numbers of a column of lists (M, K), nulls included."""
    array = pa.array(column)
    array.validate(full=True)
    while hasattr(array, "flatten") and not pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    return array.values.to_numpy().reshape(-1, array.type.list_size)


@pytest.mark.parametrize("options", GRUS.values(), ids=GRUS)
def test_states_have_the_bits_of_the_numpy_path(options):
    gru = make_gru(**options)
    x = rgru.Ragged.from_list([one.astype(gru.dtype) for one in SEQUENCES])
    y, h_n = gru(x)
    directions = 2 if gru.bidirectional else 1
    last = np.concatenate(list(h_n[-directions:]), axis=1)
    number = pa.from_numpy_dtype(gru.dtype)
    chunked = pa.chunked_array([as_column(SEQUENCES[:7]), as_column(SEQUENCES[7:])])
    # Doubles, which hold the same numbers: the table's, and in both precisions of the model.
    for column in (
        as_column(SEQUENCES),
        chunked,
        as_table(SEQUENCES),
        chunked.cast(pa.list_(pa.list_(pa.float64(), 2))),
    ):
        made = rgru.arrow.predict(gru, column)
        assert (len(made), made.null_count) == (20, 0)
        assert pa.array(made).type == pa.list_(number, directions * 5)
        np.testing.assert_array_equal(rows(made), last)
        every = rgru.arrow.predict(gru, column, output="every")
        assert pa.array(every).type == pa.list_(pa.list_(number, directions * 5))
        np.testing.assert_array_equal(rows(every), y.values)
        assert pa.array(every).offsets.to_numpy().tolist() == x.offsets.tolist()


def test_splitting_large_columns_does_not_change_the_results(monkeypatch):
    gru = make_gru(bidirectional=True)
    whole = rows(rgru.arrow.predict(gru, as_column(SEQUENCES)))
    monkeypatch.setattr("rgru.model._model._NUMBERS_PER_PIECE", 60)
    np.testing.assert_array_equal(rows(rgru.arrow.predict(gru, as_column(SEQUENCES))), whole)


LABELS = {
    "strings": np.array(["é", "bb", "c" * 20]),
    "objects": np.array(["x", "yy", "z"], object),
    "integers": np.array([-1, 5, 2**40]),
    "bytes": np.array([0, 1, 2], np.uint8),
    "floats": np.array([1.0, 2.0, 3.0]),
    "big-endian": np.array([1, 2, 3], ">i4"),
    "halves": np.array([1, 2, 3], np.float16),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_a_classifier(labels):
    y = labels[np.arange(len(FULL)) % 3]
    model = rgru.GRUClassifier(hidden_size=4, max_epochs=2, random_state=0).fit(FULL, y)
    made = pa.array(rgru.arrow.predict(model, as_column(FULL)))
    made.validate(full=True)
    assert made.to_pylist() == model.predict(FULL).tolist()
    probabilities = rgru.arrow.predict(model, as_table(FULL), output="probability")
    np.testing.assert_array_equal(rows(probabilities), model.predict_proba([one.astype(float) for one in FULL]))
    null = pa.array(rgru.arrow.predict(model, as_column([*FULL, None]), on_error="null"))
    null.validate(full=True)
    assert null.to_pylist() == [*model.predict(FULL).tolist(), None]


def test_booleans():
    y = np.arange(len(FULL)) % 3 == 1
    model = rgru.GRUClassifier(hidden_size=4, max_epochs=2, random_state=0).fit(FULL, y)
    made = pa.array(rgru.arrow.predict(model, as_column([None, *FULL]), on_error="null"))
    assert made.type == pa.bool_()
    assert made.to_pylist() == [None, *model.predict(FULL).tolist()]


def test_labels_without_an_arrow_type():
    y = np.array(["2020-01-01", "2021-01-01"], "M8[D]")[np.arange(len(FULL)) % 2]
    model = rgru.GRUClassifier(hidden_size=4, max_epochs=1, random_state=0).fit(FULL, y)
    with pytest.raises(TypeError, match="expected numbers or strings as labels, got datetime64"):
        rgru.arrow.predict(model, as_column(FULL))
    assert len(rgru.arrow.predict(model, as_column(FULL), output="probability")) == len(FULL)


@pytest.mark.parametrize("pooling", ["last", "mean", "every"])
@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_regressor(pooling, single, dtype):
    targets = FULL if pooling == "every" else [one[0] for one in FULL]
    y = [one[..., 0] if single else one for one in targets]
    model = rgru.GRURegressor(hidden_size=4, pooling=pooling, max_epochs=2, dtype=dtype, random_state=0)
    model.fit(FULL, y if pooling == "every" else np.array(y))
    wanted = [np.asarray(one).tolist() for one in model.predict(FULL)]
    made = pa.array(rgru.arrow.predict(model, as_column(FULL)))
    made.validate(full=True)
    assert made.to_pylist() == wanted
    kind = pa.float64() if single else pa.list_(pa.float64(), 2)
    assert made.type == (pa.list_(kind) if pooling == "every" else kind)
    null = pa.array(rgru.arrow.predict(model, as_column([None, *FULL]), on_error="null"))
    assert null.to_pylist() == [None, *wanted]


def test_estimators_take_tables_as_x():
    y = np.arange(len(FULL)) % 2
    exact = [one.astype(np.float64) for one in FULL]
    by_list = rgru.GRUClassifier(hidden_size=4, max_epochs=2, random_state=0).fit(exact, y)
    by_table = rgru.GRUClassifier(hidden_size=4, max_epochs=2, random_state=0).fit(as_table(FULL), y)
    np.testing.assert_array_equal(by_table.predict_proba(as_table(FULL)), by_list.predict_proba(exact))
    assert by_table.score(as_table(FULL), y) == by_list.score(exact, y)


# -- rows that fail ----------------------------------------------------------------------------------------------------

BROKEN = {
    "null sequence": (None, "expected no nulls, got 1 null sequence in row 1 "),
    "null step": ([[1.0, 2.0], None], "expected no nulls, got 1 null step in row 1 "),
    "null value": ([[1.0, 2.0], [None, 2.0]], "expected no nulls, got 1 null value in row 1 "),
    "NaN": ([[1.0, np.nan]], "expected finite numbers, got nan in sequence 1, step 0, feature 1 "),
    "infinity": ([[1.0, 2.0], [-np.inf, 1.0]], "expected finite numbers, got -inf in sequence 1, step 1, feature 0 "),
    "too large": ([[1.0, 1e300]], r"(in row 1 |in float32.*: expected finite numbers, got inf in sequence 1)"),
}


def fitted(**options):
    return rgru.GRUClassifier(hidden_size=4, max_epochs=1, random_state=0, **options).fit(
        FULL, np.arange(len(FULL)) % 2
    )


MODELS = {
    "gru": make_gru,
    "plain estimator": lambda: fitted(standardize=False),
    "estimator": fitted,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("step", [pa.list_(pa.float64(), 2), pa.list_(pa.float64())], ids=["fixed", "list"])
def test_one_row_fails(make, what, step):
    model, (row, expected) = make(), BROKEN[what]
    column = pa.array([FULL[0].tolist(), row, FULL[1].tolist(), row], pa.list_(step))
    with pytest.raises(ValueError, match=rf"^column.*{expected}"):
        rgru.arrow.predict(model, column.slice(0, 3))
    made = rgru.arrow.predict(model, column, on_error="null")
    assert (len(made), made.null_count) == (4, 2)
    array = pa.array(made)
    array.validate(full=True)
    assert array.is_null().to_pylist() == [False, True, False, True]
    good = pa.array(rgru.arrow.predict(model, pa.array([FULL[0].tolist(), FULL[1].tolist()], pa.list_(step))))
    assert array.filter(array.is_valid()).to_pylist() == good.to_pylist()


def test_steps_of_other_widths_fail():
    model = make_gru()
    column = pa.array(
        [[[1.0]], [[1.0, 2.0]], [[1.0, 2.0], [3.0]], [], [[1.0, 2.0, 3.0]], [[]]], pa.list_(pa.list_(pa.float32()))
    )
    with pytest.raises(
        ValueError, match=r"expected steps of one width, got 1 and 2 numbers; the width first differs in row 1 "
    ):
        rgru.arrow.predict(model, column)
    made = rgru.arrow.predict(model, column, on_error="null", output="every")
    assert pa.array(made).is_valid().to_pylist() == [False, True, False, True, False, False]
    np.testing.assert_array_equal(rows(made), model(np.array([[[1.0, 2.0]]], np.float32))[0][0])


def test_columns_of_other_lengths_fail():
    model = make_gru()
    table = pa.table({"a": [[1.0], [1.0, 2.0], None, [1.0]], "b": [[2.0], [1.0], [1.0], [2.0]]})
    with pytest.raises(ValueError, match=r"^column 'a': expected no nulls, got 1 null sequence in row 2 "):
        rgru.arrow.predict(model, table)
    with pytest.raises(ValueError, match=r"got 2 in column 'a' and 1 in column 'b', row 1 "):
        rgru.arrow.predict(model, table.slice(0, 2))
    made = rgru.arrow.predict(model, table, on_error="null")
    assert pa.array(made).is_valid().to_pylist() == [True, False, False, True]
    values = pa.array(made).to_pylist()
    assert values[0] == values[3] == model(np.array([[[1.0, 2.0]]], np.float32))[0][0, 0].tolist()


def test_null_rows_with_steps_below_them():
    """A null row may have steps below it, even invalid ones."""
    steps = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, np.nan, 4, 5, 6], pa.float32()), 2)
    column = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), steps, mask=pa.array([False, True, False]))
    model = make_gru()
    made = rgru.arrow.predict(model, column, on_error="null", output="every")
    good = rgru.arrow.predict(model, as_column([np.array([[1, 2]]), np.array([[5, 6]])]), output="every")
    np.testing.assert_array_equal(rows(made), rows(good))
    assert pa.array(made).is_valid().to_pylist() == [True, False, True]


def test_all_rows_fail():
    for model in (make_gru(), fitted()):
        made = rgru.arrow.predict(model, pa.array([None, None], PAIR), on_error="null")
        assert (len(made), made.null_count) == (2, 2)


def test_a_table_without_steps_and_of_types_without_a_width():
    gru = rgru.GRU(5, 3, seed=0)
    lists, pairs = pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float32(), 2))
    for kinds in ((lists, pairs, pairs), (lists, lists, pairs)):
        table = pa.table([pa.array([[], None], kind) for kind in kinds], names=["a", "b", "c"])
        assert rgru.arrow.predict(gru, table, on_error="null").null_count == 1
        assert len(rgru.arrow.predict(gru, table.slice(0, 1))) == 1


def test_an_empty_batch():
    for model in (make_gru(), fitted()):
        for column in (pa.array([], PAIR), pa.chunked_array([], PAIR), pa.table({"x": pa.array([], PAIR)})):
            made = rgru.arrow.predict(model, column)
            assert len(pa.array(made)) == 0
    assert len(pa.array(rgru.arrow.predict(make_gru(), pa.array([], PAIR), output="every"))) == 0


def test_rows_without_steps_have_results():
    made = rgru.arrow.predict(make_gru(), pa.array([[], [[1.0, 2.0]], []], PAIR))
    assert pa.array(made).to_pylist()[0] == [0.0] * 5


def test_many_rows_at_random():
    """Predictions agree with those of the same rows one by one."""
    rng = np.random.default_rng(3)
    model, values = make_gru(), []
    for _ in range(200):
        one = rng.normal(size=(int(rng.integers(0, 4)), 2)).astype(np.float32).tolist()
        broken = rng.integers(8)
        if broken == 0:
            one = None
        elif one and broken == 1:
            one[0][1] = None
        elif one and broken == 2:
            one[-1][0] = float("nan")
        values.append(one)
    column = pa.chunked_array([pa.array(values[:90], PAIR), pa.array(values[90:], PAIR)])
    whole = pa.chunked_array(rgru.arrow.predict(model, column, on_error="null"))
    single = [pa.array(rgru.arrow.predict(model, pa.array([one], PAIR), on_error="null")) for one in values]
    assert whole.to_pylist() == pa.concat_arrays(single).to_pylist()
    assert 20 < whole.null_count < 100


# -- consumers of results ----------------------------------------------------------------------------------------------


def test_polars_imports_results():
    pl = pytest.importorskip("polars")
    gru = make_gru()
    frame = pl.DataFrame(
        {"id": [1, 2, 3], "x": pl.Series([[[1.0, 2.0]], None, []], dtype=pl.List(pl.Array(pl.Float32, 2)))}
    )
    states = pl.Series(rgru.arrow.predict(gru, frame["x"], on_error="null"))
    assert states.dtype == pl.Array(pl.Float32, 5)
    assert frame.with_columns(h=states)["h"].is_null().to_list() == [False, True, False]
    every = pl.Series(rgru.arrow.predict(gru, frame["x"], on_error="null", output="every"))
    assert every.dtype == pl.List(pl.Array(pl.Float32, 5))
    labels = pl.Series(rgru.arrow.predict(fitted(), frame.select("x"), on_error="null"))
    assert labels.null_count() == 1


def test_pandas_imports_results():
    pd = pytest.importorskip("pandas", minversion="2.2")
    made = rgru.arrow.predict(fitted(), as_column([*FULL, None]), on_error="null")
    series = pd.Series(pd.array(pa.array(made), dtype=pd.ArrowDtype(pa.int64())))
    assert series.isna().tolist() == [False] * len(FULL) + [True]


def test_duckdb_imports_results():
    duckdb = pytest.importorskip("duckdb")
    gru = make_gru()
    with duckdb.connect() as connection:
        rows_of = connection.sql("SELECT [[i, i + 1]]::FLOAT[2][] AS x FROM range(5000) AS t(i) ORDER BY i")
        connection.register("states", pa.table({"h": rgru.arrow.predict(gru, rows_of)}))
        assert connection.sql("SELECT count(h[1]) FROM states").fetchall() == [(5000,)]


def test_nanoarrow_imports_results():
    na = pytest.importorskip("nanoarrow")
    made = rgru.arrow.predict(make_gru(), as_column([FULL[0], None]), on_error="null")
    assert na.c_array(made).null_count == 1
    assert na.c_array_stream(made).get_schema().format == "+w:5"
    assert list(na.ArrayStream(made).iter_py())[1] is None


def test_one_result_is_consumed_any_number_of_times():
    made = rgru.arrow.predict(make_gru(), as_column(FULL))
    assert pa.array(made).equals(pa.array(made))
    assert pa.chunked_array(made).equals(pa.chunked_array([pa.array(made)]))


def test_the_repr_of_a_result():
    made = rgru.arrow.predict(make_gru(), as_column([FULL[0], None]), on_error="null", output="every")
    assert repr(made) == "ArrowColumn(2 rows, 1 null, list<item: fixed_size_list<item: float>[5]>)"
    assert made.type == "list<item: fixed_size_list<item: float>[5]>"


def test_wrong_arguments():
    gru, column = make_gru(), as_column(FULL)
    with pytest.raises(ValueError, match=r"^on_error: expected 'raise' or 'null', got 'ignore'$"):
        rgru.arrow.predict(gru, column, on_error="ignore")
    with pytest.raises(ValueError, match=r"^output: expected 'last' or 'every' of a GRU, got 'label'$"):
        rgru.arrow.predict(gru, column, output="label")
    with pytest.raises(ValueError, match=r"^output: expected 'label' or 'probability' of a GRUCl.*, got 'every'$"):
        rgru.arrow.predict(fitted(), column, output="every")
    with pytest.raises(TypeError, match=r"^column: expected an Arrow column or table, got list$"):
        rgru.arrow.predict(gru, FULL)
    with pytest.raises(TypeError, match=r"^model: expected a GRU, Model, GRUClassifier or GRURegressor, got str$"):
        rgru.arrow.predict("gru", column)
    with pytest.raises(ValueError, match="not fitted yet"):
        rgru.arrow.predict(rgru.GRUClassifier(), column)
    for on_error in ("raise", "null"):
        with pytest.raises(ValueError, match=r"^column: expected 2 features .*, got 1$"):
            rgru.arrow.predict(gru, pa.array([[1.0]]), on_error=on_error)
        with pytest.raises(ValueError, match=r"^column: expected 2 features .*, got 1$"):
            rgru.arrow.predict(fitted(), pa.array([[1.0]]), on_error=on_error)


def test_no_arrow_library_is_imported():
    code = """
import sys, numpy as np, rgru
x = rgru.Ragged(np.ones((3, 2), np.float32), [0, 1, 3])
print(rgru.arrow.predict(rgru.GRU(2, 4), rgru.Ragged.from_arrow(x)))
print(*sorted({"pyarrow", "polars", "pandas", "sklearn"} & set(sys.modules)))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert printed.splitlines() == ["ArrowColumn(2 rows, 0 nulls, fixed_size_list<item: float>[4])", ""]


def test_several_outputs_of_one_run():
    gru, column = make_gru(num_layers=2, bidirectional=True), as_column([*SEQUENCES, None])
    made = predict_all(gru, column, ["every", "last", "last"], on_error="null")
    wanted = [rgru.arrow.predict(gru, column, output=output, on_error="null") for output in ("every", "last", "last")]
    assert [pa.array(one).equals(pa.array(other)) for one, other in zip(made, wanted, strict=True)] == [True] * 3
    model = fitted()
    label, probability = predict_all(model, as_column(FULL), ["label", "probability"])
    assert pa.array(label).equals(pa.array(rgru.arrow.predict(model, as_column(FULL))))
    assert pa.array(probability).equals(pa.array(rgru.arrow.predict(model, as_column(FULL), output="probability")))


def test_errors_name_the_column():
    for model, kind in ((make_gru(), "last"), (fitted(), "label")):
        with pytest.raises(ValueError, match=r"^column 'x': expected finite numbers, got nan"):
            predict_all(model, pa.array([[[1.0, np.nan]]], PAIR), [kind], name="column 'x'")
        with pytest.raises(ValueError, match=r"^column 'x': expected 2 features"):
            predict_all(model, pa.array([[1.0]]), [kind], on_error="null", name="column 'x'")
