"""Live comparison with PyTorch, ONNX Runtime and Keras, on random sizes; the golden files hold the fixed cases."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import rgru

pytestmark = pytest.mark.peers


def close(got: Any, expected: Any, tolerance: float) -> None:
    """Assert a largest difference within `tolerance`, relative to the largest magnitude or 1."""
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0) <= tolerance * scale


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 5e-6)])
def test_torch_outputs_and_gradients(seed: int, dtype: str, tolerance: float) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(seed)
    batch, time, inputs, hidden = (int(n) for n in random.integers(1, 40, 4))
    layers, bidirectional, bias = int(random.integers(1, 4)), bool(seed % 2), bool(seed % 3)
    torch.manual_seed(seed)
    module = torch.nn.GRU(
        inputs, hidden, layers, bias=bias, batch_first=True, bidirectional=bidirectional, dtype=getattr(torch, dtype)
    )
    gru = rgru.from_torch(module)
    states = layers * (1 + bidirectional), batch, hidden
    x, h0 = random.standard_normal((batch, time, inputs)).astype(dtype), random.standard_normal(states).astype(dtype)
    lengths = random.integers(1, time + 1, batch)
    dy = random.standard_normal((batch, time, hidden * (1 + bidirectional))).astype(dtype)
    dh_n = random.standard_normal(states).astype(dtype)

    leaf, leaf_h0 = torch.tensor(x, requires_grad=True), torch.tensor(h0, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(leaf, lengths, batch_first=True, enforce_sorted=False)
    output, expected_h_n = module(packed, leaf_h0)
    expected_y, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=time)
    ((expected_y * torch.tensor(dy)).sum() + (expected_h_n * torch.tensor(dh_n)).sum()).backward()

    y, h_n, tape = gru.record(x, h0, lengths=lengths)
    grads = tape.backward(dy, dh_n)
    close(y, expected_y.detach(), tolerance)
    close(h_n, expected_h_n.detach(), tolerance)
    close(grads.x, leaf.grad, tolerance)
    close(grads.h0, leaf_h0.grad, tolerance)
    for layer in range(layers):
        for direction, suffix in (("fwd", ""), ("rev", "_reverse"))[: 1 + bidirectional]:
            for ours, theirs in (("W", "weight_ih"), ("U", "weight_hh")):
                expected = getattr(module, f"{theirs}_l{layer}{suffix}").grad.numpy().copy()
                expected[hidden : 2 * hidden] *= -1  # z multiplies the candidate in rgru, the old state in PyTorch
                close(grads.params[f"layers.{layer}.{direction}.{ours}"], expected, tolerance)


def check_onnxruntime(seed: int, attributes: dict[str, Any], tolerance: float = 5e-6) -> Any:
    """Run a node of random sizes and weights in ONNX Runtime and in rgru, compare, and return rgru's GRU."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from rgru.convert.onnx import from_arrays

    random = np.random.default_rng(seed)
    batch, time, inputs, hidden = (int(n) for n in random.integers(1, 40, 4))
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    scale = hidden**-0.5
    weights = {
        "W": random.uniform(-scale, scale, (directions, 3 * hidden, inputs)).astype(np.float32),
        "R": random.uniform(-scale, scale, (directions, 3 * hidden, hidden)).astype(np.float32),
        "B": random.uniform(-scale, scale, (directions, 6 * hidden)).astype(np.float32),
    }
    feeds = {
        "X": random.standard_normal((time, batch, inputs)).astype(np.float32),
        "lengths": random.integers(1, time + 1, batch).astype(np.int32),
        "h0": random.standard_normal((directions, batch, hidden)).astype(np.float32),
    }
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    names = ["X", "W", "R", "B", "lengths", "h0"]
    node = helper.make_node("GRU", names, ["Y", "Y_h"], hidden_size=hidden, **attributes)
    graph = helper.make_graph(
        [node],
        "gru",
        [
            helper.make_tensor_value_info("X", float32, feeds["X"].shape),
            helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, feeds["lengths"].shape),
            helper.make_tensor_value_info("h0", float32, feeds["h0"].shape),
        ],
        [helper.make_tensor_value_info(name, float32, None) for name in ("Y", "Y_h")],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected_y, expected_h_n = session.run(["Y", "Y_h"], feeds)

    found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    gru = from_arrays([(*weights.values(), found)])
    y, h_n = gru(np.swapaxes(feeds["X"], 0, 1), feeds["h0"], lengths=feeds["lengths"])
    close(y, expected_y.transpose(2, 0, 1, 3).reshape(y.shape), tolerance)
    close(h_n, expected_h_n, tolerance)
    return gru


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("seed", range(4))
def test_onnxruntime_outputs(linear_before_reset: int, direction: str, seed: int) -> None:
    from rgru.convert.onnx import to_arrays

    attributes = {"direction": direction, "linear_before_reset": linear_before_reset}
    gru = check_onnxruntime(seed, attributes)
    assert gru.reset_after == linear_before_reset
    [(*_, back)] = to_arrays(gru)
    assert back == {**attributes, "hidden_size": gru.hidden_size}


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("clip", [None, 0.4])
@pytest.mark.parametrize(
    "functions",
    [
        (["HardSigmoid", "Tanh"], [], []),
        (["Sigmoid", "Relu"], [], []),
        (["HardSigmoid", "Softsign"], [1 / 6], [0.5]),
        # Values are consumed in the order of the functions, by those that have such a parameter.
        (["Sigmoid", "HardSigmoid"], [0.3], [0.4]),
        (["HardSigmoid", "HardSigmoid"], [0.3, 0.2], [0.5, 0.4]),
        (["Sigmoid", "Elu"], [0.75], []),
        (["HardSigmoid", "Elu"], [0.25, 0.75], [0.5]),
        (["Sigmoid", "Affine"], [1.0], [0.0]),
        (["HardSigmoid", "Affine"], [0.25, 1.0], [0.5, 0.0]),
        (["Sigmoid", "Sigmoid"], [], []),
    ],
)
def test_onnxruntime_activations(
    functions: tuple[list[Any], ...], clip: float | None, direction: str, linear_before_reset: int
) -> None:
    attributes: dict[str, Any] = {"direction": direction, "linear_before_reset": linear_before_reset}
    for name, values in zip(("activations", "activation_alpha", "activation_beta"), functions, strict=True):
        attributes |= {name: values * (2 if direction == "bidirectional" else 1)} if values else {}
    attributes |= {"clip": clip} if clip else {}
    check_onnxruntime(0, attributes)


