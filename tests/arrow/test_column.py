"""Arrow and Polars list columns as Ragged: viewed, copied or refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rgru._data.arrow_columns import ragged_from_arrow
from rgru._validation.arrays import is_arrow_column

SEQUENCES = [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]], [[7.0, 8.0], [9.0, 10.0], [11.0, 12.0]]]
LIST_TYPES = {
    "list<fixed>": pa.list_(pa.list_(pa.float32(), 2)),
    "large_list<fixed>": pa.large_list(pa.list_(pa.float32(), 2)),
    "list<list>": pa.list_(pa.list_(pa.float32())),
    "large_list<large_list>": pa.large_list(pa.large_list(pa.float32())),
    "list<fixed<double>>": pa.list_(pa.list_(pa.float64(), 2)),
}


def lists(ragged):
    return [sequence.tolist() for sequence in ragged]


def memory(array):
    """Return the address and length of the numbers below all the lists."""
    while hasattr(array, "values"):
        array = array.values
    data = array.buffers()[1]
    return data.address, data.address + data.size


@pytest.mark.parametrize("kind", LIST_TYPES.values(), ids=LIST_TYPES)
def test_a_column_is_viewed_without_a_copy(kind):
    column = pa.array(SEQUENCES, kind)
    ragged = ragged_from_arrow(column)
    assert lists(ragged) == SEQUENCES
    start, end = memory(column)
    assert start <= ragged.values.ctypes.data < end
    assert not ragged.values.flags.writeable
    assert ragged.offsets.dtype == np.int64


@pytest.mark.parametrize("kind", LIST_TYPES.values(), ids=LIST_TYPES)
@pytest.mark.parametrize(("start", "length"), [(1, 2), (2, 2), (3, 1), (0, 2), (1, 0)])
def test_slices_start_where_they_start(kind, start, length):
    column = pa.array(SEQUENCES, kind).slice(start, length)
    ragged = ragged_from_arrow(column)
    assert lists(ragged) == SEQUENCES[start : start + length]
    assert ragged.offsets[0] == 0


def test_slices_below_the_outer_list():
    """A child's offsets may start above 0 too, and its own child may be a slice."""
    numbers = pa.array(np.arange(20, dtype=np.float32)).slice(2, 16)
    steps = pa.FixedSizeListArray.from_arrays(numbers, 2).slice(1, 6)
    column = pa.ListArray.from_arrays(pa.array([1, 3, 6], pa.int32()), steps)
    assert lists(ragged_from_arrow(column)) == [[[6, 7], [8, 9]], [[10, 11], [12, 13], [14, 15]]]
    assert lists(ragged_from_arrow(column.slice(1))) == [[[10, 11], [12, 13], [14, 15]]]


def test_several_chunks_are_joined():
    kind = LIST_TYPES["list<fixed>"]
    chunks = [pa.array(SEQUENCES[:1], kind), pa.array([], kind), pa.array(SEQUENCES, kind).slice(1)]
    assert lists(ragged_from_arrow(pa.chunked_array(chunks))) == SEQUENCES


def test_one_chunk_of_a_table_is_viewed():
    column = pa.chunked_array([pa.array(SEQUENCES, LIST_TYPES["list<fixed>"])])
    start, end = memory(column.chunk(0))
    assert start <= ragged_from_arrow(column).values.ctypes.data < end


def test_sequences_of_equal_length_may_be_a_fixed_size_list():
    column = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.float32(), 2), 2))
    assert lists(ragged_from_arrow(column)) == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert lists(ragged_from_arrow(column.slice(1))) == [[[5, 6], [7, 8]]]


def test_bare_numbers_are_one_feature():
    ragged = ragged_from_arrow(pa.array([[1.0, 2.0], [], [3.0]], pa.list_(pa.float32())))
    assert lists(ragged) == [[[1.0], [2.0]], [], [[3.0]]]


