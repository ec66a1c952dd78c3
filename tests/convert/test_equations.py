"""The options of Keras and ONNX layers against plain loops over their equations, in the other side's weights and order.

The loops know nothing of rgru: gates in the order z, r, h, and z multiplies the old state. So they test the converters
and the cells at once, in float64 to 1e-13 of the largest state.
"""

import math

import numpy as np
import pytest

import rgru
from rgru.convert import keras, onnx

I, H, N, T = 3, 5, 3, 7  # noqa: E741
LENGTHS = (7, 4, 1)
MERGES = {"concat": None, "sum": np.add, "ave": lambda a, b: (a + b) / 2, "mul": np.multiply}


def hard(alpha, beta):
    return lambda a: np.minimum(np.maximum(alpha * a + beta, 0.0), 1.0)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def elu(alpha):
    return lambda a: np.where(a > 0, a, alpha * (np.exp(a) - 1))


def relu(a):
    return np.where(a > 0, a, 0.0)


def softsign(a):
    return a / (1 + np.abs(a))


def linear(a):
    return a


def states(x, h, cell, functions, *, after, clip=math.inf):
    """Run one cell (W (3H, I), R (3H, H), their biases) over x (T, I) from the state h; return all states (T, H)."""
    (W_z, W_r, W_h), (R_z, R_r, R_h), (b_z, b_r, b_h), (c_z, c_r, c_h) = (np.split(array, 3) for array in cell)
    gate, activation = functions
    found = []
    for one in x:
        z = gate(np.clip(W_z @ one + b_z + R_z @ h + c_z, -clip, clip))
        r = gate(np.clip(W_r @ one + b_r + R_r @ h + c_r, -clip, clip))
        product = r * (R_h @ h + c_h) if after else R_h @ (r * h) + c_h
        h = (1 - z) * activation(np.clip(W_h @ one + b_h + product, -clip, clip)) + z * h
        found.append(h)
    return np.array(found)


def directed(x, h, cell, functions, *, backwards, **options):
    """Run one cell in its direction; the outputs stay at their steps. Return all states, and the last one."""
    found = states(x[::-1] if backwards else x, h, cell, functions, **options)
    return (found[::-1] if backwards else found), found[-1]


def random_cell(random, inputs, scale=1.5):
    """Draw weights that are large enough for gates at both ends, and for every branch of an activation."""
    shapes = (3 * H, inputs), (3 * H, H), (3 * H,), (3 * H,)
    return [random.normal(scale=scale / math.sqrt(shape[-1]), size=shape) for shape in shapes]


def assert_close(found, expected):
    """Check values to 1e-13 of the largest one: states that ReLU, ELU and linear candidates reach exceed 1."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-13 * max(1.0, np.abs(expected).max())


# -- ONNX --------------------------------------------------------------------------------------------------------------

GATES = {
    "sigmoid": (sigmoid, ["Sigmoid"], [], []),
    "hard sigmoid": (hard(0.2, 0.5), ["HardSigmoid"], [], []),  # the defaults of the operator
    "hard sigmoid of 1/6": (hard(1 / 6, 0.5), ["HardSigmoid"], [1 / 6], [0.5]),
}
CANDIDATES = {
    "tanh": (np.tanh, ["Tanh"], [], []),
    "sigmoid": (sigmoid, ["Sigmoid"], [], []),
    "relu": (relu, ["Relu"], [], []),
    "softsign": (softsign, ["Softsign"], [], []),
    "linear": (linear, ["Affine"], [1.0], [0.0]),
    "elu": (elu(0.75), ["Elu"], [0.75], []),
    "hard sigmoid": (hard(0.3, 0.4), ["HardSigmoid"], [0.3], [0.4]),
}


def onnx_case(random, direction, gate, candidate, *, after, clip=None):
    """Return a GRU from a node's arrays and attributes, and what the loops make of the same."""
    function_of_gate, *of_gate = GATES[gate]
    function_of_candidate, *of_candidate = CANDIDATES[candidate]
    if of_candidate[1] and not of_gate[1] and of_gate[0] != ["Sigmoid"]:
        of_gate = of_gate[0], [0.2], [0.5]  # values are consumed in order, so that the first function needs its own
    both = direction == "bidirectional"
    names, alpha, beta = ((one + two) * (1 + both) for one, two in zip(of_gate, of_candidate, strict=True))
    attributes = {"direction": direction, "linear_before_reset": int(after), "activations": names}
    attributes |= {"activation_alpha": alpha} if alpha else {}
    attributes |= {"activation_beta": beta} if beta else {}
    attributes |= {} if clip is None else {"clip": clip}
    cells = [random_cell(random, I) for _ in range(1 + both)]
    W, R = (np.stack([cell[i] for cell in cells]) for i in (0, 1))
    B = np.stack([np.concatenate(cell[2:]) for cell in cells])
    x, h0 = random.normal(size=(N, T, I)), random.normal(size=(1 + both, N, H))
    y, h_n = np.zeros((N, T, H * (1 + both))), np.zeros_like(h0)
    for d, cell in enumerate(cells):
        backwards = direction == "reverse" or d == 1
        for n, length in enumerate(LENGTHS):
            run = x[n, :length], h0[d, n], cell, (function_of_gate, function_of_candidate)
            options = {"backwards": backwards, "after": after, "clip": clip or math.inf}
            y[n, :length, d * H : (d + 1) * H], h_n[d, n] = directed(*run, **options)
    return onnx.from_arrays([(W, R, B, attributes)]), x, h0, y, h_n


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("candidate", CANDIDATES)
def test_onnx_activations(candidate, gate, after, direction):
    gru, x, h0, y, h_n = onnx_case(np.random.default_rng(0), direction, gate, candidate, after=after)
    found = gru(x, h0, lengths=LENGTHS)
    assert_close(found[0], y)
    assert_close(found[1], h_n)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("gate", ["sigmoid", "hard sigmoid"])
