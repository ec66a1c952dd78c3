"""Arrow's memory: used where it lies, alive as long as anyone looks at it, and released once."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pyarrow as pa
import pytest

import rgru
from arrow_c import Chunks, capsule, fixed, lists, numbers, structs


def sequence_column(**options):
    """Three sequences of two features: of 2, 0 and 1 steps."""
    values = numbers(np.arange(6), **options)
    return lists(fixed(values, 2), [0, 2, 2, 3]), values.kept[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_used_in_place_until_the_last_view_is_gone(dtype):
    column, numbers_there = sequence_column(dtype=dtype)
    ragged = rgru.Ragged.from_arrow(column)
    assert ragged.values.ctypes.data == numbers_there.ctypes.data
    assert ragged.values.dtype == dtype
    assert not ragged.values.flags.writeable
    assert column.released == ["schema"]
    view = ragged[0][1:]
    del ragged
    gc.collect()
    assert column.released == ["schema"]
    assert view.tolist() == [[2.0, 3.0]]
    del view
    gc.collect()
    assert column.released == ["schema", "array"]
    assert not any(child.released for node in column.children for child in node.nodes())


@pytest.mark.parametrize(("dtype", "wanted"), [("float16", None), ("int8", None), ("float64", "float32")])
def test_converted_numbers_are_let_go_of_at_once(dtype, wanted):
    column, _ = sequence_column(dtype=dtype)
    ragged = rgru.Ragged.from_arrow(column, dtype=wanted)
    assert sorted(column.released) == ["array", "schema"]
    assert ragged.values.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_refused_columns_are_released():
    column = lists(numbers([1, 2]), [0, 2, 1])
    with pytest.raises(ValueError, match="well-formed"):
        rgru.Ragged.from_arrow(column)
    assert sorted(column.released) == ["array", "schema"]
    column = numbers([1, 2])
    with pytest.raises(TypeError, match=r"got float$"):
        rgru.Ragged.from_arrow(column)
    assert sorted(column.released) == ["array", "schema"]


def test_capsules_that_nobody_consumes_are_the_producers():
    column, _ = sequence_column()
    schema, array = column.__arrow_c_array__()
    del schema, array
    gc.collect()
    assert column.released == []  # these capsules have no destructor: rgru must not have touched them


def test_what_was_consumed_is_not_consumed_again():
    column, _ = sequence_column()
    assert len(rgru.Ragged.from_arrow(column)) == 3
    with pytest.raises(ValueError, match="'arrow_schema' that has already been consumed"):
        rgru.Ragged.from_arrow(column)
    gc.collect()
    assert column.released == ["schema", "array"]


def test_each_chunk_of_a_stream_is_released_once():
    chunks = [sequence_column()[0] for _ in range(3)]
    stream = Chunks(chunks)
    ragged = rgru.Ragged.from_arrow(stream)
    assert len(ragged) == 9
    assert stream.released == 1
    assert [sorted(chunk.released) for chunk in chunks] == [["array", "schema"], ["array"], ["array"]]


def test_of_a_stream_only_the_chunk_in_use_is_kept():
    empty, full = lists(fixed(numbers([]), 2), [0, 0]), sequence_column()[0]
    ragged = rgru.Ragged.from_arrow(Chunks([empty, full]))
    assert [one.tolist() for one in ragged] == [[], [[0, 1], [2, 3]], [], [[4, 5]]]
    assert "array" in empty.released
    assert "array" not in full.released
    del ragged
    gc.collect()
    assert full.released == ["array"]


def test_a_stream_that_fails_says_why():
    chunks = [sequence_column()[0]]
    stream = Chunks(chunks, error="the disk is on fire")
    with pytest.raises(OSError, match="column: the stream has failed: the disk is on fire"):
        rgru.Ragged.from_arrow(stream)
    assert stream.released == 1
    assert sorted(chunks[0].released) == ["array", "schema"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.float32(), 2)),
        pa.large_list(pa.list_(pa.float64(), 2)),
        pa.list_(pa.list_(pa.float32())),
        pa.list_(pa.list_(pa.float32(), 2), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("start", [0, 1])
def test_pyarrow_memory_is_viewed_and_freed(kind, start):
    before = pa.total_allocated_bytes()
    column = pa.array([[[1.0, 2.0], [3.0, 4.0]]] * 100, kind).slice(start)
    ragged = rgru.Ragged.from_arrow(column)
    numbers_there = column
    while hasattr(numbers_there, "values"):
        numbers_there = numbers_there.values
    skipped = 4 * start * ragged.values.itemsize
    assert ragged.values.ctypes.data == numbers_there.buffers()[1].address + skipped
    del column, numbers_there
    gc.collect()
    assert pa.total_allocated_bytes() > before
    assert ragged.values.sum() == 10 * (100 - start)
    del ragged
    gc.collect()
    assert pa.total_allocated_bytes() == before


def test_a_table_of_features_is_copied_and_freed():
    before = pa.total_allocated_bytes()
    table = pa.table({"a": [[1.0, 2.0]] * 100, "b": [[3.0, 4.0]] * 100})
    ragged = rgru.Ragged.from_arrow(table)
    del table
    gc.collect()
    assert pa.total_allocated_bytes() == before
    assert ragged.values.shape == (200, 2)


def test_odd_addresses_are_read():
    """The interface recommends alignment, but does not ask for it."""
    bytes_there = np.zeros(100, np.uint8)
    bytes_there[1:25] = np.arange(6, dtype=np.float32).view(np.uint8)
    offsets = np.zeros(20, np.uint8)
    offsets[3:19] = np.array([0, 2, 2, 3], np.int32).view(np.uint8)
    values = numbers(np.arange(6))
    values.array.buffers[1] = bytes_there.ctypes.data + 1
    column = lists(fixed(values, 2), [0, 2, 2, 3])
    column.array.buffers[1] = offsets.ctypes.data + 3
    ragged = rgru.Ragged.from_arrow(column)
    assert [one.tolist() for one in ragged] == [[[0, 1], [2, 3]], [], [[4, 5]]]
    assert ragged.values.flags.aligned
    assert sorted(column.released) == ["array", "schema"]


def test_views_may_be_let_go_of_on_any_thread():
    column, _ = sequence_column()
    held = [rgru.Ragged.from_arrow(column)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert column.released == ["schema", "array"]


def test_columns_are_read_on_many_threads():
    column = pa.chunked_array([pa.array([[[1.0, 2.0]] * 50] * 20)] * 3)
    wrong = []

    def work():
        for _ in range(50):
            if rgru.Ragged.from_arrow(column, dtype="float32").values.sum() != 3 * 20 * 50 * 3:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- what rgru gives ---------------------------------------------------------------------------------------------------


def states(steps=5):
    x = rgru.Ragged(np.random.default_rng(0).normal(size=(steps, 2)).astype(np.float32), [0, 2, 2, steps])
    y, _ = rgru.GRU(2, 4, seed=0)(x)
    return y


def test_results_are_taken_over_without_a_copy():
    y = states()
    column = pa.array(y)
    assert column.type == pa.list_(pa.list_(pa.float32(), 4))
    assert column.values.values.buffers()[1].address == y.values.ctypes.data
    wanted = y.values.copy()
    del y
    gc.collect()
    np.testing.assert_array_equal(column.values.values.to_numpy().reshape(-1, 4), wanted)


class Owner:
    """Memory whose end can be watched."""

    def __init__(self):
        self.kept = np.arange(6, dtype=np.float32)
        self.__array_interface__ = self.kept.__array_interface__


@pytest.mark.parametrize("anywhere", [False, True])
def test_results_that_others_hold_are_freed_with_them(anywhere):
    owner = Owner()
    gone = weakref.ref(owner)
    held = [pa.array(rgru.Ragged(np.asarray(owner).reshape(3, 2), [0, 3]))]
    del owner
    gc.collect()
    assert gone() is not None
    if anywhere:
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
    held.clear()
    gc.collect()
    assert gone() is None


def test_results_that_nobody_consumes_are_freed():
    owner = Owner()
    gone = weakref.ref(owner)
    ragged = rgru.Ragged(np.asarray(owner).reshape(3, 2), [0, 3])
    for _ in range(3):
        assert len(ragged.__arrow_c_array__()) == 2
    del owner, ragged
    gc.collect()
    assert gone() is None


def test_results_outlive_the_interpreter():
    code = """
