"""The columns that `rgru predict` reads and writes, and rows that it cannot predict."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rgru
from command_line import SEQUENCE, fail, fit, make_table, read, rgru_, succeed


@pytest.fixture
def split(tmp_path):
    """Return the table, and the same with each feature in a list column of its own."""
    table = make_table()
    for i, name in enumerate(("a", "b")):
        column = [[step[i] for step in one] for one in table["values"].to_pylist()]
        table = table.append_column(name, pa.array(column, pa.list_(pa.float32())))
    pq.write_table(table, tmp_path / "split.parquet")
    return tmp_path / "split.parquet"


def test_the_features_of_several_columns_are_concatenated(work, split, tmp_path):
    columns = ["--sequence", "a", "--sequence", "b"]
    succeed("predict", work / "classifier", split, "-o", tmp_path / "split", *columns)
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "whole")
    assert pq.read_table(tmp_path / "split")["prediction"].equals(pq.read_table(tmp_path / "whole")["prediction"])


def test_a_model_trained_on_one_column_takes_no_other_by_chance(work, tmp_path):
    table, out = make_table(), tmp_path / "out.parquet"
    pq.write_table(pa.table({"pressure": table["values"]}), tmp_path / "new.parquet")
    predict = ["predict", work / "classifier", tmp_path / "new.parquet", "-o", out]
    fail("expected column 'values' as in training, got pressure; --sequence can name another column", *predict)
    assert not out.exists()
    succeed(*predict, "--sequence", "pressure")
    assert len(read(out)) == len(table)


def test_a_model_trained_on_several_columns_finds_them(work, split, tmp_path):
    model = tmp_path / "model"
    quick = ["--hidden-size", 4, "--max-epochs", 2, "--seed", 0]
    succeed("fit", split, "-o", model, "--sequence", "a", "--sequence", "b", "--target", "sign", *quick)
    assert b"columns 'a', 'b', to predict 'sign'" in succeed("info", model)
    fit(work / "data.parquet", tmp_path / "one", "sign")
    for name in ("model", "one"):
        succeed("predict", tmp_path / name, split, "-o", tmp_path / f"{name}.parquet", "--column", "p=probability")
    assert read(tmp_path / "model.parquet").equals(read(tmp_path / "one.parquet"))


def test_columns_of_unequal_lengths_are_named(work, tmp_path):
    table = pa.table({"a": [[1.0, 2.0], [3.0]], "b": [[1.0, 2.0], []]})
    pq.write_table(table, tmp_path / "data.parquet")
    options = ["--sequence", "a", "--sequence", "b"]
    fail(
        "columns 'a', 'b'.*1", "predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "o", *options
    )


def test_only_the_columns_to_keep_are_written(work, tmp_path):
    options = ["--keep", "total", "--keep", "id"]
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet", *options)
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "all.parquet")
    out = read(tmp_path / "out.parquet")
    assert out.column_names == ["id", "total", "prediction"]
    assert out.equals(read(tmp_path / "all.parquet").select(out.column_names))
    message = r"--keep: expected columns of .*data\.parquet, got 'nothing'"
    fail(message, "predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "o", "--keep", "nothing")


def test_predictions_may_have_the_name_of_a_column_left_out(work, tmp_path):
    options = ["--keep", "id", "--column", "sign=label"]
    succeed("predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out.parquet", *options)
    assert read(tmp_path / "out.parquet").column_names == ["id", "sign"]


@pytest.mark.parametrize("target", ["out.parquet", "-"])
def test_rows_that_cannot_be_predicted_are_null_and_counted(work, tmp_path, target):
    table = make_table()
    values = table["values"].to_pylist()
    values[3], values[20], values[44] = None, [[1.0, np.nan]], [[1.0, None]]
    table = table.set_column(1, "values", pa.array(values, SEQUENCE))
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=20)
    model, data = work / "classifier", tmp_path / "data.parquet"
    fail("rows 0 to .*column 'values'.*null", "predict", model, data, "-o", tmp_path / "out.parquet")

    to = tmp_path / target if target != "-" else target
    both = ["--column", "prediction=label", "--column", "p=probability"]
    code, out, err = rgru_("predict", model, data, "-o", to, *both, "--on-error", "null")
    assert (code, err) == (0, "rgru: 3 of 50 predictions are null\n")
    result = pa.ipc.open_stream(out).read_all() if target == "-" else read(to)
    succeed("predict", model, work / "data.parquet", "-o", tmp_path / "whole.parquet", *both)
    whole = read(tmp_path / "whole.parquet")
    for name in ("prediction", "p"):
        expected = [None if i in (3, 20, 44) else one for i, one in enumerate(whole[name].to_pylist())]
        assert result[name].to_pylist() == expected
    for name in table.column_names:
        assert str(result[name].to_pylist()) == str(table[name].to_pylist())  # compared as text, since NaN != NaN


def test_missing_or_reordered_columns_of_the_training_are_named(work, split, tmp_path):
    model, quick = tmp_path / "model", ["--hidden-size", 4, "--max-epochs", 1, "--seed", 0]
    succeed("fit", split, "-o", model, "--sequence", "b", "--sequence", "a", "--target", "sign", *quick)
    without = pq.read_table(split).drop_columns(["b", "values"])
    pq.write_table(without, tmp_path / "without.parquet")
    out = ["-o", tmp_path / "out.parquet"]
    fail("expected column 'b' as in training, got id, sign", "predict", model, tmp_path / "without.parquet", *out)
    columns = ["--sequence", "a", "--sequence", "b"]
    swapped = r"columns 'a', 'b': expected features 'b.*' in this order, as in fit, got 'a.*'"
    fail(swapped, "predict", model, split, *out, *columns)
    fail("--sequence: expected different columns, got a, a", "predict", model, split, *out, *columns[:2], *columns[:2])


UNTYPED = {
    "list<null>": (pa.array([[], []]), [False, False]),
    "null": (pa.nulls(2), [True, True]),
    "nulls in list<null>": (pa.array([[None], []]), [True, False]),
    "no rows": (pa.nulls(0), []),
    "decimals": (pa.array([[[1, 2]], None], pa.list_(pa.list_(pa.decimal128(5, 2)))), [False, True]),
    "tensors": (
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float32(), (2, 2)), pa.array([[1, 2, 3, 4], None], pa.list_(pa.float32(), 4))
        ),
        [False, True],
    ),
}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize(("column", "null"), UNTYPED.values(), ids=UNTYPED)
def test_a_file_without_a_single_number_is_valid(work, tmp_path, column, null, ending):
    folder = tmp_path / "in"
    folder.mkdir()
    table = pa.table({"note": pa.array(["a", "b"][: len(column)], pa.string()), "values": column})
    if ending == "parquet":
        pq.write_table(table, folder / "b.parquet")
    else:
        with pa.ipc.new_file(folder / "b.arrow", table.schema) as writer:
            writer.write_table(table)
    pq.write_table(make_table(5), folder / "a.parquet")
    pq.write_table(make_table(5), folder / "c.parquet")
    options = ["--on-error", "null"]
    rgru_("predict", work / "classifier", folder, "-o", tmp_path / "out", *options)
    made = [read(one) for one in sorted((tmp_path / "out").iterdir())]
    assert [one.num_rows for one in made] == [5, len(column), 5]
    assert made[1]["prediction"].is_null().to_pylist() == null
    assert made[1].schema.field("prediction").type == pa.string()


def test_a_typed_column_is_preferred_to_one_without_a_type(work, tmp_path):
    """A column of a partition may be all null, without a type, and text in others."""
    table = make_table(4).select(["values"])
    for tags in (pa.array([[], [], [], []]), pa.nulls(4)):
        pq.write_table(table.append_column("tags", tags), tmp_path / "data.parquet")
        succeed("predict", work / "classifier", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet")
        assert read(tmp_path / "out.parquet").column_names == ["values", "tags", "prediction"]


@pytest.mark.parametrize("kind", ["string_view", "large_string", "dictionary", "dictionary of views", "whole decimals"])
def test_labels_of_every_type(work, tmp_path, kind):
    table = make_table()
    labels = table["sign"]
    if kind == "dictionary":
        labels = labels.dictionary_encode()
    elif kind == "dictionary of views":
        labels = labels.cast(pa.string_view()).dictionary_encode()
    elif kind == "whole decimals":
        labels = pa.array([one == "up" for one in labels.to_pylist()]).cast("int32").cast(pa.decimal128(38, 0))
    else:
        labels = labels.cast(kind)
    table = table.select(["values"]).append_column("y", labels)
    with pa.ipc.new_file(tmp_path / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    quick = ["--hidden-size", 4, "--max-epochs", 2, "--seed", 0, "--task", "classify"]
    out = tmp_path / "out.parquet"
    fitted = rgru_("fit", tmp_path / "data.arrow", "-o", tmp_path / "model", *quick)
    assert fitted[0] == 0, fitted
    succeed("predict", tmp_path / "model", tmp_path / "data.arrow", "-o", out)
    assert set(pq.read_table(out)["prediction"].to_pylist()) <= ({0, 1} if "decimals" in kind else {"up", "down"})


def test_decimal_targets_are_the_nearest_numbers():
    from decimal import Decimal

    from rgru._cli.targets import targets

    rng = np.random.default_rng(0)
    kind = pa.decimal128(38, 9)
    values = [Decimal(int(one)).scaleb(-9) for one in rng.integers(-(2**62), 2**62, 200)]
    column = pa.chunked_array([pa.array(values[:90], kind), pa.array(values[90:], kind)])
    assert targets(column, "y", classify=False, every=False).tolist() == [float(one) for one in values]
    pairs = pa.chunked_array([pa.FixedSizeListArray.from_arrays(pa.array(values, kind), 2)])
    assert targets(pairs, "y", classify=False, every=False).ravel().tolist() == [float(one) for one in values]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.nulls(50), "column 'y': expected no nulls, got 50"),
        (pa.array([[]] * 50), "column 'y': expected labels .*, got type list<"),
    ],
)
def test_targets_without_a_type_are_refused(work, tmp_path, column, message):
    pq.write_table(make_table().select(["values"]).append_column("y", column), tmp_path / "data.parquet")
    options = ["--sequence", "values", "--target", "y"]
    fail(message, "fit", tmp_path / "data.parquet", "-o", tmp_path / "model", *options)


def test_a_column_of_ids_beside_one_of_numbers(tmp_path):
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 9, 4).tolist() for _ in range(40)]
    numbers = [rng.standard_normal(4).tolist() for _ in ids]
    pq.write_table(pa.table({"price": numbers, "item": ids, "last": [one[-1] % 2 for one in ids]}), tmp_path / "data")
    columns = ["--sequence", "item", "--sequence", "price", "--target", "last"]
    options = ["--vocabulary", 9, "--embedding-size", 4, "--hidden-size", 4, "--max-epochs", 2, "--seed", 0]
    succeed("fit", tmp_path / "data", "-o", tmp_path / "model", *columns, *options)
    model = rgru.load(tmp_path / "model")
    assert (model._gru.vocabulary, model._gru.embedding_size) == (9, 4)
    assert b"vocabulary=9, embedding_size=4" in succeed("info", tmp_path / "model")
    succeed("predict", tmp_path / "model", tmp_path / "data", "-o", tmp_path / "out.parquet", "--column", "y=label")
    X = rgru.Ragged.from_arrow(pq.read_table(tmp_path / "data").select(["item", "price"]))
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == model.predict(X).tolist()
    swapped = ["--sequence", "price", "--sequence", "item", "--target", "last"]
    message = r"expected ids from 0 to 8 in feature 0 \('price'\), got .* in sequence 0, step 0"
    fail(message, "fit", tmp_path / "data", "-o", tmp_path / "m", *swapped, *options)
