"""Sequences of rows of events by vector operations: equal to groups by plain NumPy, in one table or any batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import rgru
from engine_cases import check_sequences, make_events, python_calls
from rgru.integrations.events import Events

EVENTS = Events("key", "time", ["a", "b"])


def test_shuffled_events_become_sequences():
    events = make_events()
    made = EVENTS.cut(EVENTS.sorted(events))
    assert made.schema.names == ["key", "time", "a", "b"]
    check_sequences(made, events)


def test_lists_share_the_columns_memory():
    events = EVENTS.sorted(make_events()).combine_chunks()
    made = EVENTS.cut(events)
    for name in ("time", "a", "b"):
        assert made[name].chunk(0).values.buffers()[1].address == events[name].chunk(0).buffers()[1].address


@pytest.mark.parametrize("size", [1, 2, 7, 50, 10_000])
def test_sequences_continue_over_batches(size):
    events = make_events()
    batches = EVENTS.sorted(events).combine_chunks().to_batches(size)
    empty = batches[0].slice(0, 0)
    made = list(EVENTS.cut_each([empty, *[one for batch in batches for one in (batch, empty)]]))
    assert all(one.num_rows for one in made)
    check_sequences(pa.concat_tables(made), events)


def test_one_key_over_all_batches():
    events = pa.table({"key": ["k"] * 100, "time": range(100), "a": np.ones(100), "b": np.ones(100)})
    (made,) = EVENTS.cut_each(events.to_batches(9))
    check_sequences(made, events)


def test_no_events():
    none = make_events().slice(0, 0)
    assert list(EVENTS.cut_each([])) == []
    assert list(EVENTS.cut_each(none.to_batches())) == []
    assert EVENTS.cut(EVENTS.sorted(none)).schema.field("a").type == pa.list_(pa.float32())


def test_several_columns_of_key_and_time():
    rng = np.random.default_rng(0)
    table = {name: rng.integers(0, 3, 200) for name in ("k", "l", "t")} | {"u": rng.permutation(200)}
    table["a"] = rng.normal(size=200)
    made = (events := Events(["k", "l"], ["t", "u"], "a")).cut(events.sorted(pa.table(table)))
    assert made.num_rows == 9
    for row in made.to_pylist():
        rows = np.flatnonzero((table["k"] == row["k"]) & (table["l"] == row["l"]))
        rows = rows[np.lexsort((table["u"][rows], table["t"][rows]))]
        assert row["a"] == table["a"][rows].tolist()


def test_keys_of_a_dictionary():
    """The codes of dictionaries differ from chunk to chunk."""
    events = make_events()
    parts = [events.slice(start, 90) for start in range(0, events.num_rows, 90)]
    coded = pa.concat_tables([part.set_column(0, "key", part["key"].dictionary_encode()) for part in parts])
    check_sequences(EVENTS.cut(EVENTS.sorted(coded)), events)


@pytest.mark.parametrize("kind", [pa.int8(), pa.large_string(), pa.binary(), pa.date32(), pa.timestamp("us", "UTC")])
def test_keys_of_other_types(kind):
    keys = pa.array([3, 1, 3, 1, 2], pa.int32())
    keys = (
        keys.cast(pa.string()).cast(kind)
        if kind in (pa.large_string(), pa.binary())
        else keys.cast(kind if kind in (pa.int8(), pa.date32()) else pa.int64()).cast(kind)
    )
    table = pa.table({"key": keys, "time": [5, 4, 3, 2, 1], "a": [1.0, 2, 3, 4, 5]})
    made = (events := Events("key", "time", "a")).cut(events.sorted(table))
    assert made["a"].to_pylist() == [[4, 2], [5], [3, 1]]
    assert made["key"].type == kind


@pytest.mark.parametrize("argument", ["key", "time"])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_gaps_in_key_and_time_are_refused(argument, value):
    table = pa.table({"key": [1.0, 1.0, 2.0], "time": [1.0, 2.0, 1.0], "a": [1.0] * 3, "b": [1.0] * 3})
    broken = pa.array([1.0, value, 1.0])
    table = table.set_column(table.schema.names.index(argument), argument, broken)
    message = f"^{argument}: expected no {'nulls' if value is None else 'NaN'} in column '{argument}', got "
    with pytest.raises(ValueError, match=message):
        EVENTS.cut(EVENTS.sorted(table))
    with pytest.raises(ValueError, match=message):
        list(EVENTS.cut_each(table.to_batches()))


STRUCTS = pa.array([{"id": 1}, {"id": 1}, {"id": 2}])


@pytest.mark.parametrize(
    "values",
    [
        STRUCTS,
        pa.array([[1], [1], [2]]),
        pa.DictionaryArray.from_arrays([0, 0, 1], STRUCTS),
    ],
)
def test_keys_and_times_that_arrow_cannot_compare_are_refused(values):
    table = pa.table({"key": [1, 1, 2], "time": [1, 2, 1], "a": [1.0] * 3, "b": [1.0] * 3})
    for i, argument in enumerate(("key", "time")):
        broken = table.set_column(i, argument, values)
        message = f"^{argument}: expected numbers, strings, bytes, dates or times in column '{argument}', got "
        with pytest.raises(TypeError, match=message):
            EVENTS.sorted(broken)
        if argument == "key":
            with pytest.raises(TypeError, match=message):
                EVENTS.cut(broken)
            with pytest.raises(TypeError, match=message):
                list(EVENTS.cut_each(broken.to_batches()))


def test_gaps_in_features_are_left_to_the_model():
    table = pa.table({"key": [1, 1], "time": [1, 2], "a": [None, 1.0], "b": [float("nan"), 1.0]})
    assert EVENTS.cut(EVENTS.sorted(table))["a"].to_pylist() == [[None, 1.0]]


def test_wrong_names():
    with pytest.raises(TypeError, match=r"^features: expected the name of a column or a list of names, got 3$"):
        Events("k", "t", 3)
    with pytest.raises(ValueError, match=r"^time: expected different names, at least one, got \[\]$"):
        Events("k", [], "a")
    with pytest.raises(
        ValueError, match=r"^key, time, features: expected different names, at least one, got \['k', 't'"
    ):
        Events("k", "t", ["t", "a"])
    with pytest.raises(ValueError, match=r"^features: expected one of the columns key, time, a, b, got 'c'$"):
        Events("key", "time", "c").check(make_events().column_names)


def test_no_python_for_each_row_or_key():
    """A hundred times as many sequences take as many calls."""
    few, many = (EVENTS.sorted(make_events(keys)).combine_chunks() for keys in (50, 5_000))
    assert EVENTS.cut(many).num_rows == 5_000

    def cut_each(events):
        return list(EVENTS.cut_each(events.to_batches(-(-events.num_rows // 4))))

    for make in (EVENTS.sorted, EVENTS.cut, cut_each):
        assert python_calls(make, few) == python_calls(make, many)


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.binary_view(), pa.large_binary()], ids=str)
@pytest.mark.parametrize("encoded", [False, True])
def test_keys_and_times_may_be_texts_of_any_layout(kind, encoded):
    plain = pa.table({"key": ["b", "a", "b", "a"], "time": ["4", "2", "1", "3"], "a": [1.0, 2.0, 3.0, 4.0]})
    binary = kind in {pa.binary_view(), pa.large_binary()}
    columns = [plain[name].cast("binary" if binary else "string").cast(kind) for name in ("key", "time")]
    columns = [column.dictionary_encode() for column in columns] if encoded else columns
    events = Events("key", "time", "a")
    ordered = events.sorted(pa.table([*columns, plain["a"]], names=["key", "time", "a"]))
    for made in (events.cut(ordered), pa.concat_tables(events.cut_each(ordered.to_batches(1)))):
        assert made["key"].to_pylist() == ([b"a", b"b"] if binary else ["a", "b"])
        assert made["a"].to_pylist() == [[2.0, 4.0], [3.0, 1.0]]


def test_features_without_a_type_are_lists_of_nulls():
    table = pa.table({"key": ["a", "a", "b"], "time": [1, 2, 1], "a": pa.nulls(3)})
    events = Events("key", "time", "a")
    made = events.cut(events.sorted(table))
    assert made["a"].to_pylist() == [[None, None], [None]]
    (column,) = events.cut(events.sorted(table))["a"].chunks
    assert rgru.arrow.predict(rgru.GRU(1, 2), column, on_error="null").null_count == 2
