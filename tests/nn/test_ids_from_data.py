"""Ids as they come in data: lists, arrays of any type of numbers, Ragged, and columns with others beside them."""

import numpy as np
import pytest

import rgru
from rgru import Ragged

V, E, H = 11, 6, 5
IDS = [[3, 1, 4], [], [1, 5]]
OPTIONS = {"vocabulary": V, "embedding_size": E}
LABELS = [0, 1, 0] * 4


def made(features=1, dtype="float32", **options):
    return rgru.GRU(features, H, **OPTIONS, dtype=dtype, seed=3, **options)


def padded(dtype="float32"):
    """Return the ids of IDS (N, T), with what is no id in the padding, and their lengths."""
    array = np.full((3, 3), 99, dtype)
    for row, ids in zip(array, IDS, strict=True):
        row[: len(ids)] = ids
    return array, np.array([3, 0, 2])


def classifier(**more):
    return rgru.GRUClassifier(hidden_size=4, max_epochs=1, gru_options=OPTIONS, random_state=0, **more)


# -- Ragged ------------------------------------------------------------------------------------------------------------

RAGGED = {
    "lists": lambda: Ragged.from_list(IDS),
    "lists of steps": lambda: Ragged.from_list([[[i] for i in ids] for ids in IDS]),
    "arrays": lambda: Ragged.from_list([np.array(ids, np.int16) for ids in IDS]),
    "arrays of steps": lambda: Ragged.from_list([np.array(ids, np.int64)[:, None] for ids in IDS]),
    "values": lambda: Ragged(np.concatenate(IDS).astype("int32"), [0, 3, 3, 5]),
    "values of steps": lambda: Ragged(np.concatenate(IDS).astype("uint64")[:, None], [0, 3, 3, 5]),
    "padded": lambda: Ragged.from_padded(padded(int)[0], padded()[1]),
    "float64": lambda: Ragged(np.concatenate(IDS)[:, None].astype("float64"), [0, 3, 3, 5]),
    "arrow": lambda: Ragged.from_arrow(pytest.importorskip("pyarrow").array(IDS)),
    "pandas": lambda: Ragged.from_arrow(pytest.importorskip("pandas").Series(IDS)),
    "polars": lambda: Ragged.from_arrow(pytest.importorskip("polars").Series(IDS)),
}


@pytest.mark.parametrize("source", RAGGED)
def test_a_ragged_of_ids(source):
    gru, x = made(), RAGGED[source]()
    array, lengths = padded()
    expected, h_n = gru(array[..., None], lengths=lengths)
    assert (x.values.shape, x.lengths.tolist()) == ((5, 1), [3, 0, 2])
    for run in (gru, gru.record):
        y, last = run(x)[:2]
        assert isinstance(y, Ragged)
        np.testing.assert_array_equal(y.to_padded()[0], expected)
        np.testing.assert_array_equal(last, h_n)
    np.testing.assert_array_equal(gru.final_states(x), h_n)
    np.testing.assert_array_equal(gru.trace(x).layers[0].fwd.h.to_padded()[0], expected)
    tape = gru.record(x)[2]
    assert tape.backward(y).x.values.shape == (5, 1)


def test_integers_are_a_ragged_of_float64():
    assert Ragged(np.arange(6), [0, 6]).values.dtype == np.float64
    assert Ragged.from_list([[1, 2], [3]], dtype="float32").values.dtype == np.float32
    with pytest.raises(ValueError, match=r"values: expected integers from -2\*\*53 .* got 9007199254740993"):
        Ragged(np.array([[2**53 + 1]]), [0, 1])
    with pytest.raises(TypeError, match=r"sequences\[0\]: expected float32, got int64"):
        Ragged.from_list([np.array([1, 2])], dtype="float32")


