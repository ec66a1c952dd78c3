"""Live comparison with PyTorch and ONNX Runtime, on random sizes; the golden files hold the fixed cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rgru

pytestmark = pytest.mark.peers


def close(got: Any, expected: Any, tolerance: float) -> None:
    """Largest difference within `tolerance`, relative to the largest magnitude or 1."""
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

    y, h_n, tape = gru.forward(x, h0, lengths=lengths)
    grads = tape.backward(dy, dh_n)
    close(y, expected_y.detach(), tolerance)
    close(h_n, expected_h_n.detach(), tolerance)
    close(grads.x, leaf.grad, tolerance)
    close(grads.h0, leaf_h0.grad, tolerance)
    for layer in range(layers):
        for direction, suffix in (("fwd", ""), ("rev", "_reverse"))[: 1 + bidirectional]:
            for ours, theirs in (("W", "weight_ih"), ("U", "weight_hh")):
                expected = getattr(module, f"{theirs}_l{layer}{suffix}").grad.numpy().copy()
                expected[hidden : 2 * hidden] *= -1  # z multiplies the candidate here, the old state there
                close(grads.params[f"layers.{layer}.{direction}.{ours}"], expected, tolerance)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("seed", range(4))
def test_onnxruntime_outputs(linear_before_reset: int, direction: str, seed: int) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from rgru.convert.onnx import params_from_onnx

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

    gru = rgru.GRU(inputs, hidden, bidirectional=directions == 2, reset_after=bool(linear_before_reset))
    gru.params.update(params_from_onnx(**weights, linear_before_reset=linear_before_reset))
    y, h_n = gru(np.swapaxes(feeds["X"], 0, 1), feeds["h0"], lengths=feeds["lengths"])
    close(y, expected_y.transpose(2, 0, 1, 3).reshape(y.shape), 5e-6)
    close(h_n, expected_h_n, 5e-6)
