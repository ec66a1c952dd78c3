"""Traces: the gates of every step fulfil the equations, and the states are the outputs."""

import numpy as np
import pytest

import rgru

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 6, 4))
LENGTHS = np.array([6, 0, 4])


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def check_cell(gru, layer, name, trace, x):
    """Compute gates and states of one cell from its inputs x (N, T, F) and its own states."""
    cell = getattr(gru.layers[layer], name)
    order = range(x.shape[1]) if name == "fwd" else reversed(range(x.shape[1]))
    before = np.zeros((len(x), gru.hidden_size))
    for t in order:
        running = t < LENGTHS
        r = sigmoid(x[:, t] @ cell.W_xr.T + before @ cell.U_hr.T + cell.b_r)
        z = sigmoid(x[:, t] @ cell.W_xz.T + before @ cell.U_hz.T + cell.b_z)
        after = gru.reset_after
        product = r * (before @ cell.U_hh.T + cell.b_hh) if after else (r * before) @ cell.U_hh.T
        candidate = np.tanh(x[:, t] @ cell.W_xh.T + cell.b_h + product)
        h = before + z * (candidate - before)
        for got, expected in ((trace.r, r), (trace.z, z), (trace.candidate, candidate), (trace.h, h)):
            np.testing.assert_allclose(got[running, t], expected[running], rtol=0, atol=1e-13)
            assert not got[~running, t].any()
        before = np.where(running[:, None], h, before)


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "product"])
@pytest.mark.parametrize("reset_after", [False, True])
def test_all_values_follow_from_the_equations(reset_after, merge):
    gru = rgru.GRU(4, 5, 2, bidirectional=True, reset_after=reset_after, merge=merge, dtype="float64", seed=1)
    trace = gru.trace(X, lengths=LENGTHS)
    below = X
    for k, layer in enumerate(trace.layers):
        check_cell(gru, k, "fwd", layer.fwd, below)
        check_cell(gru, k, "rev", layer.rev, below)
        below = layer.y
    y, h_n = gru(X, lengths=LENGTHS)
    np.testing.assert_array_equal(trace.layers[-1].y, y)
    np.testing.assert_array_equal(trace.h_n, h_n)


def test_all_layers():
    gru = rgru.GRU(4, 5, 3, dtype="float64", seed=1)
    outputs, h_n = gru(X, lengths=LENGTHS, all_layers=True)
    y, expected = gru(X, lengths=LENGTHS)
    assert len(outputs) == 3
    np.testing.assert_array_equal(outputs[-1], y)
    np.testing.assert_array_equal(h_n, expected)
    for k in range(3):
        np.testing.assert_array_equal(outputs[k][0, -1], h_n[k, 0])


def test_ragged_traces_and_directions_that_are_missing():
    gru = rgru.GRU(4, 5, reverse=True, seed=1)
    x = rgru.Ragged.from_padded(X.astype(np.float32), LENGTHS)
    trace = gru.trace(x)
    assert trace.layers[0].fwd is None
    assert trace.layers[0].rev.z.offsets is x.offsets
    np.testing.assert_array_equal(trace.layers[0].y.values, gru(x)[0].values)
    assert rgru.GRU(4, 5).trace(x).layers[0].rev is None


def test_masked_steps_are_zero_in_traces():
    gru, mask = rgru.GRU(4, 5, dtype="float64", seed=1), rng.random((3, 6)) < 0.5
    trace = gru.trace(X, mask=mask)
    assert (trace.layers[0].fwd.z[mask] > 0).all()
    assert not trace.layers[0].fwd.z[~mask].any()
    np.testing.assert_array_equal(trace.layers[0].y, gru(X, mask=mask)[0])


def test_bad_input_is_named():
    gru = rgru.GRU(4, 5, dtype="float64")
    with pytest.raises(ValueError, match=r"masked: expected 'zero' with all_layers=True, got 'repeat'"):
        gru(X, mask=np.ones((3, 6), bool), masked="repeat", all_layers=True)
    with pytest.raises(TypeError, match=r"all_layers: expected True or False, got 1"):
        gru(X, all_layers=1)


@pytest.mark.parametrize("merge", ["concat", "sum", "product"])
def test_batches_without_steps(merge):
    gru = rgru.GRU(4, 5, 2, bidirectional=True, merge=merge, dtype="float64")
    for shape, lengths in (((2, 0, 4), None), ((0, 3, 4), None), ((2, 3, 4), [0, 0])):
        trace = gru.trace(np.zeros(shape), lengths=lengths)
        assert trace.layers[-1].y.shape == gru(np.zeros(shape), lengths=lengths)[0].shape
        assert trace.layers[0].rev.z.shape == (*shape[:2], 5)


def test_a_trace_tells_what_it_holds():
    trace = rgru.GRU(4, 5, dtype="float64").trace(X)
    cell = "CellTrace(r, z, candidate, h of shape (3, 6, 5))"
    assert repr(trace) == f"Trace(layers=(LayerTrace(fwd={cell}, rev=None),))"
