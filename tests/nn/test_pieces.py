"""Resets within rows, and masks with holes: the bits of runs over the pieces one by one, and their gradients."""

from itertools import pairwise

import numpy as np
import pytest

import rgru

STACKS = [
    {},
    {"reset_after": True, "num_layers": 2},
    {"bidirectional": True, "num_layers": 2},
    {"reverse": True, "learned_h0": True},
    {"bidirectional": True, "learned_h0": True, "reset_after": True},
]
N, T, F, H = 4, 7, 3, 5


def made(dtype="float64", **options):
    gru = rgru.GRU(F, H, dtype=dtype, seed=0, **options)
    rng = np.random.default_rng(1)
    for name in gru.params:
        if name.endswith("h0"):
            gru.params[name] = rng.standard_normal(H).astype(dtype)
    return gru


def batch(dtype="float64"):
    rng = np.random.default_rng(2)
    x, resets, mask = rng.standard_normal((N, T, F)).astype(dtype), rng.random((N, T)) < 0.3, rng.random((N, T)) < 0.6
    resets[1], mask[1] = True, False  # every step begins anew, and none is read
    return x, resets, mask


@pytest.mark.parametrize("options", STACKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resets_have_the_bits_of_a_loop_over_pieces(dtype, options):
    gru, (x, resets, _) = made(dtype, **options), batch(dtype)
    h0 = np.random.default_rng(3).standard_normal((gru.num_layers * (1 + gru.bidirectional), N, H)).astype(dtype)
    reverse = np.array([gru.reverse or (gru.bidirectional and cell % 2 == 1) for cell in range(len(h0))])
    initial = [gru.params[name] for name in gru.params if name.endswith("h0")] or [np.zeros(H)] * len(h0)
    for given in (None, h0):
        y, h_n = gru(x, given, resets=resets)
        np.testing.assert_array_equal(gru.final_states(x, given, resets=resets), h_n)
        for n in range(N):
            pieces = list(pairwise([0, *np.flatnonzero(resets[n]), T]))
            states = []
            for k, (first, last) in enumerate(pieces):
                start = np.array(initial, dtype)[:, None]
                if given is not None:  # each direction begins at its own end
                    begins = np.where(reverse, k == len(pieces) - 1, k == 0)
                    start[begins] = given[begins, n : n + 1]
                own, state = gru(x[n : n + 1, first:last], start)
                np.testing.assert_array_equal(own[0], y[n, first:last])
                states.append(state[:, 0])
            # A direction that ends at the first step does not pass the reset before it.
            expected = np.where(reverse[:, None], states[int(resets[n, 0])], states[-1])
            np.testing.assert_array_equal(h_n[:, n], expected)


@pytest.mark.parametrize("options", STACKS)
def test_masked_steps_are_passed_over(options):
    gru, (x, _, mask) = made(**options), batch()
    x[~mask] = np.nan  # never read
    y, h_n = gru(x, mask=mask)
    repeated, _ = gru(x, mask=mask, masked="repeat")
    for n in range(N):
        own, state = gru(x[n : n + 1, mask[n]])
        np.testing.assert_array_equal(own[0], y[n, mask[n]])
        np.testing.assert_array_equal(state[:, 0], h_n[:, n])
        assert not y[n, ~mask[n]].any()
        directions = (1,) if gru.reverse else (0, 1) if gru.bidirectional else (0,)
        for place, reverse in enumerate(directions):
            columns = slice(place * H, (place + 1) * H)
            learned = (
                gru.params[f"layers.{gru.num_layers - 1}.{'rev' if reverse else 'fwd'}.h0"] if gru.learned_h0 else 0
            )
            expected = np.zeros(H) + learned
            for t in range(T)[:: -1 if reverse else 1]:
                expected = y[n, t, columns] if mask[n, t] else expected
                np.testing.assert_array_equal(repeated[n, t, columns], expected)


def test_a_mask_of_first_steps_is_a_length():
    gru, (x, _, _) = made(bidirectional=True), batch()
    lengths = np.array([7, 3, 0, 5])
    for got, expected in zip(gru(x, mask=np.arange(T) < lengths[:, None]), gru(x, lengths=lengths), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_ragged_batches_are_reset_and_masked_too():
    gru, (x, resets, mask) = made(bidirectional=True), batch()
    lengths = np.array([7, 3, 0, 5])
    valid = np.arange(T) < lengths[:, None]
    y, h_n = gru(x, lengths=lengths, resets=resets, mask=mask)
    ragged, states = gru(rgru.Ragged.from_padded(x, lengths), resets=resets[valid], mask=mask[valid])
    np.testing.assert_array_equal(ragged.values, y[valid])
    np.testing.assert_array_equal(states, h_n)


def test_a_reset_at_a_masked_step_counts():
    gru, (x, _, _) = made(learned_h0=True), batch()
    resets, mask = np.zeros((N, T), bool), np.ones((N, T), bool)
    resets[:, 3], mask[:, 3] = True, False
    y, _ = gru(x, resets=resets, mask=mask)
    np.testing.assert_array_equal(y[:, 4:], gru(x[:, 4:])[0])
    resets[:, -1], mask[:, -1] = True, False  # the last state is the initial one
    _, h_n = gru(x, resets=resets, mask=mask)
    np.testing.assert_array_equal(h_n[0], np.tile(gru.params["layers.0.fwd.h0"], (N, 1)))


@pytest.mark.parametrize("masked", ["zero", "repeat"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("options", STACKS)
def test_gradients_are_those_of_differences(options, given, masked):
    gru, (x, resets, mask) = made(**options), batch()
    rng = np.random.default_rng(4)
    cells = gru.num_layers * (1 + gru.bidirectional)
    h0 = rng.standard_normal((cells, N, H)) if given else None
    where = {"resets": resets, "mask": mask, "lengths": np.array([7, 5, 0, 6]), "masked": masked}
    y, h_n, tape = gru.record(x, h0, **where)
    dy, dh_n = rng.standard_normal(y.shape), rng.standard_normal(h_n.shape)
    gradients = tape.backward(dy, dh_n)

    def loss():
        y, h_n = gru(x, h0, **where)
        return (y * dy).sum() + (h_n * dh_n).sum()

    def difference(array, i, assign=lambda: None):
        losses, before = [], array.flat[i]
        for step in (1e-5, -1e-5):
            array.flat[i] = before + step
            assign()
            losses.append(loss())
        array.flat[i] = before
        assign()
        return (losses[0] - losses[1]) / 2e-5

    for i in rng.integers(0, x.size, 10):
        assert gradients.x.flat[i] == pytest.approx(difference(x, i), abs=1e-7)
    for i in range(h0.size if given else 0):
        assert gradients.h0.flat[i] == pytest.approx(difference(h0, i), abs=1e-7)
    for name in gru.params:
        array = gru.params[name].copy()
        for i in (0, array.size - 1):
            expected = difference(array, i, lambda name=name, array=array: gru.params.update({name: array}))
            assert gradients.params[name].flat[i] == pytest.approx(expected, abs=1e-7), name


def test_checkpoints_and_resets_together():
    gru = made(num_layers=2)
    rng = np.random.default_rng(5)
    x, resets = rng.standard_normal((2, 300, F)), rng.random((2, 300)) < 0.01
    results = []
    for checkpoint in (None, 128):
        y, _, tape = gru.record(x, resets=resets, checkpoint=checkpoint)
        results.append(tape.backward(np.ones_like(y)))
    np.testing.assert_array_equal(results[0].flat, results[1].flat)
    np.testing.assert_array_equal(results[0].x, results[1].x)


def test_empty_batches():
    gru = made(bidirectional=True)
    for n, t in ((0, 4), (3, 0)):
        y, h_n, tape = gru.record(np.zeros((n, t, F)), resets=np.ones((n, t), bool), mask=np.ones((n, t), bool))
        assert (y.shape, h_n.shape) == ((n, t, 2 * H), (2, n, H))
        assert tape.backward(y).x.shape == (n, t, F)


def test_streams_restart_single_rows():
    gru, (x, resets, _) = made(num_layers=2, learned_h0=True), batch()
    y, _ = gru(x, resets=resets)
    stream = gru.stream(N)
    for t in range(T):
        stream.reset(resets[:, t])
        np.testing.assert_array_equal(stream.step(x[:, t]), y[:, t])


def test_bad_input_is_named():
    gru, (x, resets, mask) = made(), batch()
    wrong = (
        ({"resets": resets.astype(int)}, TypeError, r"resets: expected booleans of shape \(N, T\), got int64"),
        ({"resets": resets[:2]}, ValueError, r"resets: expected shape \(N, T\) = \(4, 7\), got \(2, 7\)"),
        ({"mask": mask[0]}, ValueError, r"mask: expected shape \(N, T\) = \(4, 7\), got \(7,\)"),
        ({"mask": mask, "masked": "last"}, ValueError, r"masked: expected one of 'zero', 'repeat', got 'last'"),
        ({"mask": mask, "lengths": [9] * N}, ValueError, r"lengths: expected .*0 to 7"),
        ({"mask": mask, "h0": np.zeros((1, 3, H))}, ValueError, r"h0: expected shape \(1, 4, 5\), got \(1, 3, 5\)"),
    )
    for arguments, error, message in wrong:
        with pytest.raises(error, match=message):
            gru(x, **arguments)
    with pytest.raises(ValueError, match=r"x: expected 3 features \(input_size\), got 2"):
        gru(x[..., :2], mask=mask)
    with pytest.raises(ValueError, match=r"masked: expected 'zero' for a GRU with merge='sum'"):
        made(bidirectional=True, merge="sum")(x, mask=mask, masked="repeat")
    with pytest.raises(ValueError, match=r"rows: expected booleans of shape \(4,\) \(N,\), got bool of shape \(3,\)"):
        gru.stream(N).reset(np.ones(3, bool))


def test_masked_and_ragged_booleans_are_refused():
    gru, (x, resets, mask) = made(), batch()
    for arguments in ({"resets": np.ma.array(resets)}, {"mask": np.ma.array(mask)}):
        with pytest.raises(TypeError, match=r"expected booleans of shape .* got a masked array"):
            gru(x, **arguments)
    with pytest.raises(TypeError, match=r"rows: expected booleans of shape .* got a masked array"):
        gru.stream(N).reset(np.ma.array([True] * N))
    with pytest.raises(TypeError, match=r"resets: expected booleans of shape \(N, T\), got list"):
        gru(x, resets=[[True], [False, True]])


def test_a_reverse_direction_begins_and_ends_at_its_own_ends():
    gru, (x, _, _) = made(bidirectional=True), batch()
    resets, h0 = np.zeros((N, T), bool), np.ones((2, N, H))
    resets[:, 2] = True
    y, h_n = gru(x, h0, resets=resets)
    np.testing.assert_array_equal(h_n[0], y[:, -1, :H])
    np.testing.assert_array_equal(h_n[1], y[:, 0, H:])
    plain, _ = gru(x, h0)
    np.testing.assert_array_equal(y[:, 2:, H:], plain[:, 2:, H:])  # from the end down to the reset
    np.testing.assert_array_equal(y[:, :2, :H], plain[:, :2, :H])
