"""Arrays of every accepted layout and type: the same bits, and unchanged inputs."""

import numpy as np
import pytest

import rgru
from rgru import Ragged

N, T, I, H = 2, 5, 3, 4  # noqa: E741
X = np.random.default_rng(0).standard_normal((N, T, I)).astype(np.float32)
H0 = np.random.default_rng(1).uniform(-1, 1, (2, N, H)).astype(np.float32)


def gru(**more):
    return rgru.GRU(I, H, 2, seed=0, **more)


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    moved = raw[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    assert not moved.flags.aligned
    return moved


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


class Protocol:
    """An object that converts to an array by NumPy 2's form of the protocol."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "broadcast": lambda a: np.broadcast_to(a, a.shape),
    "subclass": lambda a: a.view(np.recarray),
    "protocol": Protocol,
    "lists": lambda a: a.tolist(),
    "list of arrays": list,
}


def assert_taken(call, *arrays):
    """Check that `call` returns the same bits for every layout of its arrays, and changes none of them."""
    expected = call(*arrays)
    for name, layout in LAYOUTS.items():
        given = [layout(array) for array in arrays]
        before = [np.array(one) for one in map(np.asarray, given)]
        found = call(*given)
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one, other), name
        for one, other in zip(map(np.asarray, given), before, strict=True):
            assert np.array_equal(one, other), name


def test_every_layout_yields_the_same_call():
    lengths = np.array([5, 2])
    assert_taken(gru(), X, H0)
    assert_taken(lambda x, h0: gru()(x, h0, lengths=lengths), X, H0)
    assert_taken(gru(dtype="float64"), X.astype("float64"), H0.astype("float64"))


def test_every_layout_yields_the_same_gradients():
    def gradients(x, h0, dy, dh_n):
        found = gru().record(x, h0)[2].backward(dy, dh_n)
        return found.x, found.h0, found.flat

    assert_taken(gradients, X, H0, np.ones((N, T, H), np.float32), np.ones((2, N, H), np.float32))


def test_every_layout_yields_the_same_stream():
    def steps(x, h0):
        stream = gru().stream(N, h0)
        first = stream.step(x)
        stream.h = h0
        return first, stream.step(x)

    assert_taken(steps, X[:, 0], H0)


def test_every_layout_yields_the_same_ragged():
    values = X.reshape(-1, I).astype("float64")  # plain lists become float64
    offsets = np.array([0, 4, 10])
    assert_taken(lambda v: [Ragged(v, offsets).values], values)
    assert_taken(lambda x: [Ragged.from_padded(x, [4, 0]).values], X.astype("float64"))
    assert_taken(lambda v: [Ragged.from_list([v, v]).values], values)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64, ">i4"])
@pytest.mark.parametrize("layout", [np.asarray, read_only, lambda a: np.repeat(a, 2)[::2], list])
def test_lengths_of_any_integers(dtype, layout):
    lengths = layout(np.array([5, 2], dtype))
    expected, _ = gru()(X, lengths=[5, 2])
    assert np.array_equal(gru()(X, lengths=lengths)[0], expected)
    assert np.array_equal(gru()(X, lengths=(5, 2))[0], expected)
    assert np.array_equal(lengths, [5, 2])


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "int16", "uint16"])
def test_narrower_numbers_are_converted_exactly(dtype):
    narrow = (X * 8).astype(np.int8).astype(dtype)
    assert np.array_equal(gru()(narrow)[0], gru()(narrow.astype("float32"))[0])
    single = gru(dtype="float64")
    assert np.array_equal(single(X)[0], single(X.astype("float64"))[0])


def test_contiguous_arrays_are_not_copied():
    assert rgru._validation.arrays.as_real("x", X, X.dtype, 3) is X
    lengths = np.array([5, 2])
    assert rgru._validation.arrays.as_index("lengths", lengths) is lengths


def test_run_leaves_ragged_alone():
    values, offsets = X.reshape(-1, I).copy(), np.array([0, 4, 10])
    ragged = Ragged(values, offsets)
    y, _, tape = gru().record(ragged)
    tape.backward(y)
    assert np.array_equal(values, X.reshape(-1, I))
    assert offsets.tolist() == [0, 4, 10]
