"""The data sets of the package: sizes, types, values, errors, no network."""

import socket
import sys

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from rgru.datasets import japanese_vowels_table, load_japanese_vowels

TEST_COUNTS = [31, 35, 88, 44, 29, 24, 40, 50, 29]  # for speakers 1 to 9, from the source's notes


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a data set must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("split", "counts", "shortest", "longest", "frames"),
    [("train", [30] * 9, 7, 26, 4274), ("test", TEST_COUNTS, 7, 29, 5687)],
)
def test_split_has_the_published_sizes(split, counts, shortest, longest, frames):
    X, y = load_japanese_vowels(split)
    lengths = [len(x) for x in X]
    assert len(X) == len(y) == sum(counts)
    assert np.bincount(y, minlength=10).tolist() == [0, *counts]
    assert (min(lengths), max(lengths), sum(lengths)) == (shortest, longest, frames)


def test_arrays_are_contiguous_float32_and_independent():
    X, y = load_japanese_vowels("train")
    assert y.dtype == np.int64
    assert y.flags.writeable
    for x in X:
        assert x.dtype == np.float32
        assert x.shape == (len(x), 12)
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.flags.owndata
        assert np.isfinite(x).all()
    first = X[1].copy()
    X[0][:] = 0
    np.testing.assert_array_equal(X[1], first)
    assert load_japanese_vowels("train")[0][0].any()


def test_values_are_those_of_the_source():
    X, y = load_japanese_vowels()
    np.testing.assert_array_equal(X[0][0, :4], np.float32([1.860936, -0.207383, 0.261557, -0.214562]))
    np.testing.assert_array_equal(X[0][:3, 0], np.float32([1.860936, 1.891651, 1.939205]))
    np.testing.assert_array_equal(X[270][0, :2], np.float32([1.635533, 0.024848]))
    assert X[269][-1, -1] == np.float32(0.173642)
    assert (y[0], y[269], y[270], y[639]) == (1, 9, 1, 9)


def test_none_is_train_followed_by_test():
    X, y = load_japanese_vowels()
    parts = [load_japanese_vowels("train"), load_japanese_vowels("test")]
    np.testing.assert_array_equal(y, np.concatenate([part_y for _, part_y in parts]))
    for whole, part in zip(X, [x for part_X, _ in parts for x in part_X], strict=True):
        np.testing.assert_array_equal(whole, part)


def test_table_has_list_column_without_nulls():
    import pyarrow as pa

    whole = japanese_vowels_table()
    assert whole.column_names == ["split", "speaker", "values"]
    assert whole["values"].type == pa.list_(pa.list_(pa.float32(), 12))
    assert whole["split"].to_pylist() == ["train"] * 270 + ["test"] * 370
    assert all(column.null_count == 0 for column in whole.columns)
    test = japanese_vowels_table("test")
    assert test.equals(whole.slice(270).drop_columns(["split"]))


@pytest.mark.parametrize("load", [load_japanese_vowels, japanese_vowels_table])
@pytest.mark.parametrize("split", ["TRAIN", "", 1, ["train"]])
def test_bad_split_names_argument_expected_and_got(load, split):
    with pytest.raises(ValueError, match="split: expected 'train', 'test' or None, got") as error:
        load(split)
    assert repr(split) in str(error.value)


def test_without_pyarrow_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[cli\]' in a clone of rgru"):
        load_japanese_vowels("train")