@pytest.mark.parametrize("number", [pa.int8(), pa.int64(), pa.uint16(), pa.float16()])
def test_other_numbers_become_float64(number):
    column = pa.array(
        [[[np.float16(1), np.float16(2)]]] if number == pa.float16() else [[[1, 2]]], pa.list_(pa.list_(number, 2))
    )
    ragged = ragged_from_arrow(column)
    assert ragged.values.dtype == np.float64
    assert lists(ragged) == [[[1.0, 2.0]]]


def test_polars_series():
    pl = pytest.importorskip("polars")
    series = pl.Series("x", SEQUENCES, dtype=pl.List(pl.Array(pl.Float32, 2)))
    assert is_arrow_column(series)
    assert lists(ragged_from_arrow(series)) == SEQUENCES
    assert lists(ragged_from_arrow(series[1:3])) == SEQUENCES[1:3]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([[[1.0, 2.0]], None, None], "2 null sequences, the first in row 1"),
        ([[[1.0, 2.0]], [[1.0, 2.0], None]], "1 null step in row 1"),
        ([[[1.0, None]], [[None, None]]], "3 null values, the first in row 0"),
    ],
)
@pytest.mark.parametrize("kind", ["list<fixed>", "list<list>"])
def test_nulls_are_refused_and_counted(values, what, kind):
    with pytest.raises(ValueError, match=rf"^column 'v': expected no nulls, got {what} \(counted from 0\)$"):
        ragged_from_arrow(pa.array(values, LIST_TYPES[kind]), name="column 'v'")


@pytest.mark.parametrize("kind", ["list<fixed>", "list<list>"])
def test_nulls_outside_the_slice_do_no_harm(kind):
    column = pa.array([None, [None], [[1.0, None]], [[1.0, 2.0]], None], LIST_TYPES[kind])
    assert lists(ragged_from_arrow(column.slice(3, 1))) == [[[1.0, 2.0]]]


def test_nulls_of_later_chunks_are_found():
    kind = LIST_TYPES["list<fixed>"]
    with pytest.raises(ValueError, match=r"1 null sequence in row 4 "):
        ragged_from_arrow(pa.chunked_array([pa.array(SEQUENCES, kind), pa.array([None], kind)]))


def test_steps_of_different_widths_are_refused():
    kind = LIST_TYPES["list<list>"]
    with pytest.raises(ValueError, match=r"X: expected steps of one width, got 2 and 1 numbers"):
        ragged_from_arrow(pa.array([[[1.0, 2.0], [3.0]]], kind))
    with pytest.raises(ValueError, match=r"X: expected steps of one width, got 1 and 2 numbers"):
        ragged_from_arrow(pa.chunked_array([pa.array([[[1.0, 2.0]]], kind), pa.array([[[3.0]]], kind)]))


def test_steps_without_numbers_are_refused():
    with pytest.raises(ValueError, match=r"expected at least one number per step"):
        ragged_from_arrow(pa.array([[[]]], pa.list_(pa.list_(pa.float32()))))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0]),
        pa.array([["a"]]),
        pa.array([[[[1.0]]]]),
        pa.array([[[b"1"]]]),
        pa.table({"a": [1]}),
        pa.array([[{"a": "1"}]]),
        pa.array([{"a": [1.0], "b": "1"}]),
    ],
    ids=lambda column: str(getattr(column, "type", "table")),
)
def test_other_types_are_refused_by_name(column):
    with pytest.raises(TypeError, match=r"^X: expected a list column of numbers: .*, got "):
        ragged_from_arrow(column)


def test_without_a_step_the_width_comes_from_the_type_or_the_caller():
    assert ragged_from_arrow(pa.array([[]], LIST_TYPES["list<fixed>"])).values.shape == (0, 2)
    assert ragged_from_arrow(pa.array([[], []], LIST_TYPES["list<list>"]), width=5).values.shape == (0, 5)
    empty = ragged_from_arrow(pa.chunked_array([], LIST_TYPES["list<fixed>"]))
    assert (len(empty), empty.values.shape) == (0, (0, 2))