@pytest.mark.parametrize("candidate", CANDIDATES)
def test_onnx_clip(candidate, gate, after):
    """The whole sums are clipped, with biases and the recurrent term, before each activation."""
    gru, x, h0, y, h_n = onnx_case(np.random.default_rng(1), "bidirectional", gate, candidate, after=after, clip=0.6)
    _, _, _, without, _ = onnx_case(np.random.default_rng(1), "bidirectional", gate, candidate, after=after)
    assert np.abs(y - without).max() > 0.01
    found = gru(x, h0, lengths=LENGTHS)
    assert_close(found[0], y)
    assert_close(found[1], h_n)


# -- Keras -------------------------------------------------------------------------------------------------------------

KERAS = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "softsign": softsign,
    "linear": linear,
    "elu": elu(1.0),
    "hard_sigmoid": hard,
}


def keras_layer(random, inputs, after, **config):
    """Return weights and config of a GRU, and the cell of its loop."""
    W, R, b, c = random_cell(random, inputs)
    if not after:
        c = np.zeros_like(c)
    weights = [W.T, R.T, np.stack([b, c]) if after else b]
    return weights, {"units": H, "reset_after": after, **config}, [W, R, b, c]


def keras_functions(config, version):
    slope = {2: 0.2, 3: 1 / 6}[version]
    names = config["recurrent_activation"], config["activation"]
    return [hard(slope, 0.5) if name == "hard_sigmoid" else KERAS[name] for name in names]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("candidate", KERAS)
def test_keras_activations_and_go_backwards(candidate, gate, after, version):
    random = np.random.default_rng(2)
    x = random.normal(size=(N, T, I))
    for backwards in (False, True):
        settings = {"activation": candidate, "recurrent_activation": gate, "go_backwards": backwards}
        weights, config, cell = keras_layer(random, I, after, **settings)
        gru = keras.from_weights([(weights, config)], version=version)
        functions = keras_functions(config, version)
        runs = [directed(one, np.zeros(H), cell, functions, backwards=backwards, after=after) for one in x]
        y, h_n = gru(x)
        assert_close(y, np.stack([run[0] for run in runs]))
        assert_close(h_n[0], np.stack([run[1] for run in runs]))


@pytest.mark.parametrize("mode", MERGES)
@pytest.mark.parametrize("after", [False, True])
def test_keras_merge_modes(mode, after):
    """Of two layers: the second one reads the merged outputs of the first."""
    random = np.random.default_rng(3)
    x = random.normal(size=(N, T, I))
    settings = {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}
    layers, expected = [], x
    for _ in range(2):
        parts = [keras_layer(random, expected.shape[2], after, **settings) for _ in range(2)]
        inner = {"class_name": "GRU", "config": parts[0][1]}
        layers.append((parts[0][0] + parts[1][0], {"layer": inner, "merge_mode": mode}))
        functions = keras_functions(parts[0][1], 2)
        both = [
            np.stack(
                [directed(one, np.zeros(H), cell, functions, backwards=d == 1, after=after)[0] for one in expected]
            )
            for d, (*_, cell) in enumerate(parts)
        ]
        expected = np.concatenate(both, 2) if mode == "concat" else MERGES[mode](*both)
    assert_close(keras.from_weights(layers, version=2)(x)[0], expected)


# -- learned initial states, of which neither has any -----------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("after", [False, True])
def test_learned_initial_states(after, direction):
    """A run without `h0` is one from the learned states, for a direction each; `h0` takes their place."""
    gru, x, h0, *_ = onnx_case(np.random.default_rng(4), direction, "sigmoid", "tanh", after=after)
    both, backwards = gru.bidirectional, gru.reverse
    options = {"bidirectional": both, "reverse": backwards, "reset_after": after, "dtype": "float64"}
    learned = rgru.GRU(I, H, learned_h0=True, **options)
    names = ("rev",) if backwards else ("fwd", "rev")[: 1 + both]
    learned.params.update({name: gru.params[name] for name in gru.params})
    learned.params.update({f"layers.0.{name}.h0": h0[d, 0] for d, name in enumerate(names)})
    begin = np.repeat(h0[:, :1], N, axis=1)
    for found, expected in zip(learned(x, lengths=LENGTHS), gru(x, begin, lengths=LENGTHS), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(learned(x, h0, lengths=LENGTHS), gru(x, h0, lengths=LENGTHS), strict=True):
        np.testing.assert_array_equal(found, expected)


# -- a clip of the states, which only rgru has -------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
def test_state_clip(after):
    """Each new state is clipped before it is read again; a linear candidate would otherwise leave [-1, 1]."""
    random = np.random.default_rng(5)
    cell = random_cell(random, I)
    gru = rgru.GRU(I, H, reset_after=after, activation="linear", state_clip=0.5, dtype="float64")
    W, R, B = cell[0][None], cell[1][None], np.concatenate(cell[2:])[None]
    plain = onnx.from_arrays([(W, R, B, {"linear_before_reset": int(after)})])
    gru.params.update({name: plain.params[name] for name in plain.params})
    x = random.normal(size=(T, I))
    h, expected = np.zeros(H), []
    for one in x:
        h = np.clip(states(one[None], h, cell, (sigmoid, linear), after=after)[0], -0.5, 0.5)
        expected.append(h)
    assert (np.abs(expected) == 0.5).any()
    assert (np.abs(expected) < 0.5).any()
    assert_close(gru(x[None])[0][0], np.array(expected))
