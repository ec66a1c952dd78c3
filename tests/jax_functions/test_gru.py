"""`rgru.jax.gru` against `rgru.GRU`, against a scan of JAX itself and against Flax's cell."""

import os
import subprocess
import sys

import numpy as np
import pytest

import rgru
from rgru.convert import flax

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.peers
rgru_jax = pytest.importorskip("rgru.jax")
jnp = jax.numpy

RANDOM = np.random.default_rng(0)
N, T, F, H = 4, 9, 5, 7
X = RANDOM.normal(size=(N, T, F)).astype(np.float32)
LENGTHS = np.array([9, 0, 1, 5])
CASES = {
    "reset-before": {},
    "reset-after": {"reset_after": True},
    "no bias": {"reset_after": True, "bias": False},
    "two layers, two directions": {"num_layers": 2, "bidirectional": True},
    "merged": {"bidirectional": True, "merge": "mean"},
    "reverse": {"reverse": True},
    "learned h0": {"learned_h0": True},
    "layer norm": {"reset_after": True, "layer_norm": "separate"},
    "activations": {"activation": ("elu", 0.5), "gate_activation": ("hard_sigmoid", 0.2, 0.5), "clip": 2.0},
}
OPTIONS = ("reset_after", "merge", "layer_norm", "activation", "gate_activation", "clip")


def made(dtype="float32", **settings):
    gru = rgru.GRU(F, H, dtype=dtype, seed=0, **settings)
    random = np.random.default_rng(1)
    for name, array in gru.params.items():
        gru.params[name] = (random.normal(size=array.shape) / 2).astype(dtype)
    return gru, {name: value for name, value in settings.items() if name in OPTIONS}


def arguments(gru):
    states = RANDOM.normal(size=(gru.num_layers * (1 + gru.bidirectional), N, H)).astype(gru.dtype)
    return X.astype(gru.dtype), states, LENGTHS


@pytest.fixture
def float64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def reset_before_scan(params, x):
    """The equations in JAX, for derivatives by JAX itself."""
    W, U, b = (params[f"layers.0.fwd.{name}"] for name in ("W", "U", "b"))

    def step(h, x_t):
        a = x_t @ W.T + b
        r, z = (jax.nn.sigmoid(a[:, k * H : (k + 1) * H] + h @ U[k * H : (k + 1) * H].T) for k in (0, 1))
        h = (1 - z) * h + z * jnp.tanh(a[:, 2 * H :] + (r * h) @ U[2 * H :].T)
        return h, h

    return jnp.moveaxis(jax.lax.scan(step, jnp.zeros((len(x), H)), jnp.moveaxis(x, 1, 0))[1], 0, 1)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_outputs_have_the_bits_of_the_gru(settings, jit):
    gru, options = made(**settings)
    x, h0, lengths = arguments(gru)
    run = lambda *inputs: rgru_jax.gru(*inputs, **options)  # noqa: E731
    run = jax.jit(run) if jit else run
    for inputs in ((x,), (x, h0), (x, h0, lengths)):
        expected = gru(*inputs[:2], lengths=inputs[2] if len(inputs) > 2 else None)
        for one, other in zip(run(dict(gru.params), *inputs), expected, strict=True):
            assert one.dtype == np.float32
            assert np.array_equal(one, other)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_gradients_have_the_bits_of_the_tape(settings):
    gru, options = made(**settings)
    x, h0, lengths = arguments(gru)
    y, h_n, tape = gru.record(x, h0, lengths=lengths)
    dy, dh_n = (RANDOM.normal(size=one.shape).astype(np.float32) for one in (y, h_n))
    run = lambda params, x, h0: rgru_jax.gru(params, x, h0, lengths, **options)  # noqa: E731
    _, back = jax.vjp(jax.jit(run), dict(gru.params), x, h0)
    params, dx, dh0 = back((jnp.asarray(dy), jnp.asarray(dh_n)))
    expected = tape.backward(dy, dh_n)
    assert np.array_equal(dx, expected.x)
    assert np.array_equal(dh0, expected.h0)
    assert params.keys() == expected.params.keys()
    for name, array in params.items():
        assert np.array_equal(array, expected.params[name]), name


