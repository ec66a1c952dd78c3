"""Frameworks whose weights are plain arrays, against plain loops over the equations in their documentation.

Each loop is written in the framework's own names, order of gates and layout, and knows nothing of rgru. Biases, weights
and states are large enough to tell the gates and the two cells apart. In float64, to 1e-13; found are 2e-15.
"""

import numpy as np
import pytest

import rgru
from rgru.convert import burn, coreml, haste, matlab, onednn

I, H, N, T = 3, 5, 2, 6  # noqa: E741


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def draw(seed, **shapes):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def run(step, x, *, reverse=False):
    """Run a step (x_t, h) -> h over x (N, T, I); outputs stay at their steps."""
    h, found = np.zeros((len(x), H)), []
    for t in range(x.shape[1])[:: -1 if reverse else 1]:
        h = step(x[:, t], h)
        found.append(h)
    return np.stack(found[:: -1 if reverse else 1], 1)


def haste_step(x, h, cell):
    (W_z, W_r, W_g), (R_z, R_r, R_g) = (np.split(cell[name], 3, 1) for name in ("kernel", "recurrent_kernel"))
    (b_z, b_r, b_g), (c_z, c_r, c_g) = (np.split(cell[name], 3) for name in ("bias", "recurrent_bias"))
    z = sigmoid(x @ W_z + h @ R_z + b_z + c_z)
    r = sigmoid(x @ W_r + h @ R_r + b_r + c_r)
    g = np.tanh(x @ W_g + b_g + r * (h @ R_g + c_g))
    new = z * h + (1 - z) * g
    zoneout = cell.get("zoneout", 0.0)
    return zoneout * h + (1 - zoneout) * new


def burn_step(x, h, cell):
    def side(gate, side, value):
        name = f"{gate}_gate.{side}_transform"
        return value @ cell[f"{name}.weight"] + cell.get(f"{name}.bias", 0.0)

    update = sigmoid(side("update", "input", x) + side("update", "hidden", h))
    reset = sigmoid(side("reset", "input", x) + side("reset", "hidden", h))
    if cell.get("reset_after", True):
        new = np.tanh(side("new", "input", x) + reset * side("new", "hidden", h))
    else:
        new = np.tanh(side("new", "input", x) + side("new", "hidden", reset * h))
    h = new * (1 - update) + update * h
    clip = cell.get("clip")
    return h if clip is None else np.clip(h, -clip, clip)


def coreml_step(x, h, cell):
    (W_r, W_o, W_z), (R_r, R_o, R_z) = (np.split(cell[name], 3) for name in ("weight_ih", "weight_hh"))
    zero = np.zeros(3 * H)
    (b_r, b_o, b_z), (c_r, c_o, c_z) = (np.split(cell.get(name, zero), 3) for name in ("bias", "input_bias"))
    r = sigmoid(x @ W_r.T + h @ R_r.T + b_r + c_r)
    z = sigmoid(x @ W_z.T + h @ R_z.T + b_z + c_z)
    if cell.get("reset_after", False):
        o = np.tanh(x @ W_o.T + c_o + r * (h @ R_o.T + b_o))
    else:
        o = np.tanh(x @ W_o.T + c_o + (r * h) @ R_o.T + b_o)
    return (1 - z) * o + z * h


def matlab_step(x, h, cell):
    (W_r, W_z, W_h), (R_r, R_z, R_h) = (np.split(cell[name], 3) for name in ("InputWeights", "RecurrentWeights"))
    bias = cell["Bias"].ravel()
    b_r, b_z, b_h, c_r, c_z, c_h = np.split(bias if len(bias) == 6 * H else np.concatenate([bias, 0 * bias]), 6)
    gate = sigmoid
    if cell.get("GateActivationFunction") == "hard-sigmoid":
        gate = lambda a: np.clip(0.2 * a + 0.5, 0, 1)  # noqa: E731
    state = np.tanh if cell.get("StateActivationFunction", "tanh") == "tanh" else lambda a: a / (1 + np.abs(a))
    r = gate(x @ W_r.T + b_r + h @ R_r.T + c_r)
    z = gate(x @ W_z.T + b_z + h @ R_z.T + c_z)
    mode = cell.get("ResetGateMode", "after-multiplication")
    product = (r * h) @ R_h.T if mode == "before-multiplication" else r * (h @ R_h.T + c_h)
    return (1 - z) * state(x @ W_h.T + b_h + product) + z * h