@pytest.mark.filterwarnings("ignore")  # of the cases of other operators
def test_onnx_backend_tests() -> None:
    """ONNX's own cases of the operator, with outputs by its own loops; among them one of each direction."""
    pytest.importorskip("onnx")
    from onnx import helper, numpy_helper
    from onnx.backend.test.case.node import collect_testcases

    from rgru.convert.onnx import from_arrays

    directions = set()
    for case in collect_testcases("GRU"):  # ONNX keeps one list per process: other tests may have collected more
        [node] = case.model.graph.node[:1]
        if node.op_type != "GRU":
            continue
        ((inputs, outputs),) = case.data_sets
        feeds = dict(zip(filter(None, node.input), inputs, strict=True))
        feeds = {
            name: one if isinstance(one, np.ndarray) else numpy_helper.to_array(one) for name, one in feeds.items()
        }
        given = [feeds.get(name) for name in (*node.input, *[""] * 6)[:6]]
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        directions.add(attributes.get("direction", b"forward"))
        gru = from_arrays([(*given[1:4], attributes)])
        batch_first = attributes.get("layout") == 1
        x = given[0] if batch_first else np.swapaxes(given[0], 0, 1)
        h0 = np.swapaxes(given[5], 0, 1) if given[5] is not None and batch_first else given[5]
        y, h_n = gru(x, h0, lengths=given[4])
        expected = dict(zip(filter(None, node.output), outputs, strict=True))
        for name, array in expected.items():
            if name == "Y_h":
                close(h_n, np.swapaxes(array, 0, 1) if batch_first else array, 5e-6)
            else:
                close(y, (array if batch_first else array.transpose(2, 0, 1, 3)).reshape(y.shape), 5e-6)
    assert b"forward" in directions  # older versions of ONNX have no other


