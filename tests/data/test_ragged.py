"""Ragged: every conversion preserves the sequences, without needless copies."""

import copy
import pickle

import numpy as np
import pytest

from rgru import Ragged

LENGTHS = [3, 0, 1, 5, 0]


@pytest.fixture
def sequences():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((length, 2)).astype(np.float32) for length in LENGTHS]


@pytest.fixture
def ragged(sequences):
    return Ragged.from_list(sequences)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_list_and_back(ragged, sequences):
    assert_same(ragged.to_list(), sequences)
    assert_same(list(ragged), sequences)
    assert_same([ragged[i] for i in range(len(ragged))], sequences)
    assert_same([ragged[i - 5] for i in range(5)], sequences)
    assert ragged.offsets.tolist() == [0, 3, 3, 4, 9, 9]
    assert ragged.lengths.tolist() == LENGTHS
    assert ragged.offsets.dtype == ragged.lengths.dtype == np.int64


def test_values_are_not_copied_and_stay_writable_for_their_owner():
    values = np.zeros((4, 2), np.float32)
    ragged = Ragged(values, [0, 4])
    assert np.shares_memory(ragged.values, values)
    assert np.shares_memory(ragged[0], values)
    assert values.flags.writeable


def test_it_cannot_be_changed(ragged):
    for array in (ragged.values, ragged.offsets, ragged[0], ragged.to_list()[3]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(AttributeError):
        ragged.values = np.zeros((9, 2))
    with pytest.raises(AttributeError):
        ragged.other = 1


def test_offsets_are_copied():
    offsets = np.array([0, 1, 2])
    ragged = Ragged(np.zeros((2, 1)), offsets)
    offsets[1] = 2
    assert ragged.offsets.tolist() == [0, 1, 2]
    assert offsets.flags.writeable


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", ">f8"])
def test_any_float_is_kept(dtype):
    ragged = Ragged(np.arange(4, dtype=dtype).reshape(2, 2), [0, 2])
    assert ragged.values.dtype == np.dtype(dtype).newbyteorder("=")
    assert ragged.values.tolist() == [[0, 1], [2, 3]]


def test_any_layout_is_accepted():
    whole = np.arange(24.0).reshape(4, 6)
    for view in (whole[:, ::2], whole[::-1], np.asfortranarray(whole), whole.T):
        ragged = Ragged(view, [0, len(view)])
        assert np.array_equal(ragged.values, view)
        assert ragged.values.flags.c_contiguous


def test_padded_and_back(ragged, sequences):
    padded, lengths = ragged.to_padded()
    assert padded.shape == (5, 5, 2)
    assert padded.dtype == np.float32
    assert lengths.tolist() == LENGTHS
    for row, sequence in zip(padded, sequences, strict=True):
        assert np.array_equal(row[: len(sequence)], sequence)
        assert not row[len(sequence) :].any()
    assert_same(Ragged.from_padded(padded, lengths).to_list(), sequences)
    longer, _ = ragged.to_padded(8)
    assert np.array_equal(longer[:, :5], padded)
    assert not longer[:, 5:].any()


def test_padding_is_dropped_even_if_it_is_nan():
    x = np.full((2, 3, 1), np.nan)
    x[0, :2] = 1
    assert np.array_equal(Ragged.from_padded(x, [2, 0]).values, [[1], [1]])


@pytest.mark.parametrize(
    "indices", [[3, 0, 3, 1], [], [-1, -2, 0], np.array([4, 3, 2, 1, 0], np.int8), range(5), np.array([2], np.uint64)]
)
def test_take(ragged, sequences, indices):
    taken = ragged.take(indices)
    assert_same(taken.to_list(), [sequences[i] for i in indices])
    assert taken.values.shape[1] == 2
    assert not np.shares_memory(taken.values, ragged.values)


def test_no_sequences():
    empty = Ragged.from_list([], num_features=3)
    assert len(empty) == 0
    assert list(empty) == []
    assert empty.values.shape == (0, 3)
    assert empty.take([]).values.shape == (0, 3)
    padded, lengths = empty.to_padded()
    assert padded.shape == (0, 0, 3)
    assert lengths.shape == (0,)
    assert Ragged.from_padded(padded, lengths).offsets.tolist() == [0]
    assert Ragged.from_list([np.zeros((0, 3)), np.zeros((0, 3))]).lengths.tolist() == [0, 0]


def test_lists_and_dtypes_of_a_list():
    assert Ragged.from_list([[[1, 2]], [[3, 4], [5, 6]]]).values.dtype == np.float64
    mixed = [np.ones((1, 2), np.float32), np.ones((2, 2), np.float64)]
    assert Ragged.from_list(mixed).values.dtype == np.float64
    assert Ragged.from_list([[[1, 2]]], dtype="float32").values.dtype == np.float32
    assert Ragged.from_list(iter(mixed)).lengths.tolist() == [1, 2]


def test_numpy_does_not_stack_it(ragged):
    with pytest.raises(TypeError, match="to_padded"):
        np.asarray(ragged)


@pytest.mark.parametrize("copied", [lambda ragged: pickle.loads(pickle.dumps(ragged)), copy.deepcopy])
def test_copies_are_complete_and_still_read_only(ragged, sequences, copied):
    twin = copied(ragged)
    assert_same(twin.to_list(), sequences)
    assert not twin.values.flags.writeable
    assert not twin.offsets.flags.writeable


def test_identity_decides_equality(ragged):
    twin = Ragged(ragged.values, ragged.offsets)
    assert ragged != twin
    assert [ragged, twin].index(twin) == 1


def test_repr(ragged):
    assert repr(ragged) == "Ragged(5 sequences, 9 steps, 2 features, float32)"


@pytest.mark.parametrize("i", [5, -6])
def test_position_out_of_range(ragged, i):
    with pytest.raises(IndexError, match=str(i)):
        ragged[i]
    with pytest.raises(IndexError, match=rf"indices: .*\b5\b.*{i}"):
        ragged.take([0, i])