# -- types and shapes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f8", "int8", "uint64"])
def test_ids_convert_from_any_type_of_numbers(dtype):
    gru, (array, lengths) = made(), padded(dtype)
    expected, _ = gru(padded()[0][..., None], lengths=lengths)
    np.testing.assert_array_equal(gru(array[..., None], lengths=lengths)[0], expected)
    mask = np.arange(3) < lengths[:, None]
    np.testing.assert_array_equal(gru(array[..., None], mask=mask)[0], expected)
    np.testing.assert_array_equal(gru.stream(2).step(array[[0, 2], :1]), expected[[0, 2], 0])
    np.testing.assert_array_equal(rgru.Sessions(gru).step([0, 2], array[[0, 2], :1]), expected[[0, 2], 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_need_the_axis_of_the_feature(dtype):
    gru, x = made(), np.ones((2, 3), dtype)
    message = r"^x: expected integers \(N, T\) as ids, or 3 dimensions \(N, T, I\), got float\d\d of shape \(2, 3\)$"
    for run in (gru, gru.record):
        with pytest.raises(ValueError, match=message):
            run(x)
    message = r"^x: expected integers \(N,\) as ids, or 2 dimensions \(N, I\), got float\d\d of shape \(3,\)$"
    with pytest.raises(ValueError, match=message):
        gru.stream(3).step(x[0])
    message = r"^x: expected integers \(M,\) as ids, or 2 dimensions \(M, I\), got float\d\d of shape \(3,\)$"
    with pytest.raises(ValueError, match=message):
        rgru.Sessions(gru).step([1, 2, 3], x[0])


def test_a_ragged_of_another_type_says_which_array_to_convert():
    message = r"^x.values: expected float32, got float64; convert it with x.values.astype\('float32'\)$"
    with pytest.raises(TypeError, match=message):
        made(2)(Ragged(np.ones((2, 2)), [0, 2]))


# -- what is no id -----------------------------------------------------------------------------------------------------

WRONG = [(-1, "-1"), (50, "50"), (123456789, "123456789"), (2**63 - 1, "9223372036854775807")]
WRONG_FLOATS = [(0.5, "0.5"), (1 - 1e-12, "0.999999999999"), (np.nan, "nan"), (np.inf, "inf")]


@pytest.mark.parametrize(("wrong", "shown"), WRONG + WRONG_FLOATS)
@pytest.mark.parametrize("more", [{}, {"resets": np.eye(2, 4, dtype=bool)}, {"mask": np.ones((2, 4), bool)}])
def test_errors_have_the_position_and_the_number(wrong, shown, more):
    x = np.zeros((2, 4, 1), type(wrong))
    x[1, 2] = wrong
    words = rf"^x: expected ids from 0 to 10 in feature 0, got {shown} in "
    for gru in (made(), made(dtype="float64")):
        for run in (gru, gru.final_states, gru.record, gru.trace):
            with pytest.raises(ValueError, match=rf"{words}sequence 1, step 2 \(counted from 0\)$"):
                run(x, **more)
        flat = {name: steps.reshape(-1) for name, steps in more.items()}
        with pytest.raises(ValueError, match=rf"{words}sequence 1, step 2 \(counted from 0\)$"):
            gru(Ragged._over(x.reshape(-1, 1), np.array([0, 4, 8])), **flat)
        stream = gru.stream(2)
        with pytest.raises(ValueError, match=rf"{words}sequence 1 \(counted from 0\)$"):
            stream.step(x[:, 2])
        assert not stream.h.any()
        if np.isfinite(wrong):  # Sessions refuse other numbers as such
            with pytest.raises(ValueError, match=rf"{words}event 1 \(counted from 0\)$"):
                rgru.Sessions(gru).step([0, 1], x[:, 2])


@pytest.mark.parametrize(("wrong", "shown"), [(50, "50"), (np.nan, "nan")])
def test_errors_of_the_core_are_the_same(wrong, shown):
    gru, x = made(2), np.zeros((2, 4, 2), "float32")
    x[1, 2, 0] = wrong
    words = rf"^x: expected ids from 0 to 10 in feature 0, got {shown} in "
    for more in ({}, {"mask": np.ones((2, 4), bool)}):
        with pytest.raises(ValueError, match=rf"{words}sequence 1, step 2 \(counted from 0\)$"):
            gru(x, **more)
    with pytest.raises(ValueError, match=rf"{words}sequence 1 \(counted from 0\)$"):
        gru.stream(2).step(x[:, 2])
    if np.isfinite(wrong):
        with pytest.raises(ValueError, match=rf"{words}event 1 \(counted from 0\)$"):
            rgru.Sessions(gru).step([0, 1], x[:, 2])


def test_events_that_are_rounded_are_no_ids():
    y = rgru.Sessions(made()).step([1, 2, 3], np.array([[1.0], [1 - 1e-12], [np.nan]]), on_error="null")
    assert np.isnan(y).any(axis=1).tolist() == [False, True, True]


# -- estimators, engines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        list,
        lambda ids: [np.array(one, int) for one in ids],
        Ragged.from_list,
        lambda ids: pytest.importorskip("pyarrow").array(ids),
        lambda ids: pytest.importorskip("polars").Series(ids),
        lambda ids: pytest.importorskip("pandas").DataFrame({"item": ids}),
    ],
)
def test_estimators_read_ids(make):
    X = IDS * 4
    reference = classifier().fit(Ragged.from_list(X), LABELS)
    model = classifier().fit(make(X), LABELS)
    np.testing.assert_array_equal(model.predict_proba(make(X)), reference.predict_proba(Ragged.from_list(X)))


