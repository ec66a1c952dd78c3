"""Dictionary columns that `rgru predict` keeps stay dictionaries, in every format."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from command_line import make_table, read, succeed
from rgru._cli.writers import open_output


def stream(table, rows):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


def written(path, batches):
    with open_output(str(path), batches[0].schema, lambda folder: None) as write:
        for batch in batches:
            write(batch)
    return read(path)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather"])
@pytest.mark.parametrize("source", ["parquet", "arrow", "stream"])
def test_a_kept_column_has_its_type_and_values(work, tmp_path, source, ending):
    table, data = make_table(), tmp_path / f"data.{source}"
    if source == "parquet":
        pq.write_table(table, data, row_group_size=7)
    elif source == "arrow":
        with pa.ipc.new_file(data, table.schema) as writer:
            writer.write_table(table)
    else:
        data.write_bytes(stream(table, 7))
    succeed("predict", work / "classifier", data, "-o", tmp_path / f"out.{ending}")
    out = read(tmp_path / f"out.{ending}")
    assert out.schema.field("note").type == pa.dictionary(pa.int32(), pa.string())
    assert out["note"].to_pylist() == table["note"].to_pylist()


def test_dictionaries_may_differ_from_batch_to_batch(work, tmp_path):
    column = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()])
    table = pa.table({"values": make_table(4)["values"], "kind": column})
    for target in ("out.parquet", "out.arrow"):
        succeed("predict", work / "classifier", "-", "-o", tmp_path / target, stdin=stream(table, rows=2))
        assert read(tmp_path / target)["kind"].to_pylist() == ["a", "b", "c", "a"]
        assert pa.types.is_dictionary(read(tmp_path / target)["kind"].type)


VALUES = {
    pa.string(): ["a", "bc", "", "d"],
    pa.large_string(): ["a", "bc", "", "d"],
    pa.string_view(): ["a", "bc", "", "a text of more than twelve letters"],
    pa.binary_view(): [b"a", b"bc", b"", b"a text of more than twelve letters"],
    pa.binary(2): [b"ab", b"cd", b"ef", b"gh"],
    pa.int16(): [5, 6, 7, 8],
    pa.timestamp("us"): [5, 6, 7, 8],
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_dictionaries_of_all_types_grow(tmp_path, kind, ordered, ending):
    values = pa.array(VALUES[kind], kind)
    batches = []
    for order in itertools.permutations(range(4), 3):
        codes = pa.array([0, None, 2, 1, 0], pa.int8())
        mine = pa.array([values[i].as_py() for i in order], kind)
        batches.append(pa.record_batch({"c": pa.DictionaryArray.from_arrays(codes, mine, ordered=ordered)}))
    batches.extend([batches[0].slice(1), batches[0].slice(0, 0), batches[5].slice(2, 2)])
    out = written(tmp_path / f"out.{ending}", batches)
    if ending == "arrow":
        assert out["c"].type == pa.dictionary(pa.int32(), kind, ordered)
    assert out["c"].to_pylist() == [value for batch in batches for value in batch.column(0).to_pylist()]


def test_codes_of_one_byte_may_stand_for_more_values_than_256(tmp_path):
    rows = np.arange(100)
    batches = [
        pa.record_batch({"c": pa.DictionaryArray.from_arrays(pa.array(rows, pa.uint8()), pa.array(rows + 100 * n))})
        for n in range(4)
    ]
    assert written(tmp_path / "out.arrow", batches)["c"].to_pylist() == list(range(400))


def test_nulls_in_a_dictionary_are_nulls(tmp_path):
    makes = [["a", None], ["b", "a"], [None, "b"]]
    batches = [
        pa.record_batch({"c": pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), pa.array(one))}) for one in makes
    ]
    assert written(tmp_path / "out.arrow", batches)["c"].to_pylist() == [
        None, "a", None, "a", "b", None, "b", None, None
    ]  # fmt: skip


def test_parts_of_one_batch_share_their_dictionary(tmp_path, monkeypatch):
    """It is looked up and written once, whatever its size."""
    import pyarrow.compute as pc

    calls = []
    monkeypatch.setattr(pc, "index_in", lambda *args: calls.append(args))
    words = pa.array([f"a word of some length, number {i}" for i in range(20_000)])
    whole = pa.record_batch({"c": pa.DictionaryArray.from_arrays(pa.array(range(20_000), pa.int32()), words)})
    out = written(tmp_path / "out.arrow", [whole.slice(start, 1000) for start in range(0, 20_000, 1000)])
    assert out["c"].to_pylist() == words.to_pylist()
    assert calls == []
    assert (tmp_path / "out.arrow").stat().st_size < 2 * whole.nbytes


def test_polars_reads_them(work, tmp_path):
    polars = pytest.importorskip("polars")
    table = make_table()
    with pa.ipc.new_file(tmp_path / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    succeed("predict", work / "classifier", tmp_path / "data.arrow", "-o", tmp_path / "out.arrow")
    frame = polars.read_ipc(tmp_path / "out.arrow")
    assert frame["note"].cast(polars.String).to_list() == table["note"].to_pylist()


WRITES_CODES = """
import sys
import pyarrow as pa
from rgru._cli.writers import open_output

