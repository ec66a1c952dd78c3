"""The same bits, always: a sequence's output depends on nothing but the sequence, its first state and the parameters.

Every comparison here is of bits. Sizes: "inline" runs on the caller's thread, "pool" is large enough to be spread over
the thread pool; their sizes are not multiples of a vector, so that the ends of rows are covered.
"""

import numpy as np
import pytest

import rgru

SIZES = {"inline": (5, 7, 3, 6), "pool": (70, 40, 13, 50)}  # N, T, I, H


@pytest.fixture(autouse=True)
def threads_as_before():
    yield
    rgru.set_num_threads(None)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["reset_before", "reset_after"])
def reset_after(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["forward", "bidirectional"])
def bidirectional(request):
    return request.param


class Case:
    """A GRU with biases, and a batch of sequences of different lengths."""

    def __init__(self, size, dtype, reset_after, bidirectional):
        count, steps, features, hidden = SIZES[size]
        rng = np.random.default_rng(1)
        self.gru = rgru.GRU(
            features, hidden, 2, bidirectional=bidirectional, reset_after=reset_after, dtype=dtype, seed=1
        )
        self.gru.params.update(
            {n: rng.normal(0, 0.3, a.shape).astype(dtype) for n, a in self.gru.params.items() if a.ndim == 1}
        )
        self.x = rng.standard_normal((count, steps, features)).astype(dtype)
        self.h0 = rng.uniform(-1, 1, (4 if bidirectional else 2, count, hidden)).astype(dtype)
        self.lengths = rng.integers(0, steps + 1, count)
        self.lengths[:2] = steps, 0


@pytest.fixture(params=list(SIZES))
def case(request, dtype, reset_after, bidirectional):
    return Case(request.param, dtype, reset_after, bidirectional)


def same(found, expected):
    return found.shape == expected.shape and found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


def test_alone_or_in_a_batch(case):
    y, h_n = case.gru(case.x, case.h0)
    for i in range(0, len(case.x), 9):
        alone_y, alone_h_n = case.gru(case.x[i : i + 1], case.h0[:, i : i + 1])
        assert same(alone_y[0], y[i])
        assert same(alone_h_n[:, 0], h_n[:, i])


@pytest.mark.parametrize("count", [2, 3, 5, 17, 64])
def test_other_sequences_and_position_in_the_batch(case, count):
    y, h_n = case.gru(case.x, case.h0)
    chosen = np.random.default_rng(count).permutation(len(case.x))[:count]
    other_y, other_h_n = case.gru(case.x[chosen], case.h0[:, chosen])
    assert same(other_y, y[chosen])
    assert same(other_h_n, h_n[:, chosen])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_number_of_threads(case, threads):
    rgru.set_num_threads(3)
    expected = case.gru(case.x, case.h0, lengths=case.lengths)
    rgru.set_num_threads(threads)
    for found, one in zip(case.gru(case.x, case.h0, lengths=case.lengths), expected, strict=True):
        assert same(found, one)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_gradients_and_number_of_threads(case, threads):
    def gradients(n):
        rgru.set_num_threads(n)
        y, h_n, tape = case.gru.record(case.x, case.h0, lengths=case.lengths)
        found = tape.backward(np.sin(y), np.cos(h_n))
        return y, h_n, found.x, found.h0, found.flat

    for found, expected in zip(gradients(threads), gradients(3), strict=True):
        assert same(found, expected)


def test_run_again(case):
    first = case.gru(case.x, case.h0)
    for found, expected in zip(case.gru(case.x, case.h0), first, strict=True):
        assert same(found, expected)


def test_call_or_forward(case):
    expected = case.gru(case.x, case.h0, lengths=case.lengths)
    y, h_n, _ = case.gru.record(case.x, case.h0, lengths=case.lengths)
    assert same(y, expected[0])
    assert same(h_n, expected[1])


