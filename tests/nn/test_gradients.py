"""Gradients: agreement with central differences, shapes, and the tape."""

import numpy as np
import pytest

import rgru
from layer_cases import CELLS, normal, with_biases


@pytest.mark.parametrize("reset_after", CELLS)
@pytest.mark.parametrize("batch", ["padded", "lengths", "ragged"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_agree_with_central_differences(reset_after, batch, dropout):
    def run(x, h0, flat):
        """Make a GRU for each run, so that each draws the same dropout masks."""
        gru = rgru.GRU(3, 4, 2, bidirectional=True, reset_after=reset_after, dropout=dropout, dtype="float64", seed=7)
        gru._flat[:] = flat
        gru._changed()
        lengths = {"lengths": [5, 2]} if batch == "lengths" else {}
        y, h_n, tape = gru.record(rgru.Ragged(x, [0, 5, 5, 7]) if batch == "ragged" else x, h0, **lengths)
        return (y.values if batch == "ragged" else y), h_n, tape, gru

    x = normal(7, 3, dtype="float64") if batch == "ragged" else normal(2, 5, 3, dtype="float64")
    h0 = normal(4, 3 if batch == "ragged" else 2, 4, dtype="float64", seed=1)
    flat = 0.4 * normal(rgru.GRU(3, 4, 2, bidirectional=True, reset_after=reset_after).num_params, dtype="float64")
    y, h_n, tape, gru = run(x, h0, flat)
    dy, dh_n = normal(*y.shape, dtype="float64", seed=2), normal(*h_n.shape, dtype="float64", seed=3)
    gradients = tape.backward(dy, dh_n)

    def loss(*arrays):
        y, h_n, _, _ = run(*arrays)
        return (y * dy).sum() + (h_n * dh_n).sum()

    found = [gradients.x.values if batch == "ragged" else gradients.x, gradients.h0, gradients.flat]
    rng = np.random.default_rng(4)
    for i, (array, gradient) in enumerate(zip((x, h0, flat), found, strict=True)):
        assert gradient.shape == array.shape
        for place in rng.choice(array.size, min(array.size, 25), replace=False):
            ends = []
            for nudge in (1e-5, -1e-5):
                arrays = [x, h0, flat]
                arrays[i] = array.copy()
                arrays[i].flat[place] += nudge
                ends.append(loss(*arrays))
            difference = (ends[0] - ends[1]) / 2e-5
            assert abs(gradient.flat[place] - difference) <= 1e-7 * max(1, abs(difference))
    assert list(gradients.params) == list(gru.params)
    for name, gradient in gradients.params.items():
        assert gradient.shape == gru.params[name].shape
        assert np.shares_memory(gradient, gradients.flat)


def test_gradients_add_up_and_either_may_be_omitted():
    gru = rgru.GRU(3, 4, dtype="float64", seed=0)
    y, h_n, tape = gru.record(normal(2, 5, 3, dtype="float64"))
    dy, dh_n = np.ones_like(y), np.ones_like(h_n)
    both, first, second = tape.backward(dy, dh_n), tape.backward(dy), tape.backward(dh_n=dh_n)
    np.testing.assert_allclose(both.flat, first.flat + second.flat, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(both.x, first.x + second.x, rtol=1e-12, atol=1e-12)
    assert first.flat.any()
    assert second.flat.any()
    with pytest.raises(ValueError, match=r"dy, dh_n: .*None"):
        tape.backward()


def test_gradient_of_ragged_is_ragged_and_accepts_plain_steps():
    gru = rgru.GRU(3, 4, seed=0)
    x = rgru.Ragged(normal(7, 3), [0, 2, 2, 7])
    y, _, tape = gru.record(x)
    gradients = tape.backward(rgru.Ragged(np.ones_like(y.values), x.offsets))
    assert isinstance(gradients.x, rgru.Ragged)
    assert np.array_equal(gradients.x.offsets, x.offsets)
    assert np.array_equal(gradients.x.values, tape.backward(np.ones_like(y.values)).x.values)


def test_tape_belongs_to_the_parameters_of_its_run():
    gru = rgru.GRU(3, 4, dtype="float64", seed=0)
    y, _, tape = gru.record(normal(2, 5, 3, dtype="float64"))
    before = tape.backward(np.ones_like(y)).flat
    gru.layers[0].fwd.W = np.zeros((12, 3))
    assert np.array_equal(tape.backward(np.ones_like(y)).flat, before)


def test_record_returns_the_outputs_of_a_call_read_only():
    gru = with_biases(rgru.GRU(3, 4, 2, seed=0))
    x = normal(2, 5, 3)
    y, h_n, _ = gru.record(x)
    assert np.array_equal(y, gru(x)[0])
    assert np.array_equal(h_n, gru(x)[1])
    assert not y.flags.writeable
    assert gru(x)[0].flags.writeable