def onednn_cell(primitive, k, d):
    """Return a step of a layer and direction of a primitive."""
    W, U = (primitive[name][k, d] for name in ("weights_layer", "weights_iter"))  # (I, 3, H), (H, 3, H)
    B = primitive["bias"][k, d]

    def step(x, h):
        u = sigmoid(x @ W[:, 0] + h @ U[:, 0] + B[0])
        r = sigmoid(x @ W[:, 1] + h @ U[:, 1] + B[1])
        if primitive["algorithm"] == "lbr_gru":
            o = np.tanh(x @ W[:, 2] + r * (h @ U[:, 2] + B[3]) + B[2])
        else:
            o = np.tanh(x @ W[:, 2] + (r * h) @ U[:, 2] + B[2])
        return u * h + (1 - u) * o

    return step


def burn_cell(seed, inputs=I, biases=True, **settings):
    shapes = {}
    for gate in ("update", "reset", "new"):
        for side, rows in (("input", inputs), ("hidden", H)):
            shapes[f"{gate}_gate.{side}_transform.weight"] = (rows, H)
            if biases:
                shapes[f"{gate}_gate.{side}_transform.bias"] = (H,)
    return draw(seed, **shapes) | settings


def haste_cell(seed, inputs=I, **settings):
    return draw(seed, kernel=(inputs, 3 * H), recurrent_kernel=(H, 3 * H), bias=3 * H, recurrent_bias=3 * H) | settings


def coreml_cell(seed, inputs=I, only=None, **settings):
    biases = dict.fromkeys([only] if only else ["bias", "input_bias"], 3 * H)
    return draw(seed, weight_ih=(3 * H, inputs), weight_hh=(3 * H, H), **biases) | settings


def matlab_cell(seed, inputs=I, gates=3, **settings):
    shapes = {"InputWeights": (3 * H, inputs), "RecurrentWeights": (3 * H, H), "Bias": (gates * H, 1)}
    return draw(seed, **shapes) | settings


RECURRENT_BIAS = {"gates": 6, "ResetGateMode": "recurrent-bias-after-multiplication"}
CASES = [
    (haste, haste_cell, haste_step, {}),
    (haste, haste_cell, haste_step, {"zoneout": 0.25}),
    (burn, burn_cell, burn_step, {}),
    (burn, burn_cell, burn_step, {"reset_after": False, "clip": 0.5}),
    (burn, burn_cell, burn_step, {"biases": False}),
    (coreml, coreml_cell, coreml_step, {}),
    (coreml, coreml_cell, coreml_step, {"reset_after": True}),
    (coreml, coreml_cell, coreml_step, {"reset_after": True, "only": "bias"}),
    (matlab, matlab_cell, matlab_step, {}),
    (matlab, matlab_cell, matlab_step, {"ResetGateMode": "before-multiplication"}),
    (matlab, matlab_cell, matlab_step, RECURRENT_BIAS),
    (matlab, matlab_cell, matlab_step, {"GateActivationFunction": "hard-sigmoid"}),
    (matlab, matlab_cell, matlab_step, {**RECURRENT_BIAS, "StateActivationFunction": "softsign"}),
]
IDS = [f"{case[0].__name__.rpartition('.')[2]}-{'-'.join(map(str, case[3].values())) or 'plain'}" for case in CASES]


def assert_close(found, expected, tolerance=1e-13):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize(("module", "cell", "step", "settings"), CASES, ids=IDS)
def test_one_cell(module, cell, step, settings):
    arrays = cell(0, **settings)
    x = np.random.default_rng(1).normal(size=(N, T, I))
    expected = run(lambda x_t, h: step(x_t, h, arrays), x)
    gru = module.from_arrays(arrays)
    assert_close(gru(x)[0], expected)


