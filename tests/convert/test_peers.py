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


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("seed", range(4))
def test_onnxruntime_outputs(linear_before_reset: int, direction: str, seed: int) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from rgru.convert.onnx import from_arrays, to_arrays

    random = np.random.default_rng(seed)
    batch, time, inputs, hidden = (int(n) for n in random.integers(1, 40, 4))
    directions = 2 if direction == "bidirectional" else 1
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
    node = helper.make_node(
        "GRU",
        ["X", "W", "R", "B", "lengths", "h0"],
        ["Y", "Y_h"],
        hidden_size=hidden,
        direction=direction,
        linear_before_reset=linear_before_reset,
    )
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

    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    gru = from_arrays([(*weights.values(), attributes)])
    assert gru.reset_after == linear_before_reset
    [(*_, back)] = to_arrays(gru)
    assert {key: value.encode() if isinstance(value, str) else value for key, value in back.items()} == attributes
    y, h_n = gru(np.swapaxes(feeds["X"], 0, 1), feeds["h0"], lengths=feeds["lengths"])
    close(y, expected_y.transpose(2, 0, 1, 3).reshape(y.shape), 5e-6)
    close(h_n, expected_h_n, 5e-6)


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


@KERAS
def test_features_of_keras_layers_that_rgru_lacks(keras: Any) -> None:
    from rgru.convert.keras import from_weights

    def refuse(match: str, layer: Any) -> None:
        layer.build((1, 2, 3))
        with pytest.raises(ValueError, match=match):
            from_weights([(layer.get_weights(), layer.get_config())])

    for reset_after in (False, True):
        refuse(r"\['activation'\]: expected 'tanh', got 'relu'", keras.layers.GRU(4, "relu", reset_after=reset_after))
        refuse(r"\['activation'\]: expected 'tanh', got 'linear'", keras.layers.GRU(4, None, reset_after=reset_after))
        hard = keras.layers.GRU(4, recurrent_activation="hard_sigmoid", reset_after=reset_after)
        refuse(r"\['recurrent_activation'\]: expected 'sigmoid', got 'hard_sigmoid'", hard)
        backwards = keras.layers.GRU(4, go_backwards=True, reset_after=reset_after)
        refuse(r"\['go_backwards'\]: expected False, got True", backwards)
        turned, straight = (
            keras.layers.GRU(4, go_backwards=way, reset_after=reset_after, return_sequences=True)
            for way in (True, False)
        )
        refuse(
            r"\['layer'\]\['go_backwards'\]: expected False",
            keras.layers.Bidirectional(turned, backward_layer=straight),
        )
    refuse(r"\['merge_mode'\]: expected 'concat', got 'sum'", keras.layers.Bidirectional(keras.layers.GRU(4), "sum"))
    refuse(r"\['class_name'\]: expected 'GRU', got 'LSTM'", keras.layers.Bidirectional(keras.layers.LSTM(4)))
    refuse(r"weights\[0\]: expected shape \(I, 3H\) = \(3, 12\), got \(3, 16\)", keras.layers.LSTM(4))
