"""The layer: shapes, equations, lengths, dropout, seeds, copies, threads."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import rgru
from layer_cases import CELLS, normal, with_biases


def sigma(a):
    return 1 / (1 + np.exp(-a))


def equations(gru, x, h0, lengths):
    """Run the documented equations literally over each sequence: y (N, T, D*H), h_n (L*D, N, H)."""
    y, states = x, []
    for k, layer in enumerate(gru.layers):
        cells = [layer.fwd, layer.rev] if gru.bidirectional else [layer.fwd]
        sides = []
        for d, cell in enumerate(cells):
            side = np.zeros((*x.shape[:2], gru.hidden_size), x.dtype)
            ends = []
            for n, length in enumerate(lengths):
                h = h0[k * len(cells) + d, n]
                for t in range(length) if d == 0 else reversed(range(length)):
                    h = side[n, t] = step(cell, y[n, t], h, gru.reset_after)
                ends.append(h)
            sides.append(side)
            states.append(ends)
        y = np.concatenate(sides, axis=2)
    return y, np.array(states)


def step(cell, x, h, reset_after):
    r = sigma(cell.W_xr @ x + cell.U_hr @ h + cell.b_r)
    z = sigma(cell.W_xz @ x + cell.U_hz @ h + cell.b_z)
    if reset_after:
        candidate = np.tanh(cell.W_xh @ x + cell.b_h + r * (cell.U_hh @ h + cell.b_hh))
    else:
        candidate = np.tanh(cell.W_xh @ x + cell.U_hh @ (r * h) + cell.b_h)
    return (1 - z) * h + z * candidate


@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"num_layers": 2, "bidirectional": True}], ids=str)
def test_final_states_are_those_of_a_call(reset_after, options):
    gru = with_biases(rgru.GRU(3, 5, reset_after=reset_after, seed=0, **options))
    x, lengths = normal(4, 6, 3), [6, 0, 1, 4]
    h0 = normal(gru.num_layers * (2 if gru.bidirectional else 1), 4, 5)
    for inputs in [(x,), (x, h0)]:
        assert (gru.final_states(*inputs, lengths=lengths) == gru(*inputs, lengths=lengths)[1]).all()
    ragged = rgru.Ragged.from_list([one[:length] for one, length in zip(x, lengths, strict=True)])
    assert (gru.final_states(ragged) == gru(x, lengths=lengths)[1]).all()


@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_output_follows_the_documented_equations(reset_after, bidirectional, num_layers):
    gru = rgru.GRU(4, 5, num_layers, bidirectional=bidirectional, reset_after=reset_after, dtype="float64", seed=1)
    with_biases(gru)
    x, lengths = normal(3, 6, 4, dtype="float64"), [4, 6, 0]
    h0 = normal(num_layers * (2 if bidirectional else 1), 3, 5, dtype="float64", seed=2)
    y, h_n = gru(x, h0, lengths=lengths)
    expected_y, expected_h_n = equations(gru, x, h0, lengths)
    np.testing.assert_allclose(y, expected_y, rtol=0, atol=1e-13)
    np.testing.assert_allclose(h_n, expected_h_n, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_shapes_and_dtypes(dtype, bidirectional):
    directions = 2 if bidirectional else 1
    gru = rgru.GRU(3, 7, 2, bidirectional=bidirectional, dtype=dtype, seed=0)
    y, h_n = gru(normal(4, 5, 3, dtype=dtype))
    assert y.shape == (4, 5, directions * 7)
    assert h_n.shape == (2 * directions, 4, 7)
    assert y.dtype == h_n.dtype == gru.dtype == np.dtype(dtype)


def test_no_h0_is_a_zero_h0():
    gru = with_biases(rgru.GRU(3, 4, reset_after=True, seed=0))
    x = normal(2, 5, 3)
    for given, default in zip(gru(x, np.zeros((1, 2, 4), np.float32)), gru(x), strict=True):
        assert np.array_equal(given, default)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_never_read_and_outputs_there_are_zero(bidirectional):
    gru = with_biases(rgru.GRU(3, 4, 2, bidirectional=bidirectional, seed=0))
    x, lengths = normal(3, 6, 3), np.array([2, 0, 6])
    spoiled = x.copy()
    spoiled[np.arange(6) >= lengths[:, None]] = np.nan
    y, h_n = gru(spoiled, lengths=lengths)
    clean_y, clean_h_n = gru(x, lengths=lengths)
    assert np.array_equal(y, clean_y)
    assert np.array_equal(h_n, clean_h_n)
    assert not y[np.arange(6) >= lengths[:, None]].any()


def test_h_n_is_the_state_after_the_last_valid_step():
    gru = with_biases(rgru.GRU(3, 4, seed=0))
    h0 = normal(1, 3, 4, seed=3)
    y, h_n = gru(normal(3, 6, 3), h0, lengths=[2, 0, 6])
    assert np.array_equal(h_n[0], np.stack([y[0, 1], h0[0, 1], y[2, 5]]))


def test_reverse_starts_at_each_sequences_own_end():
    both = with_biases(rgru.GRU(3, 4, bidirectional=True, seed=0))
    single = rgru.GRU(3, 4, seed=1)
    single.params.update({name: both.params[name.replace("fwd", "rev")] for name in single.params})
    x = normal(1, 6, 3)
    y, h_n = both(x, lengths=[4])
    backward_y, backward_h_n = single(np.ascontiguousarray(x[:, 3::-1]))
    assert np.array_equal(y[:, :4, 4:], backward_y[:, ::-1])
    assert np.array_equal(h_n[1:], backward_h_n)


def test_h_n_is_layer_major_forward_before_reverse():
    gru = with_biases(rgru.GRU(3, 4, 2, bidirectional=True, seed=0))
    y, h_n = gru(normal(2, 5, 3))
    assert np.array_equal(h_n[2], y[:, -1, :4])  # last layer, forward
    assert np.array_equal(h_n[3], y[:, 0, 4:])  # last layer, reverse


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (0, 0, 3)])
@pytest.mark.parametrize("ragged", [False, True])
def test_empty_inputs_yield_empty_outputs_and_keep_h0(shape, ragged):
    gru = with_biases(rgru.GRU(3, 4, 2, bidirectional=True, seed=0))
    x, h0 = np.zeros(shape, np.float32), normal(4, shape[0], 4)
    batch = rgru.Ragged.from_padded(x, np.full(shape[0], shape[1])) if ragged else x
    y, h_n, tape = gru.record(batch, h0)
    assert (y.values.shape if ragged else y.shape) == ((0, 8) if ragged else (*shape[:2], 8))
    assert np.array_equal(h_n, h0)
    gradients = tape.backward(dh_n=np.ones_like(h0))
    assert np.array_equal(gradients.h0, np.ones_like(h0))
    assert not gradients.flat.any()


# -- dropout and seeds -------------------------------------------------------------------------------------------------


def test_dropout_acts_in_record_only_between_layers():
    gru = rgru.GRU(3, 8, 2, dropout=0.5, seed=0)
    x = normal(2, 5, 3)
    plain = rgru.GRU(3, 8, 2, seed=0)
    assert np.array_equal(gru(x)[0], plain(x)[0])
    dropped, h_n, _ = gru.record(x)
    assert not np.array_equal(dropped, plain(x)[0])
    assert np.array_equal(h_n[0], plain(x)[1][0])  # the first layer's own states are not dropped
    assert dropped.all()  # nothing is dropped after the last layer


def test_same_seed_same_masks_in_the_same_sequence():
    x = normal(2, 5, 3)
    runs = [[gru.record(x)[0] for _ in range(3)] for gru in (rgru.GRU(3, 8, 2, dropout=0.5, seed=3) for _ in range(2))]
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(runs[0][0], runs[0][1])
    assert not np.array_equal(runs[0][1], runs[0][2])


def test_seed_determines_the_initial_parameters():
    assert np.array_equal(rgru.GRU(3, 4, seed=1).params.flat, rgru.GRU(3, 4, seed=1).params.flat)
    assert not np.array_equal(rgru.GRU(3, 4, seed=1).params.flat, rgru.GRU(3, 4, seed=2).params.flat)
    assert not np.array_equal(rgru.GRU(3, 4).params.flat, rgru.GRU(3, 4).params.flat)


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.int64(5), np.uint64(2**64 - 1)])
def test_every_seed_of_64_bits_works(seed):
    gru = rgru.GRU(3, 4, 2, dropout=0.5, seed=seed)
    assert np.isfinite(gru.record(normal(2, 5, 3))[0]).all()


# -- attributes and copies ---------------------------------------------------------------------------------------------


def test_attributes_and_repr():
    gru = rgru.GRU(12, 64, num_layers=2, bidirectional=True, dropout=0.25, dtype=np.float64, seed=0)
    assert (gru.input_size, gru.hidden_size, gru.num_layers) == (12, 64, 2)
    assert gru.bidirectional is True
    assert gru.reset_after is False
    assert gru.bias is True
    assert gru.dropout == 0.25
    assert repr(gru) == "GRU(12, 64, num_layers=2, bidirectional=True, dropout=0.25, dtype='float64')"
    assert repr(rgru.GRU(12, 64)) == "GRU(12, 64)"
    assert repr(rgru.GRU(1, 2, bias=False, reset_after=True)) == "GRU(1, 2, reset_after=True, bias=False)"
    with pytest.raises(AttributeError):
        gru.hidden_size = 3


@pytest.mark.parametrize("spelling", ["float64", "d", float, np.float64, np.dtype(">f8"), "double"])
def test_dtype_in_any_spelling(spelling):
    gru = rgru.GRU(3, 4, dtype=spelling)
    assert gru.dtype == np.dtype("float64")
    assert gru.dtype.isnative


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reset_after", CELLS)
def test_num_params(bias, reset_after):
    gru = rgru.GRU(3, 4, 2, bidirectional=True, reset_after=reset_after, bias=bias)
    biases = (12 + 4 * reset_after) * bias
    assert gru.num_params == 2 * (12 * 3 + 12 * 4 + biases) + 2 * (12 * 8 + 12 * 4 + biases)
    assert gru(normal(2, 5, 3))[0].shape == (2, 5, 8)


@pytest.mark.parametrize("copied", [lambda gru: pickle.loads(pickle.dumps(gru)), copy.deepcopy, copy.copy])
def test_copies_are_complete_and_independent(copied):
    gru = with_biases(rgru.GRU(3, 4, 2, bidirectional=True, reset_after=True, dropout=0.5, seed=0))
    x = normal(2, 5, 3)
    gru.record(x)
    twin = copied(gru)
    before, parameters = gru(x)[0], gru.params.flat.copy()
    assert repr(twin) == repr(gru)
    assert np.array_equal(twin(x)[0], before)
    assert np.array_equal(twin.record(x)[0], gru.record(x)[0])  # the masks continue from the same place
    twin.layers[0].fwd.b = np.ones(12, np.float32)
    assert np.array_equal(gru(x)[0], before)
    assert np.array_equal(gru.params.flat, parameters)
    assert not np.array_equal(twin(x)[0], before)


def test_pickle_does_not_contain_packed_weights():
    gru = rgru.GRU(8, 64, seed=0)
    small = len(pickle.dumps(gru))
    gru.record(normal(1, 2, 8))
    assert len(pickle.dumps(gru)) == small < 4 * gru.num_params + 2000


def test_calls_on_several_threads_agree():
    gru = with_biases(rgru.GRU(5, 16, 2, bidirectional=True, seed=0))
    batches = [normal(4, 20, 5, seed=seed) for seed in range(16)]
    expected = [gru(x)[0] for x in batches]
    gru._changed()  # so that the threads race to pack the weights, too
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: gru(x)[0], batches))
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


def test_change_while_weights_are_packed_is_not_lost(monkeypatch):
    gru = rgru.GRU(3, 4, seed=0)
    x = normal(1, 5, 3)
    real = rgru.nn._held_parameters._core.Weights

    def overtaken(flat, sizes, **options):
        packed = real(flat, sizes, **options)
        if gru.params.flat.any():
            gru.params.update({name: np.zeros_like(array) for name, array in gru.params.items()})  # by another thread
        return packed

    monkeypatch.setattr(rgru.nn._held_parameters._core, "Weights", overtaken)
    assert gru(x)[0].any()
    assert not gru(x)[0].any()


def test_threads_and_info():
    before = rgru.info()["num_threads"]
    try:
        rgru.set_num_threads(3)
        assert rgru.info()["num_threads"] == 3
    finally:
        rgru.set_num_threads(None)
    facts = rgru.info()
    assert facts["num_threads"] == before >= 1
    assert facts["isa"] in facts["available_isas"]
    assert facts["version"] == rgru.__version__