def test_padded_or_ragged(case):
    y, h_n = case.gru(case.x, case.h0, lengths=case.lengths)
    ragged_y, ragged_h_n = case.gru(rgru.Ragged.from_padded(case.x, case.lengths), case.h0)
    assert same(ragged_y.values, rgru.Ragged.from_padded(y, case.lengths).values)
    assert same(ragged_h_n, h_n)


def test_longer_padding(case):
    y, h_n = case.gru(case.x, case.h0, lengths=case.lengths)
    longer = np.concatenate([case.x, np.full_like(case.x[:, :3], np.nan)], axis=1)
    other_y, other_h_n = case.gru(longer, case.h0, lengths=case.lengths)
    assert same(other_y[:, :-3], y)
    assert same(other_h_n, h_n)


@pytest.mark.parametrize("size", list(SIZES))
def test_in_one_or_two_parts(size, dtype, reset_after):
    case = Case(size, dtype, reset_after, bidirectional=False)
    y, h_n = case.gru(case.x, case.h0)
    middle = case.x.shape[1] // 2
    first_y, between = case.gru(np.ascontiguousarray(case.x[:, :middle]), case.h0)
    second_y, last = case.gru(np.ascontiguousarray(case.x[:, middle:]), between)
    assert same(np.concatenate([first_y, second_y], axis=1), y)
    assert same(last, h_n)


@pytest.mark.parametrize("count", [1, 2, 5, 70])
@pytest.mark.parametrize("size", list(SIZES))
def test_in_one_call_or_step_by_step(size, count, dtype, reset_after):
    case = Case(size, dtype, reset_after, bidirectional=False)
    x, h0 = case.x[:count], case.h0[:, :count]
    y, h_n = case.gru(x, h0)
    stream = case.gru.stream(len(x), h0)
    steps = [stream.step(np.ascontiguousarray(x[:, t])) for t in range(x.shape[1])]
    assert same(np.stack(steps, axis=1), y)
    assert same(stream.h, h_n)


@pytest.mark.parametrize("hidden", [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48, 129])
def test_every_remainder_of_a_vector(hidden, dtype, reset_after):
    gru = rgru.GRU(hidden // 2 + 1, hidden, reset_after=reset_after, dtype=dtype, seed=hidden)
    x = np.random.default_rng(hidden).standard_normal((19, 6, hidden // 2 + 1)).astype(dtype)
    y, _ = gru(x)
    for i in (0, 7, 18):
        assert same(gru(x[i : i + 1])[0][0], y[i])
    stream = gru.stream(3)
    assert same(np.stack([stream.step(np.ascontiguousarray(x[4:7, t])) for t in range(6)], axis=1), y[4:7])


@pytest.mark.parametrize("offset", [1, 3])
def test_place_in_memory(dtype, offset):
    gru = rgru.GRU(13, 50, dtype=dtype, seed=0)
    x = np.random.default_rng(0).standard_normal((3, 5, 13)).astype(dtype)
    moved = np.empty(x.size + offset, dtype)[offset:].reshape(x.shape)
    moved[...] = x
    assert same(gru(moved)[0], gru(x)[0])


@pytest.mark.parametrize("num_layers", [2, 3, 4])
@pytest.mark.parametrize("lengths", [[3000], [2500, 0, 2100, 7], [1100] * 3])
def test_a_stack_run_in_parts_has_the_bits_of_a_run_in_one_part(num_layers, lengths, dtype, reset_after):
    """Long enough that inference runs all layers in several parts; `record` runs layer by layer."""
    gru = rgru.GRU(5, 70, num_layers, reset_after=reset_after, dtype=dtype, seed=3)
    random = np.random.default_rng(5)
    rows = rgru.Ragged.from_list([random.standard_normal((n, 5)).astype(dtype) for n in lengths])
    h0 = random.standard_normal((num_layers, len(lengths), 70)).astype(dtype)
    y, h_n = gru(rows, h0)
    whole, whole_h_n, _ = gru.record(rows, h0)
    np.testing.assert_array_equal(y.values, whole.values)
    np.testing.assert_array_equal(h_n, whole_h_n)