@pytest.mark.parametrize(("module", "cell", "step", "settings"), CASES, ids=IDS)
def test_layers_of_two_directions_and_back(module, cell, step, settings):
    """Two layers of two directions, from the framework's loop, and by way of rgru back into the framework's loop."""
    layers = [[cell(2 * k + d, inputs=(I, 2 * H)[k], **settings) for d in range(2)] for k in range(2)]
    if module is coreml:
        for layer in layers:
            layer[1]["direction"] = "reverse"

    def outputs(layers):
        y = np.random.default_rng(1).normal(size=(N, T, I))
        for pair in layers:
            runs = [run(lambda x_t, h, one=one: step(x_t, h, one), y, reverse=d == 1) for d, one in enumerate(pair)]
            y = np.concatenate(runs, 2)
        return y

    gru = module.from_arrays(layers)
    y = gru(np.random.default_rng(1).normal(size=(N, T, I)))[0]
    assert_close(y, outputs(layers))
    back = module.to_arrays(gru)
    assert_close(outputs(back), y)
    again = module.from_arrays(back)
    assert repr(again) == repr(gru)
    assert np.array_equal(again.params.flat, gru.params.flat)


@pytest.mark.parametrize("algorithm", ["vanilla_gru", "lbr_gru"])
@pytest.mark.parametrize(
    "direction",
    ["unidirectional_left2right", "unidirectional_right2left", "bidirectional_concat", "bidirectional_sum"],
)
def test_onednn(algorithm, direction):
    """A primitive of two layers, and one of a single layer with another number of features before it."""
    both = direction.startswith("bi")
    outputs = 2 * H if direction == "bidirectional_concat" else H
    primitives = []
    for seed, (layers, inputs) in enumerate(((1, I), (2, outputs))):
        head = (layers, 1 + both)
        bias = (*head, 4 if algorithm == "lbr_gru" else 3, H)
        arrays = draw(seed, weights_layer=(*head, inputs, 3, H), weights_iter=(*head, H, 3, H), bias=bias)
        primitives.append(arrays | {"algorithm": algorithm, "direction": direction})
    x = np.random.default_rng(1).normal(size=(N, T, I))

    def run_all(primitives):
        y = x
        for one in primitives:
            for k in range(len(one["bias"])):
                runs = [
                    run(onednn_cell(one, k, d), y, reverse=d == 1 or direction.endswith("right2left"))
                    for d in range(1 + both)
                ]
                y = sum(runs) if direction == "bidirectional_sum" else np.concatenate(runs, 2)
        return y

    gru = onednn.from_arrays(primitives)
    assert gru.reset_after == (algorithm == "lbr_gru")
    assert_close(gru(x)[0], run_all(primitives))
    back = onednn.to_arrays(gru)
    assert_close(run_all(back), gru(x)[0])
    again = onednn.from_arrays(back)
    assert repr(again) == repr(gru)
    assert np.array_equal(again.params.flat, gru.params.flat)


