"""What other frameworks computed (tests/goldens), against rgru with their parameters converted: outputs and gradients.

Bounds are relative to max(1, |value|), in the type's own epsilon, 2.2e-16 or 1.2e-7. The golden is rounded as much as
rgru is, and in another order, so that no bound below one epsilon would be honest. Outputs lie within 1 and are pulled
back to it at every step: found are 2.1 at most. Gradients are sums over all steps of all sequences: found are 18.5.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import rgru
from rgru.convert import keras, onnx
from rgru.convert.torch import from_state_dict, to_state_dict

FOLDER = Path(__file__).parents[1] / "goldens"
OUTPUT, GRADIENT = 4, 64  # epsilons


def files(framework):
    return [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob(f"{framework}_*.npz"))]


def opened(path):
    with np.load(path) as arrays:
        golden = dict(arrays)
    return golden, json.loads(str(golden.pop("config")))


def assert_close(found, expected, epsilons):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    error = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    assert error.max() <= epsilons * np.finfo(expected.dtype).eps


def assert_is(gru, config, **more):
    """Check the settings, which the conversion does not get, against the golden's."""
    names = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", "reset_after", "dtype")
    expected = rgru.GRU(**{name: config[name] for name in names if name in config}, **more)
    assert repr(gru) == repr(expected)


def assert_same_params(gru, other):
    assert repr(gru) == repr(other)
    assert np.array_equal(gru.params.flat, other.params.flat)


def test_no_golden_is_lost():
    for framework, count in (("torch", 10), ("keras", 4), ("onnx", 16)):
        assert len(files(framework)) == count


def in_our_order(rows, order):
    """Return stacked gates of a gradient as r, -z, h; written out here, so that the converter does not test itself."""
    third = len(rows) // 3
    gates = {gate: rows[i * third : (i + 1) * third] for i, gate in enumerate(order)}
    return np.concatenate([gates["r"], -gates["z"], gates["h"]])


@pytest.mark.parametrize("path", files("torch"))
def test_torch(path):
    golden, config = opened(path)
    state = {name[6:]: array for name, array in golden.items() if name.startswith("param.")}
    gru = from_state_dict(state)
    assert_is(gru, config)
    lengths = {"lengths": golden["lengths"]} if "lengths" in golden else {}
    y, h_n, tape = gru.record(golden["x"], golden["h0"], **lengths)
    gradients = tape.backward(golden["dy"], golden["dh_n"])
    assert_close(y, golden["y"], OUTPUT)
    assert_close(h_n, golden["h_n"], OUTPUT)
    assert_close(gradients.x, golden["dx"], GRADIENT)
    assert_close(gradients.h0, golden["dh0"], GRADIENT)
    checked = set()
    for k in range(config["num_layers"]):
        for suffix, direction in (("", "fwd"), ("_reverse", "rev")):
            for theirs, ours in (("weight_ih", "W"), ("weight_hh", "U"), ("bias_ih", "b"), ("bias_hh", "b_hh")):
                expected = golden.get(f"grad.{theirs}_l{k}{suffix}")
                if expected is None:
                    continue
                name = f"layers.{k}.{direction}.{ours}"
                expected = expected[-config["hidden_size"] :] if ours == "b_hh" else in_our_order(expected, "rzh")
                assert_close(gradients.params[name], expected, GRADIENT)
                checked.add(name)
    assert checked == set(gru.params)


@pytest.mark.parametrize("path", files("torch"))
def test_torch_parameters_survive_a_round_trip(path):
    """With the same bits, except the two biases of r and z, of which only the sum is kept."""
    golden, config = opened(path)
    state = {name[6:]: array for name, array in golden.items() if name.startswith("param.")}
    gru = from_state_dict(state)
    back = to_state_dict(gru)
    assert list(back) == list(state)
    hidden = config["hidden_size"]
    for name, array in state.items():
        assert back[name].dtype == array.dtype
        if name.startswith("weight"):
            assert np.array_equal(back[name], array)
        else:
            assert np.array_equal(back[name][2 * hidden :], array[2 * hidden :])
        if name.startswith("bias_ih"):
            both = array + state[name.replace("ih", "hh")]
            assert np.array_equal(back[name][: 2 * hidden], both[: 2 * hidden])
    assert_same_params(from_state_dict(back), gru)


@pytest.mark.parametrize("path", files("keras"))
def test_keras(path):
    golden, config = opened(path)
    weights = [golden[f"param.{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
    layer = {"units": config["hidden_size"], "reset_after": config["reset_after"]}
    gru = keras.from_weights([(weights, layer)])
    assert_is(gru, config)
    [(back, _)] = keras.to_weights(gru)
    assert [array.shape for array in back] == [array.shape for array in weights]
    assert_same_params(keras.from_weights(keras.to_weights(gru)), gru)
    y, h_n, tape = gru.record(golden["x"], golden["h0"][None])
    gradients = tape.backward(golden["dy"], golden["dh_n"][None])
    assert_close(y, golden["y"], OUTPUT)
    assert_close(h_n[0], golden["h_n"], OUTPUT)
    assert_close(gradients.x, golden["dx"], GRADIENT)
    assert_close(gradients.h0[0], golden["dh0"], GRADIENT)
    bias = golden["grad.bias"]
    expected = {
        "W": in_our_order(golden["grad.kernel"].T, "zrh"),
        "U": in_our_order(golden["grad.recurrent_kernel"].T, "zrh"),
        "b": in_our_order(bias[0] if config["reset_after"] else bias, "zrh"),
    }
    if config["reset_after"]:
        expected["b_hh"] = bias[1, -config["hidden_size"] :]
    assert len(expected) == len(gru.params)
    for name, gradient in expected.items():
        assert_close(gradients.params[f"layers.0.fwd.{name}"], gradient, GRADIENT)


@pytest.mark.parametrize("path", files("onnx"))
def test_onnx(path):
    golden, config = opened(path)
    attributes = {name: config[name] for name in ("hidden_size", "direction", "linear_before_reset")}
    weights = golden["W"], golden["R"], golden.get("B")
    gru = onnx.from_arrays([(*weights, attributes)])
    direction = config["direction"]
    assert_is(
        gru, config, bidirectional=direction == "bidirectional", reverse=direction == "reverse", bias="B" in golden
    )
    assert_same_params(onnx.from_arrays(onnx.to_arrays(gru)), gru)
    x = np.ascontiguousarray(golden["x"].transpose(1, 0, 2))  # (T, N, I) in ONNX
    lengths = golden.get("sequence_lens", np.full(len(x), x.shape[1]))
    y, h_n = gru(x, golden.get("initial_h"), lengths=lengths)
    expected = golden["Y"].transpose(2, 0, 1, 3).reshape(y.shape)  # (T, D, N, H) in ONNX
    assert_close(y, expected, OUTPUT)
    assert_close(h_n, golden["Y_h"], OUTPUT)
