"""Predictions appended to tables: the bits of `rgru.arrow.predict`, the schema without data, errors by column."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

import rgru
from engine_cases import GRU, MODELS, PAIR, check_table, make_classifier, make_regressor, make_table, python_calls
from rgru.integrations._append_predictions import Predictions


@pytest.mark.parametrize(("make", "output"), MODELS.values(), ids=MODELS)
def test_the_bits_of_one_process(make, output):
    model, table = make(), make_table()
    predictions = pickle.loads(pickle.dumps(Predictions(model, "x", outputs={"prediction": output})))
    for part in (table, table.slice(7, 90), table.slice(0, 0)):
        made = predictions(part)
        made.validate(full=True)
        check_table(made, part, model, output)
        assert predictions._fields() == [made.schema.field("prediction")]
    batch = table.combine_chunks().to_batches()[0]
    check_table(pa.table(predictions(batch)), table, model, output)


def test_several_outputs_and_what_is_kept():
    model, table = make_classifier(), make_table()
    predictions = Predictions(model, "x", outputs={"p": "probability", "label": "label"}, keep="id")
    made = predictions(table)
    assert made.column_names == ["id", "p", "label"]
    assert made["p"].combine_chunks().equals(pa.array(rgru.arrow.predict(model, table["x"], output="probability")))
    assert made["label"].combine_chunks().equals(pa.array(rgru.arrow.predict(model, table["x"])))


@pytest.mark.parametrize(
    ("make", "kind"), [(lambda: GRU, "last"), (make_classifier, "label"), (make_regressor, "value")]
)
def test_the_default_is_one_column_of_the_first_kind(make, kind):
    model, table = make(), make_table()
    made = Predictions(model, "x")(table)
    assert made.column_names == ["id", "x", "prediction"]
    for same in (rgru.arrow.predict(model, table["x"]), rgru.arrow.predict(model, table["x"], output=kind)):
        assert made["prediction"].combine_chunks().equals(pa.array(same))
    for output in ("value" if kind != "value" else "label", "", False):
        with pytest.raises(ValueError, match=rf"^output: expected '{kind}'.*, got {output!r}$"):
            rgru.arrow.predict(model, table["x"], output=output)


def test_features_in_several_columns():
    table = pa.table({"a": [[1.0, 2.0], []], "id": [1, 2], "b": [[3.0, 4.0], []]})
    made = Predictions(GRU, ["b", "a"], keep=["id"])(table)
    assert made["prediction"].combine_chunks().equals(pa.array(rgru.arrow.predict(GRU, table.select(["b", "a"]))))


def test_rows_that_fail():
    table = pa.table({"x": pa.array([[[1, 2]], None, [[float("nan"), 1]]], PAIR)})
    with pytest.raises(
        ValueError, match=r"^column 'x' \(rows counted within a batch\): expected no nulls, got .* row 1 "
    ):
        Predictions(GRU, "x")(table)
    with pytest.raises(ValueError, match=r"^column 'x' \(rows.*: expected finite numbers, got nan in sequence 1"):
        Predictions(GRU, "x")(table.take([0, 2]))
    made = Predictions(GRU, "x", on_error="null")(table)
    assert made["prediction"].is_null().to_pylist() == [False, True, True]


def test_columns_that_do_not_fit():
    table = make_table()
    for wrong, message in [
        (Predictions(GRU, "y"), "^sequences: expected one of the columns id, x, got 'y'$"),
        (Predictions(GRU, "x", keep="y"), "^keep: expected one of the columns id, x, got 'y'$"),
        (Predictions(GRU, "x", outputs={"id": "last"}), "^outputs: expected names that .* does not have, got 'id'$"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong(table)
    assert Predictions(GRU, "x", outputs={"id": "last"}, keep="x")(table).column_names == ["x", "id"]
    with pytest.raises(TypeError, match=r"^column 'id' .*: expected a list column of numbers: .*, got int64$"):
        Predictions(GRU, "id")(table)
    with pytest.raises(ValueError, match=r"^column 'x' .*: expected 3 features as the model has, got 2$"):
        Predictions(rgru.GRU(3, 4), "x")(table)


def test_arguments_are_validated_at_once():
    with pytest.raises(ValueError, match=r"^outputs: expected 'last' or 'every' of a GRU for 'y', got 'label'$"):
        Predictions(GRU, "x", outputs={"y": "label"})
    with pytest.raises(ValueError, match=r"^outputs: expected 'label' or 'probability' of .* for 'y', got None$"):
        Predictions(make_classifier(), "x", outputs={"y": None})
    for outputs in ("last", ["last"], {1: "last"}):
        with pytest.raises(TypeError, match=r"^outputs: expected a dict of column names and kinds of output, got "):
            Predictions(GRU, "x", outputs=outputs)
    with pytest.raises(ValueError, match=r"^on_error: expected 'raise' or 'null', got 'skip'$"):
        Predictions(GRU, "x", on_error="skip")
    with pytest.raises(ValueError, match=r"^outputs: expected at least one column, got none$"):
        Predictions(GRU, "x", outputs={})
    with pytest.raises(TypeError, match=r"^sequences: expected the name of a column or a list of names, got 3$"):
        Predictions(GRU, 3)
    with pytest.raises(ValueError, match="not fitted yet"):
        Predictions(rgru.GRUClassifier(), "x")
    with pytest.raises(FileNotFoundError):
        Predictions("none.safetensors", "x")


def test_no_python_for_each_row():
    """A hundred times as many rows take the same number of calls."""
    few, many = make_table(100), make_table(10_000)
    for predictions in (Predictions(GRU, "x"), Predictions(make_classifier(), "x", on_error="null")):
        predictions(few)  # packs the weights
        assert python_calls(predictions, few) == python_calls(predictions, many)


def test_tensors_are_accepted_like_lists():
    steps = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    table = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(steps)})
    made = Predictions(GRU, "x")(table)
    assert made["x"].type == table["x"].type
    assert made["prediction"].to_pylist() == pa.array(rgru.arrow.predict(GRU, rgru.Ragged.from_list(steps))).to_pylist()