KERAS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keras with its backend PyTorch by default, since it does not look for an installed backend."""
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        pytest.importorskip("torch")
    return pytest.importorskip("keras")


@KERAS
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_keras_layers_in_and_out(keras: Any, bidirectional: bool, reset_after: bool, use_bias: bool) -> None:
    from rgru.convert.keras import from_weights, to_weights

    random = np.random.default_rng(0)
    x = random.standard_normal((3, 7, 4)).astype(np.float32)
    layers = []
    for units in (5, 5):
        layer = keras.layers.GRU(units, reset_after=reset_after, use_bias=use_bias, return_sequences=True)
        layers.append(keras.layers.Bidirectional(layer) if bidirectional else layer)
    expected = x
    for layer in layers:
        layer.build(expected.shape)
        layer.set_weights([random.standard_normal(array.shape) for array in layer.get_weights()])
        expected = keras.ops.convert_to_numpy(layer(expected))
    gru = from_weights([(layer.get_weights(), layer.get_config()) for layer in layers])
    assert gru.reset_after == reset_after
    close(gru(x)[0], expected, 5e-6)

    result = x
    for weights, config in to_weights(gru):
        again = (keras.layers.Bidirectional if bidirectional else keras.layers.GRU).from_config(config)
        again.build(result.shape)
        again.set_weights(weights)
        result = keras.ops.convert_to_numpy(again(result))
    close(gru(x)[0], result, 5e-6)


def check_keras(keras: Any, layers: list[Any], outputs: Any, **options: Any) -> None:
    """Compare layers with the GRU of their weights, and layers of that GRU's weights with it.

    `outputs` puts what Keras returns into rgru's order of steps.
    """
    from rgru.convert.keras import from_weights, to_weights

    random = np.random.default_rng(0)
    x = random.standard_normal((3, 7, 4)).astype(np.float32)

    def run(layers: list[Any], weights: list[Any]) -> Any:
        result = x
        for layer, arrays in zip(layers, weights, strict=True):
            layer.build(result.shape)
            shapes = [array.shape for array in layer.get_weights()]
            # As large as those of a layer in use, so that linear and ReLU candidates do not grow from step to step.
            drawn = [random.standard_normal(shape) * shape[0] ** -0.5 for shape in shapes]
            layer.set_weights(drawn if arrays is None else arrays)
            result = keras.ops.convert_to_numpy(layer(result))
        return outputs(result)

    expected = run(layers, [None] * len(layers))
    gru = from_weights([(layer.get_weights(), layer.get_config()) for layer in layers], version=3)
    assert {name: getattr(gru, name) for name in options} == options
    close(gru(x)[0], expected, 5e-6)
    pairs = to_weights(gru, version=3)
    again = [type(layer).from_config(config) for layer, (_, config) in zip(layers, pairs, strict=True)]
    close(gru(x)[0], run(again, [weights for weights, _ in pairs]), 5e-6)


@KERAS
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize(
    "activation", ["tanh", "sigmoid", "relu", "linear", None, "softsign", "elu", "hard_sigmoid"], ids=str
)
def test_keras_activations(keras: Any, activation: str | None, gate: str, reset_after: bool) -> None:
    config = {"activation": activation, "recurrent_activation": gate, "reset_after": reset_after}
    check_keras(keras, [keras.layers.GRU(5, return_sequences=True, **config)], lambda y: y, reset_after=reset_after)


@KERAS
@pytest.mark.parametrize("reset_after", [False, True])
def test_keras_go_backwards(keras: Any, reset_after: bool) -> None:
    """Such a layer returns its last step first; rgru returns outputs at their steps."""
    config = {"return_sequences": True, "go_backwards": True, "reset_after": reset_after}
    check_keras(keras, [keras.layers.GRU(5, **config)], lambda y: y[:, ::-1], reverse=True)


@KERAS
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize(("mode", "merge"), [("concat", "concat"), ("sum", "sum"), ("ave", "mean"), ("mul", "product")])
def test_keras_merge_modes(keras: Any, mode: str, merge: str, reset_after: bool) -> None:
    layers = [
        keras.layers.Bidirectional(keras.layers.GRU(5, return_sequences=True, reset_after=reset_after), mode)
        for _ in range(2)
    ]
    check_keras(keras, layers, lambda y: y, merge=merge)


@KERAS
def test_features_of_keras_layers_that_rgru_lacks(keras: Any) -> None:
    from rgru.convert.keras import from_weights

    def refuse(match: str, layer: Any) -> None:
        layer.build((1, 2, 3))
        with pytest.raises(ValueError, match=match):
            from_weights([(layer.get_weights(), layer.get_config())])

    for reset_after in (False, True):
        refuse(r"\['activation'\]: expected one of .*got 'gelu'", keras.layers.GRU(4, "gelu", reset_after=reset_after))
        tanh = keras.layers.GRU(4, recurrent_activation="tanh", reset_after=reset_after)
        refuse(r"\['recurrent_activation'\]: expected one of .*got 'tanh'", tanh)
        hard = keras.layers.GRU(4, recurrent_activation="hard_sigmoid", reset_after=reset_after)
        refuse(r"^version: expected 2 or 3 for .*\['recurrent_activation'\]", hard)
        turned, straight = (
            keras.layers.GRU(4, go_backwards=way, reset_after=reset_after, return_sequences=True)
            for way in (True, False)
        )
        refuse(
            r"\['layer'\]\['go_backwards'\]: expected False",
            keras.layers.Bidirectional(turned, backward_layer=straight),
        )
    own = keras.layers.GRU(4, keras.layers.LeakyReLU())
    refuse(r"\['activation'\]: expected one of .*got {.*LeakyReLU", own)
    refuse(r"\['merge_mode'\]: expected one of .*got None", keras.layers.Bidirectional(keras.layers.GRU(4), None))
    refuse(r"\['class_name'\]: expected 'GRU', got 'LSTM'", keras.layers.Bidirectional(keras.layers.LSTM(4)))
    refuse(r"expected settings of a Keras GRU, got 'unit_forget_bias'", keras.layers.LSTM(4))