words = pa.array(["a" * 1000, "b" * 1000])
batch = pa.record_batch({"word": pa.DictionaryArray.from_arrays(pa.array([0, 1] * 20_000, pa.int8()), words)})
with open_output(sys.argv[1], batch.schema, lambda folder: None) as write:
    write(batch)
print(pa.default_memory_pool().max_memory())
"""


def test_csv_writes_the_values_of_few_codes_at_a_time(tmp_path):
    """Codes are small even for huge values. The peak of memory is measured in a process of its own."""
    command = [sys.executable, "-c", WRITES_CODES, tmp_path / "out.csv"]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert peak < 20 * 2**20  # all values are 40 MB
    words = csv.read_csv(tmp_path / "out.csv")["word"].to_pylist()
    assert words == ["a" * 1000, "b" * 1000] * 20_000


def codes(values, count, kind):
    """Return a dictionary array of all values, with codes that just hold them."""
    return pa.DictionaryArray.from_arrays(pa.array(range(count), kind), pa.array(values))


NESTED = {
    "column": lambda array: array,
    "list": lambda array: pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), array),
    "large_list": lambda array: pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), array),
    "fixed_size_list": lambda array: pa.FixedSizeListArray.from_arrays(array, len(array)),
    "map": lambda array: pa.MapArray.from_arrays([0, len(array)], pa.array(range(len(array))), array),
    "struct": lambda array: pa.StructArray.from_arrays([array], ["a"]),
}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("nested", NESTED)
@pytest.mark.parametrize(("kind", "count"), [(pa.int8(), 100), (pa.uint8(), 200), (pa.int16(), 20_000)], ids=str)
def test_batches_together_may_have_more_values_than_the_codes_hold(tmp_path, kind, count, nested, ending):
    """Each batch by itself is fine; written with its own type of codes, the file could not be read."""
    batches = [
        pa.record_batch({"c": NESTED[nested](codes([f"{part}{i}" for i in range(count)], count, kind))})
        for part in "abc"
    ]
    out = written(tmp_path / f"out.{ending}", batches)
    assert out["c"].to_pylist() == [value for batch in batches for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_the_first_dictionary_may_be_empty(tmp_path, ending):
    none = pa.DictionaryArray.from_arrays(pa.array([None, None], pa.int8()), pa.array([], pa.string()))
    batches = [pa.record_batch({"c": none}), pa.record_batch({"c": codes(["a", "b"], 2, pa.int8())})]
    assert written(tmp_path / f"out.{ending}", batches)["c"].to_pylist() == [None, None, "a", "b"]


@pytest.mark.parametrize("values", [[[1], [2, 3]], [{"a": 1}, {"a": 2}]], ids=["lists", "structs"])
def test_dictionaries_of_nested_values_become_plain_in_ipc_files(tmp_path, values):
    batches = [pa.record_batch({"c": codes(part, 2, pa.int8())}) for part in (values, values[::-1])]
    assert written(tmp_path / "out.arrow", batches)["c"].to_pylist() == [*values, *values[::-1]]


def test_texts_of_polars_become_csv(work, tmp_path):
    """Its files hold string views, also in dictionaries."""
    polars = pytest.importorskip("polars")
    table = make_table(4)
    frame = polars.DataFrame({"values": table["values"].to_pylist(), "text": ["a", "b", None, "a"]})
    frame = frame.with_columns(polars.col("text").cast(polars.Categorical).alias("kind"))
    frame.write_ipc(tmp_path / "data.arrow")
    succeed("predict", work / "classifier", tmp_path / "data.arrow", "-o", tmp_path / "out.csv", "--sequence", "values")
    out = csv.read_csv(tmp_path / "out.csv")
    assert out["text"].to_pylist() == out["kind"].to_pylist() == ["a", "b", "", "a"]