@pytest.mark.parametrize(("module", "after"), [(burn, 0), (coreml, 0), (matlab, 0), (onednn, 0), (haste, 1)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trips_start_from_rgru(module, after, bias, dtype):
    gru = rgru.GRU(I, H, 2, bidirectional=True, reset_after=bool(after), bias=bias, dtype=dtype, seed=0)
    back = module.from_arrays(module.to_arrays(gru))
    x = np.random.default_rng(0).normal(size=(N, T, I)).astype(dtype)
    np.testing.assert_array_equal(back(x)[0], gru(x)[0])
    if bias:
        assert repr(back) == repr(gru)


def refused(match, module, layers, error=ValueError):
    with pytest.raises(error, match=match):
        module.from_arrays(layers)


def test_what_has_no_counterpart_is_refused_by_name():
    lbr = {
        "weights_layer": np.zeros((1, 1, I, 3, H)),
        "weights_iter": np.zeros((1, 1, H, 3, H)),
        "algorithm": "lbr_gru",
    }
    refused(r"'bias'\]: expected shape \(L, D, 4, H\)", onednn, {**lbr, "bias": np.zeros((1, 1, 3, H))})
    refused(r"'bias'\]: expected shape", onednn, {**lbr, "algorithm": "vanilla_gru", "bias": np.zeros((1, 1, 4, H))})
    refused(r"'algorithm'\]: expected one of .*got 'lbr_augru'", onednn, {**lbr, "algorithm": "lbr_augru"})
    refused(r"'weights_layer'\]: expected shape", onednn, {**lbr, "direction": "bidirectional_sum"})
    refused(r"^layers: expected .*got attention", onednn, {**lbr, "attention": 1})
    refused(r"^layers: expected .*got none of the name bias", haste, {"kernel": 1, "recurrent_kernel": 1})
    refused(r"^layers: expected .*got gamma", haste, haste_cell(0) | {"gamma": np.zeros((2, 3 * H))})
    refused(r"^layers\[1\]: zoneout: expected 0", haste, [haste_cell(0), haste_cell(1, inputs=H, zoneout=0.5)])
    refused(r"^layers\[1\]: expected .* 5 features", haste, [haste_cell(0), haste_cell(1)])
    refused(r"^layers\[0\]: expected a cell, or .*got 3", haste, [[haste_cell(0)] * 3])
    refused(r"^layers: expected at least one", haste, [])
    refused(r"^layers\['kernel'\]: expected shape", haste, haste_cell(0) | {"kernel": np.zeros((I, 3 * H + 1))})
    refused(r"^layers\['bias'\]: expected an array", haste, haste_cell(0) | {"bias": object()}, TypeError)
    refused(r"^layers\[0\]: expected a mapping with kernel.*got int", haste, [1], TypeError)
    refused(r"'reset_after'\]: expected", burn, burn_cell(0) | {"reset_after": 1}, TypeError)
    refused(
        r"new_gate\.hidden_transform\.bias'\]", burn, burn_cell(0) | {"new_gate.hidden_transform.bias": None}, TypeError
    )
    refused(r"'activation'\]: expected 'tanh', got 'relu'", coreml, coreml_cell(0) | {"activation": "relu"})
    refused(r"'direction'\]: expected 'reverse', got 'forward'", coreml, [[coreml_cell(0), coreml_cell(1)]])
    refused(r"'ResetGateMode'\]: expected one of", matlab, matlab_cell(0) | {"ResetGateMode": "none"})
    refused(r"'Bias'\]: expected shape \(3H,\)", matlab, matlab_cell(0, gates=6))
    refused(
        r"'Bias'\]: expected shape \(6H,\)", matlab, matlab_cell(0) | {"ResetGateMode": RECURRENT_BIAS["ResetGateMode"]}
    )

    def kept(match, module, **options):
        with pytest.raises(ValueError, match=match):
            module.to_arrays(rgru.GRU(I, H, **options))

    for module in (burn, coreml, matlab, onednn):
        kept("^gru: expected clip=None", module, clip=1.0)
        kept("^gru: expected learned_h0=False", module, learned_h0=True)
    kept("^gru.reset_after: expected True", haste)
    kept("^gru.merge: expected 'concat' or 'sum'", onednn, bidirectional=True, merge="product")
    kept("^gru.activation: expected one of tanh, softsign, got 'relu'", matlab, activation="relu")


ONE_DIRECTION = [
    (burn, {"num_layers": 3}),
    (coreml, {"num_layers": 3}),
    (coreml, {"reverse": True}),
    (coreml, {"num_layers": 2, "reverse": True}),
    (matlab, {"num_layers": 3}),
    (onednn, {"num_layers": 3}),
    (onednn, {"reverse": True}),
]


@pytest.mark.parametrize(("module", "options"), ONE_DIRECTION)
def test_layers_of_one_direction_come_back(module, options):
    gru = rgru.GRU(3, 4, seed=0, **options)
    back = module.from_arrays(module.to_arrays(gru))
    assert repr(back) == repr(gru)
    np.testing.assert_array_equal(back.params.flat, gru.params.flat)