import numpy as np, pyarrow as pa, rgru
kept = pa.array(rgru.Ragged(np.ones((1000, 100), np.float32), [0, 1000]))
pa.kept = kept  # never collected before the end
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True).stderr == ""


def test_capsules_have_the_names_of_the_interface():
    column = states()
    schema, array = column.__arrow_c_array__()
    assert '"arrow_schema"' in repr(schema)
    assert '"arrow_array"' in repr(array)
    made = rgru.arrow.predict(rgru.GRU(4, 4), column)
    assert '"arrow_array_stream"' in repr(made.__arrow_c_stream__())


def test_a_capsule_of_another_name_is_refused():
    class Wrong:
        def __arrow_c_stream__(self):
            column = sequence_column()[0]
            self.kept = column
            return capsule(column.array, b"arrow_array")

    with pytest.raises(TypeError, match="expected a capsule named 'arrow_array_stream'"):
        rgru.Ragged.from_arrow(Wrong())


def test_own_columns_come_back():
    y = states()
    back = rgru.Ragged.from_arrow(y)
    assert back.values.ctypes.data == y.values.ctypes.data
    assert back.offsets.tolist() == y.offsets.tolist()


def test_struct_children_are_released_with_the_parent():
    table = structs(2, {"a": lists(numbers([1, 2, 3]), [0, 1, 3]), "b": lists(numbers([4, 5, 6]), [0, 1, 3])})
    ragged = rgru.Ragged.from_arrow(table)
    assert [one.tolist() for one in ragged] == [[[1, 4]], [[2, 5], [3, 6]]]
    assert sorted(table.released) == ["array", "schema"]
