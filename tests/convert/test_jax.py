"""Flax and Equinox themselves, where they are installed: cells in both directions of conversion, and equal outputs."""

import numpy as np
import pytest

import rgru
from rgru.convert import equinox, flax

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.peers

X = np.random.default_rng(0).normal(size=(3, 6, 5))
GRU = rgru.GRU(5, 7, reset_after=True, dtype="float64", seed=0)
for _name, _array in GRU.params.items():
    GRU.params[_name] = np.random.default_rng(1).normal(size=_array.shape) / 2


@pytest.fixture(autouse=True)
def float64():
    """Compute in float64, which JAX does not by default."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - np.asarray(expected)).max() <= 1e-14


def scanned(step, x, hidden):
    """Run a step (x_t, h) -> h over x (N, T, I)."""
    h, found = jax.numpy.zeros((len(x), hidden)), []
    for t in range(x.shape[1]):
        h = step(x[:, t], h)
        found.append(h)
    return np.stack(found, 1)


def drawn(tree):
    """Replace all arrays of a tree by random ones, biases included."""
    random = np.random.default_rng(2)
    return jax.tree.map(lambda array: jax.numpy.asarray(random.normal(size=array.shape) / 2), tree)


def test_flax_linen():
    linen = pytest.importorskip("flax.linen")
    cell = linen.GRUCell(7, param_dtype="float64")
    params = drawn(cell.init(jax.random.key(0), jax.numpy.zeros((3, 7)), X[:, 0]))
    gru = flax.from_params(params)
    assert_close(gru(X)[0], scanned(lambda x, h: cell.apply(params, h, x)[0], X, 7))
    [[back]] = flax.to_params(GRU)
    assert_close(GRU(X)[0], scanned(lambda x, h: cell.apply({"params": back}, h, x)[0], X, 7))
    assert np.array_equal(flax.from_params(back).params.flat, GRU.params.flat)


def test_flax_linen_layers_of_two_directions():
    linen = pytest.importorskip("flax.linen")

    class Stack(linen.Module):
        @linen.compact
        def __call__(self, x):
            for _ in range(2):
                cells = (linen.GRUCell(7, param_dtype="float64") for _ in range(2))
                x = linen.Bidirectional(*(linen.RNN(one) for one in cells))(x)
            return x

    params = drawn(Stack().init(jax.random.key(0), X))
    cells = [params["params"][f"GRUCell_{k}"] for k in range(4)]
    gru = flax.from_params([cells[:2], cells[2:]])
    assert (gru.num_layers, gru.bidirectional) == (2, True)
    assert_close(gru(X)[0], Stack().apply(params, X))
    back = flax.from_params(flax.to_params(gru))
    assert repr(back) == repr(gru)
    assert np.array_equal(back.params.flat, gru.params.flat)


@pytest.mark.parametrize("within", ["state", "pure dict", "RNN"])
def test_flax_nnx(within):
    nnx = pytest.importorskip("flax.nnx")
    cell = nnx.GRUCell(5, 7, param_dtype="float64", rngs=nnx.Rngs(0))
    nnx.update(cell, drawn(nnx.state(cell)))
    state = nnx.state(nnx.RNN(cell) if within == "RNN" else cell)
    gru = flax.from_params(nnx.to_pure_dict(state) if within == "pure dict" else state)
    expected = scanned(lambda x, h: cell(h, x)[0], X, 7)
    assert_close(gru(X)[0], expected)
    [[back]] = flax.to_params(gru, "nnx")
    other = nnx.GRUCell(5, 7, param_dtype="float64", rngs=nnx.Rngs(1))
    nnx.update(other, jax.tree.map(jax.numpy.asarray, back))
    assert_close(scanned(lambda x, h: other(h, x)[0], X, 7), expected)
    with pytest.raises(ValueError, match=r"^gru: expected b_hh = 0, since nnx\.GRUCell"):
        flax.to_params(GRU, "nnx")


def test_flax_linen_bidirectional():
    linen = pytest.importorskip("flax.linen")
    layer = linen.Bidirectional(*(linen.RNN(linen.GRUCell(7, param_dtype="float64")) for _ in range(2)))
    params = drawn(layer.init(jax.random.key(0), X))
    gru = flax.from_params(params)
    assert (gru.num_layers, gru.bidirectional) == (1, True)
    assert_close(gru(X)[0], layer.apply(params, X))


def test_other_flax_cells_are_refused():
    linen = pytest.importorskip("flax.linen")
    for cell in (linen.MGUCell(7), linen.SimpleCell(7)):
        params = cell.init(jax.random.key(0), jax.numpy.zeros((3, 7)), X[:, 0])
        with pytest.raises(ValueError, match=r"^layers: expected ir\.kernel, .*got none of the name"):
            flax.from_params(params)
    with pytest.raises(ValueError, match=r"^gru\.reset_after: expected True, got False"):
        flax.to_params(rgru.GRU(5, 7))


@pytest.mark.parametrize("use_bias", [False, True])
def test_equinox(use_bias):
    nn = pytest.importorskip("equinox.nn")
    cell = nn.GRUCell(5, 7, use_bias, key=jax.random.key(0))
    run = jax.vmap(cell)
    gru = equinox.from_cells(cell)
    assert gru.bias == use_bias
    assert_close(gru(X)[0], scanned(run, X, 7))
    [[back]] = equinox.to_cells(gru)
    assert_close(scanned(jax.vmap(back), X, 7), gru(X)[0])
    assert np.array_equal(equinox.from_cells([back]).params.flat, gru.params.flat)


def test_equinox_stacks_and_refusals():
    nn = pytest.importorskip("equinox.nn")
    pairs = [[nn.GRUCell(size, 7, key=jax.random.key(size + d)) for d in range(2)] for size in (5, 14)]
    gru = equinox.from_cells(pairs)
    y = X
    for forward, reverse in pairs:
        runs = scanned(jax.vmap(forward), y, 7), scanned(jax.vmap(reverse), y[:, ::-1], 7)[:, ::-1]
        y = np.concatenate(runs, 2)
    assert_close(gru(X)[0], y)
    assert np.array_equal(equinox.from_cells(equinox.to_cells(gru)).params.flat, gru.params.flat)
    with pytest.raises(TypeError, match=r"^layers\[0\]: expected an equinox\.nn\.GRUCell or .*, got equinox.*LSTMCell"):
        equinox.from_cells([nn.LSTMCell(5, 7, key=jax.random.key(0))])
    with pytest.raises(ValueError, match=r"^gru: expected clip=None, since Equinox"):
        equinox.to_cells(rgru.GRU(5, 7, reset_after=True, clip=1.0))
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(ValueError, match=r"^gru\.dtype: expected float32 without jax_enable_x64"):
        equinox.to_cells(GRU)