@pytest.mark.usefixtures("float64")
def test_float64_against_a_scan_of_jax():
    gru, _ = made("float64")
    params, x = dict(gru.params), jnp.asarray(X, "float64")
    loss = lambda run: jax.jit(jax.value_and_grad(lambda *inputs: (run(*inputs) ** 2).sum(), (0, 1)))  # noqa: E731
    value, found = loss(lambda *inputs: rgru_jax.gru(*inputs)[0])(params, x)
    expected_value, expected = loss(reset_before_scan)(params, x)
    assert abs(value - expected_value) < 1e-11
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == np.float64
        assert np.abs(one - other).max() < 1e-11


@pytest.mark.usefixtures("float64")
def test_flax_cell_by_conversion():
    linen = pytest.importorskip("flax.linen")
    cell = linen.GRUCell(H, param_dtype="float64")
    params = cell.init(jax.random.key(0), jnp.zeros((N, H)), X[:, 0].astype("f8"))
    h, expected = jnp.zeros((N, H)), []
    for t in range(T):
        h, y_t = cell.apply(params, h, X[:, t].astype("f8"))
        expected.append(y_t)
    y, h_n = rgru_jax.gru(dict(flax.from_params(params).params), X.astype("f8"), reset_after=True)
    assert np.abs(y - np.stack(expected, 1)).max() < 1e-14
    assert np.abs(h_n[0] - h).max() < 1e-14


@pytest.mark.parametrize("jit", [False, True])
def test_vmap_over_the_batch_folds_into_one_run(jit):
    """Also of two axes, and with states and lengths."""
    gru, _ = made(num_layers=2)
    x, h0, lengths = arguments(gru)
    params = dict(gru.params)
    run = jax.vmap(lambda x, h0, length: rgru_jax.gru(params, x, h0, length), (0, 1, 0), (0, 1))
    y, h_n = (jax.jit(run) if jit else run)(x, h0, lengths)
    expected = gru(x, h0, lengths=lengths)
    assert np.array_equal(y, expected[0])
    assert np.array_equal(h_n, expected[1])
    twice = jax.vmap(jax.vmap(lambda x: rgru_jax.gru(params, x)[0]))(x.reshape(2, 2, T, F))
    assert np.array_equal(twice.reshape(N, T, H), gru(x)[0])


def test_vmap_over_parameters():
    """An ensemble: each member has its own parameters, and the same inputs."""
    grus = [rgru.GRU(F, H, seed=seed) for seed in range(3)]
    stacked = {name: np.stack([gru.params[name] for gru in grus]) for name in grus[0].params}
    y, h_n = jax.vmap(rgru_jax.gru, (0, None))(stacked, X)
    for k, gru in enumerate(grus):
        expected = gru(X)
        assert np.array_equal(y[k], expected[0])
        assert np.array_equal(h_n[k], expected[1])


def test_gradients_and_vmap():
    """Of a loss over a mapped batch, and for each sequence by itself."""
    gru, _ = made()
    params = {name: jnp.asarray(array) for name, array in gru.params.items()}
    loss = lambda run: lambda params, x: (run(params, x) ** 2).sum()  # noqa: E731
    ours, theirs = loss(lambda params, x: rgru_jax.gru(params, x)[0]), loss(reset_before_scan)
    expected = jax.grad(theirs)(params, X)
    mapped = lambda params: jax.vmap(lambda x: ours(params, x))(X).sum()  # noqa: E731
    found = jax.jit(jax.grad(mapped))(params)
    each = jax.vmap(jax.grad(ours), (None, 0))(params, X)
    for name, array in expected.items():
        assert np.abs(found[name] - array).max() < 3e-5, name
        assert each[name].shape == (N, *array.shape)
        assert np.abs(each[name].sum(0) - array).max() < 3e-5, name


def test_checkpoints_of_jax():
    """`jax.checkpoint` runs forward again in the backward pass, which must not change the gradients."""
    gru, _ = made()
    loss = lambda x: (rgru_jax.gru(dict(gru.params), x)[0] ** 2).sum()  # noqa: E731
    assert np.array_equal(jax.grad(jax.checkpoint(loss))(X), jax.grad(loss)(X))


