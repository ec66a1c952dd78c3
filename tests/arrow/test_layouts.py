"""Every layout of Arrow's, from every library that has the PyCapsule interface, gives the sequences that it holds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import rgru
from rgru._data.arrow_columns import is_sequence_type

PAIRS = [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]], [[7.0, 8.0], [9.0, 10.0], [11.0, 12.0]]]
EQUAL = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]], [[9.0, 10.0], [11.0, 12.0]]]
SINGLES = [[1.0, 2.0], [], [3.0], [4.0, 5.0, 6.0]]

OUTER = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "list_view": getattr(pa, "list_view", None),
    "large_list_view": getattr(pa, "large_list_view", None),
}
STEPS = {"fixed": lambda kind: pa.list_(kind, 2), "list": pa.list_, "large_list": pa.large_list}
NUMBERS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()} | {
    name: getattr(pa, name)() for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
}


def sequences(column, **options):
    return [sequence.tolist() for sequence in rgru.Ragged.from_arrow(column, **options)]


def column_of(values, kind):
    """`pa.array`, which does not know float16 in lists, nor list views, by itself."""
    return pa.array(values, kind)


def listed(values, outer, step, number):
    """Lists `outer` of `step` of numbers, in the same type for all."""
    flat = np.concatenate([np.reshape(one, -1) for one in values]).astype(number.to_pandas_dtype())
    child = pa.array(flat, number)
    if step is not None:
        count = len(flat) // 2
        if step == "fixed":
            child = pa.FixedSizeListArray.from_arrays(child, 2)
        else:
            made = pa.ListArray if step == "list" else pa.LargeListArray
            offsets = pa.array(np.arange(count + 1) * 2, pa.int32() if step == "list" else pa.int64())
            child = made.from_arrays(offsets, child)
    lengths = [len(one) for one in values]
    offsets = np.cumsum([0, *lengths])
    index = pa.int64() if outer.startswith("large") else pa.int32()
    if "view" in outer:
        made = pa.LargeListViewArray if outer.startswith("large") else pa.ListViewArray
        return made.from_arrays(pa.array(offsets[:-1], index), pa.array(lengths, index), child)
    made = pa.LargeListArray if outer.startswith("large") else pa.ListArray
    return made.from_arrays(pa.array(offsets, index), child)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("step", [None, *STEPS])
@pytest.mark.parametrize("outer", OUTER)
def test_lists_of_all_kinds(outer, step, number):
    if OUTER[outer] is None:
        pytest.skip("pyarrow has no list views")
    values = SINGLES if step is None else PAIRS
    column = listed(values, outer, step, NUMBERS[number])
    wanted = [[[x] for x in one] for one in SINGLES] if step is None else PAIRS
    assert is_sequence_type(column.type)
    ragged = rgru.Ragged.from_arrow(column)
    assert [one.tolist() for one in ragged] == wanted
    assert ragged.values.dtype == (np.float32 if number == "float32" else np.float64)
    assert not ragged.values.flags.writeable
    assert sequences(column.slice(1, 2)) == wanted[1:3]
    assert sequences(column.slice(3)) == wanted[3:]
    assert sequences(column.slice(1, 0)) == []
    chunks = pa.chunked_array([column.slice(2, 2), column.slice(0, 0), column.slice(0, 3)])
    assert sequences(chunks) == wanted[2:] + wanted[:3]


@pytest.mark.parametrize("number", NUMBERS)
def test_fixed_size_lists(number):
    flat = pa.array(np.arange(1, 13).astype(NUMBERS[number].to_pandas_dtype()), NUMBERS[number])
    column = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(flat, 2), 2)
    assert sequences(column) == EQUAL
    assert sequences(column.slice(1, 2)) == EQUAL[1:]
    assert sequences(column.slice(2).slice(0, 1)) == EQUAL[2:]
    bare = pa.FixedSizeListArray.from_arrays(flat, 4)
    assert sequences(bare.slice(1)) == [[[5], [6], [7], [8]], [[9], [10], [11], [12]]]


def test_all_half_precision_numbers():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    column = pa.ListArray.from_arrays(pa.array([0, 2**16], pa.int32()), pa.array(halves))
    for dtype in (None, "float32", "float64"):
        ragged = rgru.Ragged.from_arrow(column, dtype=dtype)
        np.testing.assert_array_equal(ragged.values[:, 0], halves.astype(dtype or np.float64))
        np.testing.assert_array_equal(np.signbit(ragged.values[:, 0]), np.signbit(halves))


def test_large_integers_are_rounded_once():
    numbers = [2**63 - 1, 2**53 + 1, -(2**63), 16777217, 2**40 + 2**16 + 1]
    column = pa.array([numbers], pa.list_(pa.int64()))
    for dtype in ("float32", "float64"):
        ragged = rgru.Ragged.from_arrow(column, dtype=dtype)
        assert ragged.values[:, 0].tolist() == np.array(numbers, np.int64).astype(dtype).tolist()
    wide = rgru.Ragged.from_arrow(pa.array([[2**64 - 1]], pa.list_(pa.uint64())))
    assert wide.values.tolist() == [[2.0**64]]


STRUCT = pa.struct([("a", pa.float32()), ("b", pa.float32())])


def as_structs(values):
    return [[dict(zip("ab", step, strict=True)) for step in one] for one in values]


def test_structs_of_numbers_are_features():
    column = pa.array(as_structs(PAIRS), pa.list_(STRUCT))
    assert is_sequence_type(column.type)
    assert sequences(column) == PAIRS
    assert sequences(column.slice(2, 2)) == PAIRS[2:]
    assert rgru.Ragged.from_arrow(column).values.dtype == np.float32
    mixed = pa.list_(pa.struct([("a", pa.float32()), ("b", pa.int8())]))
    assert rgru.Ragged.from_arrow(pa.array(as_structs(PAIRS), mixed)).values.dtype == np.float64


def test_one_field_of_a_struct_is_used_in_place():
    column = pa.array([[{"a": 1.0}, {"a": 2.0}]], pa.list_(pa.struct([("a", pa.float32())])))
    numbers = column.values.field(0)
    assert rgru.Ragged.from_arrow(column).values.ctypes.data == numbers.buffers()[1].address


def test_structs_sliced_below_the_list():
    fields = [
        pa.array(np.arange(10, dtype=np.float32)).slice(1),
        pa.array(np.arange(20, 30, dtype=np.float32)).slice(1),
    ]
    steps = pa.StructArray.from_arrays(fields, ["a", "b"]).slice(2)
    column = pa.ListArray.from_arrays(pa.array([1, 2, 4], pa.int32()), steps)
    assert sequences(column.slice(1)) == [[[5, 25], [6, 26]]]


def features(values):
    return {name: [[step[i] for step in one] for one in values] for i, name in enumerate("ab")}


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int16())], ids=str)
def test_columns_side_by_side_are_features(kind):
    table = pa.table({name: pa.array(lists, kind) for name, lists in features(PAIRS).items()})
    assert sequences(table) == PAIRS
    assert sequences(table.slice(1, 2)) == PAIRS[1:3]
    assert sequences(pa.concat_tables([table.slice(2), table.slice(0, 2)])) == PAIRS[2:] + PAIRS[:2]
    batch = table.to_batches()[0]
    assert sequences(batch) == PAIRS
    structs = pa.StructArray.from_arrays(batch.columns, names=batch.schema.names)
    assert sequences(structs) == PAIRS
    assert sequences(structs.slice(3)) == PAIRS[3:]


def test_columns_of_several_features_and_types_stand_side_by_side():
    table = pa.table(
        {
            "pair": pa.array(PAIRS, pa.list_(pa.list_(pa.float32(), 2))),
            "one": pa.array([[0] * len(one) for one in PAIRS], pa.large_list(pa.int8())),
            "fields": pa.array(as_structs(PAIRS), pa.list_(STRUCT)),
        }
    )
    assert sequences(table) == [[[*step, 0.0, *step] for step in one] for one in PAIRS]


def test_a_table_of_one_column_is_that_column():
    column = pa.array(PAIRS, pa.list_(pa.list_(pa.float32(), 2)))
    ragged = rgru.Ragged.from_arrow(pa.table({"x": column}))
    assert [one.tolist() for one in ragged] == PAIRS
    assert ragged.values.ctypes.data == rgru.Ragged.from_arrow(column).values.ctypes.data


def test_list_views_in_any_order():
    if OUTER["list_view"] is None:
        pytest.skip("pyarrow has no list views")
    steps = pa.array(np.arange(8, dtype=np.float32))
    starts, sizes = pa.array([5, 0, 4, 7], pa.int32()), pa.array([2, 2, 0, 1], pa.int32())
    column = pa.ListViewArray.from_arrays(starts, sizes, steps)
    assert sequences(column) == [[[5], [6]], [[0], [1]], [], [[7]]]
    assert sequences(column.slice(1)) == [[[0], [1]], [], [[7]]]


def test_list_views_as_steps_are_refused():
    if OUTER["list_view"] is None:
        pytest.skip("pyarrow has no list views")
    column = pa.array([[[1.0]]], pa.list_(pa.list_view(pa.float32())))
    with pytest.raises(
        TypeError, match=r"expected a list column of numbers: .*, got list<item: list_view<item: float>>"
    ):
        rgru.Ragged.from_arrow(column)


def test_polars():
    pl = pytest.importorskip("polars")
    pairs = pl.Series("x", PAIRS, dtype=pl.List(pl.Array(pl.Float32, 2)))
    assert sequences(pairs) == PAIRS
    assert sequences(pairs[1:3]) == PAIRS[1:3]
    assert sequences(pl.Series("x", PAIRS, dtype=pl.List(pl.List(pl.Float64)))) == PAIRS
    assert sequences(pl.Series("x", EQUAL, dtype=pl.Array(pl.Array(pl.Float32, 2), 2))) == EQUAL
    assert sequences(pl.Series("x", SINGLES)) == [[[x] for x in one] for one in SINGLES]
    assert sequences(pl.Series("x", as_structs(PAIRS))) == PAIRS
    assert sequences(pl.DataFrame(features(PAIRS))) == PAIRS
    assert sequences(pl.concat([pairs[2:], pairs[:2]], rechunk=False)) == PAIRS[2:] + PAIRS[:2]
    assert sequences(pl.DataFrame(features(PAIRS)).filter(pl.col("a").list.len() > 1)) == [PAIRS[0], PAIRS[3]]


def test_pandas():
    pd = pytest.importorskip("pandas", minversion="2.2")
    kind = pd.ArrowDtype(pa.list_(pa.float32()))
    frame = pd.DataFrame({name: pd.Series(lists, dtype=kind) for name, lists in features(PAIRS).items()})
    assert sequences(frame) == PAIRS
    assert sequences(frame[[True, False, False, True]]) == [PAIRS[0], PAIRS[3]]  # whose index is a column, too
    if hasattr(frame["a"], "__arrow_c_stream__"):
        assert sequences(frame["a"]) == [[[x] for x in one] for one in features(PAIRS)["a"]]
    assert sequences(pd.DataFrame(features(PAIRS))) == PAIRS  # of plain objects, too
    with pytest.raises(TypeError, match=r"got double in column 'c'"):
        sequences(frame.assign(c=1.0))


def test_pandas_series_of_arrays():
    pd = pytest.importorskip("pandas")
    from rgru.estimators._sequences import as_ragged

    arrays = [np.array(one, np.float32).reshape(-1, 2) for one in PAIRS]
    assert [one.tolist() for one in as_ragged("X", pd.Series(arrays))] == PAIRS


def test_duckdb():
    duckdb = pytest.importorskip("duckdb")
    rows = ", ".join(f"({i}, {one}::DOUBLE[2][])" for i, one in enumerate(PAIRS))
    with duckdb.connect() as connection:
        table = f"(VALUES {rows}) AS t(i, x)"
        assert sequences(connection.sql(f"SELECT x FROM {table} ORDER BY i")) == PAIRS
        split = "list_transform(x, lambda s: s[1])::FLOAT[] AS a, list_transform(x, lambda s: s[2])::FLOAT[] AS b"
        both = connection.sql(f"SELECT {split} FROM {table} ORDER BY i")
        assert sequences(both) == PAIRS
        many = connection.sql("SELECT [range, -range]::FLOAT[] AS x FROM range(10000) ORDER BY range")
        ragged = rgru.Ragged.from_arrow(many)  # in many chunks
        np.testing.assert_array_equal(ragged.values[:, 0], np.repeat(np.arange(10000), 2) * np.tile([1, -1], 10000))
        for sql, expected in {
            "[1.5, 2.25]": [[1.5], [2.25]],  # DECIMAL
            "[sum(i)]": [[3.0]],  # HUGEINT
            "[[true, false]]": [[1.0, 0.0]],
            "[{'a': 0.1, 'b': 2}]": [[0.1, 2.0]],
            "[]": [],
        }.items():
            assert sequences(connection.sql(f"SELECT {sql} AS x FROM range(3) AS t(i) GROUP BY ALL LIMIT 1")) == [
                expected
            ]


def test_nanoarrow():
    na = pytest.importorskip("nanoarrow")
    column = pa.array(PAIRS, pa.list_(pa.list_(pa.float32(), 2)))
    assert sequences(na.Array(column)) == PAIRS
    assert sequences(na.c_array(column)) == PAIRS
    assert sequences(na.ArrayStream(pa.chunked_array([column, column]))) == PAIRS * 2
    flat = na.c_array([x for one in SINGLES for x in one], na.float32())
    offsets = na.c_buffer(np.cumsum([0, *map(len, SINGLES)]).astype(np.int32))
    made = na.c_array_from_buffers(na.list_(na.float32()), len(SINGLES), [None, offsets], children=[flat])
    assert sequences(made) == [[[x] for x in one] for one in SINGLES]


def test_a_stream_that_computes_in_python():
    batches = [pa.record_batch({name: pa.array(lists) for name, lists in features([one]).items()}) for one in PAIRS]
    filled = [batch for batch in batches if batch.schema.field("a").type == pa.list_(pa.float64())]
    reader = pa.RecordBatchReader.from_batches(filled[0].schema, (batch for batch in filled))
    assert sequences(reader) == [one for one in PAIRS if one]


def test_other_sequences_are_refused_by_name():
    with pytest.raises(TypeError, match=r"^column: expected an Arrow column or table, got list$"):
        rgru.Ragged.from_arrow([[1.0]])
    with pytest.raises(TypeError, match=r"got list<item: dictionary<indices=int32>>"):
        rgru.Ragged.from_arrow(pa.array([["a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))))
    with pytest.raises(TypeError, match=r"got struct<> without columns"):
        rgru.Ragged.from_arrow(pa.table({}))
    with pytest.raises(TypeError, match=r"got list<item: list<item: double>> in column 'b'|double in column 'b'"):
        rgru.Ragged.from_arrow(pa.table({"a": [[1.0]], "b": [1.0]}))


def test_the_dtype_may_be_chosen():
    column = pa.array([[1.0, 0.1]], pa.list_(pa.float64()))
    assert rgru.Ragged.from_arrow(column, dtype="float32").values.tolist() == [[1.0], [float(np.float32(0.1))]]
    single = pa.array([[1.0]], pa.list_(pa.float32()))
    assert rgru.Ragged.from_arrow(single, dtype=np.float64).values.dtype == np.float64
    large = pa.array([[1.0], [2.0, 1e300]], pa.list_(pa.float64()))
    with pytest.raises(ValueError, match=r"^column: expected numbers within the range of float32, got 1e300 in row 1 "):
        rgru.Ragged.from_arrow(large, dtype="float32")
    infinite = rgru.Ragged.from_arrow(pa.array([[np.inf, np.nan]]), dtype="float32")
    np.testing.assert_array_equal(infinite.values[:, 0], [np.inf, np.nan])
    with pytest.raises(ValueError, match="dtype"):
        rgru.Ragged.from_arrow(column, dtype="int32")


def test_the_number_of_features():
    empty = pa.array([[], []], pa.list_(pa.list_(pa.float32())))
    assert rgru.Ragged.from_arrow(empty, num_features=5).values.shape == (0, 5)
    with pytest.raises(ValueError, match=r"^column: expected 5 features \(num_features\), got 2$"):
        rgru.Ragged.from_arrow(pa.array(PAIRS), num_features=5)


def test_columns_of_different_lengths_are_refused():
    table = pa.table({"a": [[1.0], [1.0, 2.0]], "b": [[1.0], [1.0]]})
    expected = "expected the same number of steps in all columns of a row, got 2 in column 'a' and 1 in column 'b'"
    with pytest.raises(ValueError, match=f"^column: {expected}, row 1 "):
        rgru.Ragged.from_arrow(table)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            {"a": [[1.0], [1.0]], "b": [[1.0], None]},
            "^column 'b': expected no nulls, got 1 null sequence in row 1",
        ),
        (
            {"a": [[1.0, None], [None]], "b": [[1.0, 2.0], [1.0]]},
            "^column 'a': .*2 null values, the first in row 0",
        ),
    ],
)
def test_nulls_of_a_table_are_named(table, expected):
    with pytest.raises(ValueError, match=expected):
        rgru.Ragged.from_arrow(pa.table(table))


def test_null_rows_of_a_struct_are_named():
    column = pa.array([{"a": [1.0]}, None, None], pa.struct([("a", pa.list_(pa.float32()))]))
    with pytest.raises(ValueError, match=r"^column: expected no nulls, got 2 null sequences, the first in row 1 "):
        rgru.Ragged.from_arrow(column)


def test_rows_without_steps_may_start_past_the_end_of_those_with_steps():
    steps = pa.array([[1.0, 2.0], *[None] * 30], pa.list_(pa.float32(), 2))
    hidden = pa.ListArray.from_arrays(pa.array([0, 1, 31], pa.int32()), steps, mask=pa.array([False, True]))
    with pytest.raises(ValueError, match=r"got 1 null sequence in row 1 "):
        rgru.Ragged.from_arrow(hidden)
    if OUTER["list_view"] is not None:
        views = pa.ListViewArray.from_arrays(pa.array([0, 31], pa.int32()), pa.array([1, 0], pa.int32()), steps)
        assert sequences(views) == [[[1.0, 2.0]], []]


def test_nulls_are_found_wherever_they_are():
    """Against pyarrow's own count, over many slices."""
    rng = np.random.default_rng(0)
    values = pa.array(rng.normal(size=400), mask=rng.random(400) < 0.02)
    column = pa.ListArray.from_arrays(pa.array(np.arange(0, 401, 4), pa.int32()), values)
    for _ in range(300):
        start = int(rng.integers(100))
        part = column.slice(start, int(rng.integers(1, 6)))
        nulls = part.flatten().null_count
        if nulls:
            with pytest.raises(ValueError, match=rf"got {nulls} null value"):
                rgru.Ragged.from_arrow(part)
        else:
            assert sequences(part) == [[[x] for x in one] for one in part.to_pylist()]