def test_estimators_read_arrays_of_ids():
    ids = np.random.default_rng(0).integers(0, V, (12, 4))
    model = classifier().fit(ids, LABELS)
    np.testing.assert_array_equal(model.predict_proba(ids), model.predict_proba(ids[..., None]))
    sessions = rgru.Sessions(model)
    np.testing.assert_array_equal(sessions.step([1, 2], ids[:2, 0]), model.predict_proba(ids[:2, :1]))
    with pytest.raises(ValueError, match=r"X: expected 3 dimensions \(N, T, I\), got shape \(12, 4\)"):
        rgru.GRUClassifier().fit(ids, LABELS)
    with pytest.raises(ValueError, match=r"X: expected 3 dimensions \(N, T, I\), got shape \(12, 4\)"):
        model.predict(ids.astype("float32"))


@pytest.fixture
def table():
    """Return a table with ids and a column of numbers."""
    pa = pytest.importorskip("pyarrow")
    numbers = pa.array([[0.1, 0.2, 0.3], [], [0.4, 0.5]])
    return pa.table({"item": pa.array(IDS, pa.list_(pa.int32())), "price": numbers})


def test_the_first_column_of_a_table_has_the_ids(table):
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    from rgru.integrations.polars import predict

    gru = made(2)
    _, h_n = gru(Ragged.from_arrow(table, dtype="float32"))
    expected = h_n[0].tolist()
    assert pa.array(rgru.arrow.predict(gru, table)).to_pylist() == expected
    frame = pl.from_arrow(table)
    assert frame.select(predict(gru, ["item", "price"]))["item"].to_list() == expected
    alone = made().final_states(Ragged.from_list(IDS))[0].tolist()
    assert frame.lazy().select(predict(made(), "item")).collect()["item"].to_list() == alone
    words = r"column: expected ids from 0 to 10 in feature 0 \('price'\), got 0.1 in sequence 0, step 0"
    with pytest.raises(ValueError, match=words):
        rgru.arrow.predict(gru, table.select(["price", "item"]))
    many = pa.concat_tables([table] * 4)
    model = classifier().fit(many, LABELS)
    assert (model.scaler_.mean[0], model.scaler_.scale[0]) == (0, 1)
    with pytest.raises(ValueError, match=r"X: expected ids from 0 to 10 in feature 0 \('price'\), got 0.1 in sequence"):
        classifier().fit(many.select(["price", "item"]), LABELS)
    with pytest.raises(ValueError, match=r"X: expected features 'item', 'price' in this order"):
        model.predict(table.select(["price", "item"]))