def test_one_sequence_without_a_batch():
    gru, _ = made()
    y, h_n = rgru_jax.gru(dict(gru.params), X[0])
    assert np.array_equal(y, gru(X[:1])[0][0])
    assert np.array_equal(h_n, gru(X[:1])[1][:, 0])


@pytest.mark.parametrize("shape", [(0, T, F), (N, 0, F)])
def test_empty_batches(shape):
    gru, _ = made()
    for one, other in zip(
        rgru_jax.gru(dict(gru.params), np.zeros(shape, "f4")), gru(np.zeros(shape, "f4")), strict=True
    ):
        assert np.array_equal(one, other)


def test_large_arrays_within_jit():
    """JAX has hung in callbacks that read large arrays while its own threads wait."""
    code = (
        "import jax, numpy as np, rgru, rgru.jax\n"
        "gru = rgru.GRU(64, 128, seed=0); x = np.ones((64, 500, 64), np.float32)\n"
        "loss = jax.jit(jax.grad(lambda p, x: rgru.jax.gru(p, x * 2)[0].sum()))\n"
        "for _ in range(3): jax.block_until_ready(loss(dict(gru.params), x))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=os.environ)


PARAMS = dict(made()[0].params)


@pytest.mark.parametrize(
    ("kind", "message", "inputs", "options"),
    [
        (TypeError, "params: expected a mapping", ([], X), {}),
        (TypeError, "params: expected names of type str, got 3", ({3: X}, X), {}),
        (ValueError, r"params: expected layers\.0\.fwd\.W", ({}, X), {}),
        (ValueError, r"missing are \['layers\.0\.fwd\.b_hh'\]", (PARAMS, X), {"reset_after": True}),
        (ValueError, r"unexpected \['head'\]", ({**PARAMS, "head": X}, X), {}),
        (ValueError, r"params\['layers\.0\.fwd\.b'\]: expected shape", ({**PARAMS, "layers.0.fwd.b": X}, X), {}),
        (ValueError, r"fwd\.W'\]: expected shape \(3H, I\)", ({**PARAMS, "layers.0.fwd.W": X}, X), {}),
        (ValueError, r"x: expected shape \(N, T, I\)", (PARAMS, X[0, 0]), {}),
        (ValueError, r"x: expected shape \(4, 9, 5\), got \(4, 9, 4\)", (PARAMS, X[..., 1:]), {}),
        (TypeError, "x: expected float32 or float64, got bfloat16", (PARAMS, jnp.asarray(X, "bfloat16")), {}),
        (TypeError, r"b'\]: expected float32", ({**PARAMS, "layers.0.fwd.b": np.zeros(21, np.float16)}, X), {}),
        (ValueError, r"h0: expected shape \(1, 4, 7\)", (PARAMS, X, np.zeros((1, 3, 7), np.float32)), {}),
        (ValueError, r"lengths: expected shape \(4,\)", (PARAMS, X, None, LENGTHS[1:]), {}),
        (TypeError, "lengths: expected integers", (PARAMS, X, None, np.ones(4, np.float32)), {}),
        (ValueError, "activation: expected", (PARAMS, X), {"activation": "gelu"}),
    ],
)
def test_bad_input_is_named_while_tracing(kind, message, inputs, options):
    with pytest.raises(kind, match=message):
        jax.eval_shape(lambda: rgru_jax.gru(*inputs, **options))


def test_lengths_out_of_range_are_an_error_of_the_run():
    with pytest.raises(Exception, match="lengths"):
        jax.block_until_ready(rgru_jax.gru(PARAMS, X, None, LENGTHS + 1))


def test_second_derivatives_are_refused_by_name():
    first = jax.grad(lambda x: (rgru_jax.gru(PARAMS, x)[0] ** 2).sum())
    with pytest.raises(NotImplementedError, match=r"rgru\.jax: expected first derivatives only"):
        jax.grad(lambda x: first(x).sum())(X)
