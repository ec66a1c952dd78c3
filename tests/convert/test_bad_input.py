"""Weights and settings of other frameworks that rgru cannot represent: each is refused by name."""

import re

import numpy as np
import pytest

import rgru
from rgru.convert import keras, onnx
from rgru.convert.torch import from_state_dict, to_state_dict

I, H = 3, 4  # noqa: E741


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def refused(match, convert, layers, error=ValueError):
    with pytest.raises(error, match=match):
        convert(layers)


# -- PyTorch: a state dict ---------------------------------------------------------------------------------------------


def test_torch_arrays():
    whole = to_state_dict(rgru.GRU(I, H, 2, bidirectional=True, reset_after=True))
    for name in whole:
        left = {key: value for key, value in whole.items() if key != name}
        refused(rf"^state: expected .*got none of the name .*{name}", from_state_dict, left)
        shape = (*whole[name].shape[:-1], whole[name].shape[-1] + 1)
        refused(r"^(weight|bias|layers).*: expected", from_state_dict, whole | {name: zeros(*shape)})
        if name != "weight_ih_l0":  # the first one determines it
            other = whole | {name: whole[name].astype("float64")}
            refused(r"expected .*float32", from_state_dict, other, (TypeError, ValueError))
    refused("^weight_ih_l0: expected float32 or float64, got float16", from_state_dict, half(whole), TypeError)
    refused("^bias_ih_l1: expected an array", from_state_dict, whole | {"bias_ih_l1": None}, TypeError)
    refused("^state: expected the parameters of a plain GRU, got none", from_state_dict, {})
    for name in ("weight_hr_l0", "weight_ih_l0_orig", "weight_ih_l0_mask", "gru.weight_ih_l0", "weight_ih_l01", 1):
        refused(f"^state: expected .*got {name};", from_state_dict, whole | {name: zeros(1)})


def half(state):
    return {name: array.astype("float16") for name, array in state.items()}


def test_torch_arrays_of_an_lstm_or_a_plain_rnn():
    for gates in (1, 4):
        state = {"weight_ih_l0": zeros(gates * 3, I), "weight_hh_l0": zeros(gates * 3, 3)}
        refused(r"^weight_ih_l0: expected shape \(3H, I\) = \(9, 3\)", from_state_dict, state)


def test_the_cell_that_torch_lacks():
    with pytest.raises(ValueError, match=r"gru: expected reset_after=True.*got reset_after=False") as caught:
        rgru.GRU(I, H).to_torch()
    for way, arguments in re.findall(r"rgru\.convert\.(\w+\.\w+) \((\w+=\w+)\)", str(caught.value)):
        module, function = way.split(".")
        ((*_, settings),) = getattr({"onnx": onnx, "keras": keras}[module], function)(rgru.GRU(I, H))
        name, value = arguments.split("=")
        assert str(settings[name]) == value


# -- Keras: weights and configs ----------------------------------------------------------------------------------------


def keras_layer(reset_after=True, **config):
    bias = zeros(2, 3 * H) if reset_after else zeros(3 * H)
    return [zeros(I, 3 * H), zeros(H, 3 * H), bias], {"units": H, "reset_after": reset_after, **config}


def keras_pair(**config):
    weights, inner = keras_layer()
    return weights * 2, {"layer": {"class_name": "GRU", "config": inner}, **config}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"activation": "relu"}, r"\['activation'\]: expected 'tanh', got 'relu'"),
        ({"activation": {"class_name": "LeakyReLU"}}, r"\['activation'\]: expected 'tanh', got {'class_name'"),
        ({"recurrent_activation": "hard_sigmoid"}, r"\['recurrent_activation'\]: expected 'sigmoid'"),
        ({"go_backwards": True}, r"\['go_backwards'\]: expected False, got True: .*reverse x and y in time"),
        ({"units": 5}, r"weights\[0\]: expected shape \(I, 3H\) = \(3, 15\), got \(3, 12\)"),
    ],
)
@pytest.mark.parametrize("reset_after", [False, True])
def test_keras_settings(config, message, reset_after):
    refused(r"^layers\[0\]\..*" + message, keras.from_weights, [keras_layer(reset_after, **config)])


def test_keras_settings_of_other_types():
    refused(r"\['reset_after'\]: expected True", keras.from_weights, [keras_layer(reset_after=1)], TypeError)
    refused(r"\['use_bias'\]: expected True", keras.from_weights, [keras_layer(use_bias=None)], TypeError)
    refused(r"\['units'\]: expected an integer", keras.from_weights, [keras_layer(units=4.0)], TypeError)
    weights, _ = keras_layer()
    refused(r"config: expected a dict.*got bool", keras.from_weights, [(weights, True)], TypeError)
    refused(r"config: expected the config of a GRU.*got name", keras.from_weights, [(weights, {"name": "dense"})])
    refused(r"layers\[0\]: expected \(weights, config\), got tuple of 1", keras.from_weights, [(weights,)], TypeError)
    refused(r"layers: expected a list", keras.from_weights, weights[0], TypeError)
    refused(r"layers: expected at least one", keras.from_weights, [])


def test_keras_bidirectional():
    assert keras.from_weights([keras_pair()]).bidirectional
    refused(r"\['merge_mode'\]: expected 'concat', got 'sum'", keras.from_weights, [keras_pair(merge_mode="sum")])
    refused(r"\['merge_mode'\]: expected 'concat', got None", keras.from_weights, [keras_pair(merge_mode=None)])
    pair = keras_pair(layer={"class_name": "GRU"})
    refused(r"\['layer'\]\['config'\]: expected a dict, got None", keras.from_weights, [pair])

    def refuse(match, class_name="GRU", **config):
        backward = {"class_name": class_name, "config": keras_layer(**config)[1]}
        refused(rf"\['backward_layer'\]{match}", keras.from_weights, [keras_pair(backward_layer=backward)])

    refuse(r"\['class_name'\]: expected 'GRU', got 'LSTM'", class_name="LSTM")
    refuse(r"\['go_backwards'\]: expected True, got False")
    refuse(r"\['reset_after'\]: expected True, got False", reset_after=False, go_backwards=True)
    weights, config = keras_pair()
    refused(r"weights: expected 6 arrays, got 3", keras.from_weights, [(weights[:3], config)])


def test_keras_weights():
    (kernel, recurrent, bias), config = keras_layer()
    for weights, message in (
        ([kernel[0], recurrent, bias], r"weights\[0\]: expected 2 dimensions \(I, 3H\).*\(12,\)"),
        ([zeros(I, 13), recurrent, bias], r"weights\[0\]: expected shape .*\(3, 12\), got \(3, 13\)"),
        ([kernel, zeros(H, 13), bias], r"weights\[1\]: expected shape .*\(4, 12\), got \(4, 13\)"),
        ([kernel, recurrent, bias[0]], r"weights\[2\]: expected 2 dimensions.*\(12,\)"),
        ([kernel, recurrent, zeros(3, 12)], r"weights\[2\]: expected shape .*\(2, 12\), got \(3, 12\)"),
        ([kernel, recurrent], r"weights: expected 3 arrays, got 2"),
    ):
        refused(message, keras.from_weights, [(weights, config)])
    other = [kernel, recurrent, bias], config | {"reset_after": False}
    refused(r"weights\[2\]: expected 1 dimension", keras.from_weights, [other])
    double = [kernel, recurrent.astype("float64"), bias], config
    refused(r"weights\[1\]: expected float32, got float64", keras.from_weights, [double], TypeError)


# -- ONNX: arrays and attributes ---------------------------------------------------------------------------------------


def onnx_node(directions=1, **attributes):
    return zeros(directions, 3 * H, I), zeros(directions, 3 * H, H), zeros(directions, 6 * H), attributes


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"direction": "reverse"}, r"\['direction'\]: expected .*got 'reverse': convert it as 'forward'"),
        ({"direction": b"reverse"}, r"\['direction'\]: expected .*got 'reverse'"),
        ({"direction": "up"}, r"\['direction'\]: expected .*got 'up'"),
        ({"activations": [b"Sigmoid", b"Relu"]}, r"\['activations'\]: expected \['Sigmoid', 'Tanh'\].*'Relu'"),
        ({"activations": ["Tanh", "Sigmoid"]}, r"\['activations'\]: expected \['Sigmoid', 'Tanh'\]"),
        ({"activations": ["Sigmoid", "Tanh"] * 2}, r"\['activations'\]: expected \['Sigmoid', 'Tanh'\]"),
        ({"activation_alpha": [0.5]}, r"\['activation_alpha'\]: expected \[\], got \[0.5\]"),
        ({"activation_beta": np.ones(1)}, r"\['activation_beta'\]: expected \[\], got \["),
        ({"clip": 5.0}, r"\['clip'\]: expected None, got 5.0"),
        ({"layout": 2}, r"\['layout'\]: expected an integer from 0 to 1, got 2"),
        ({"linear_before_reset": 2}, r"\['linear_before_reset'\]: expected an integer from 0 to 1, got 2"),
        ({"hidden_size": 5}, r"W: expected shape \(D, 3H, I\) = \(1, 15, 3\), got \(1, 12, 3\)"),
        ({"input_forget": 1}, r"attributes: expected those of the operator GRU.*got 'input_forget'"),
        ({"direction": "bidirectional"}, r"W: expected shape .*\(2, 12, 3\), got \(1, 12, 3\)"),
    ],
)
def test_onnx_attributes(attributes, message):
    refused(r"^nodes\[0\]\..*" + message, onnx.from_arrays, [onnx_node(**attributes)])


def test_onnx_attributes_that_are_the_defaults():
    explicit = {"activations": [b"Sigmoid", b"Tanh"], "direction": b"forward", "hidden_size": 4, "layout": 1}
    assert repr(onnx.from_arrays([onnx_node(**explicit)])) == repr(onnx.from_arrays([onnx_node()])) == "GRU(3, 4)"
    both = onnx_node(2, direction="bidirectional", activations=["Sigmoid", "Tanh"] * 2, linear_before_reset=1)
    assert repr(onnx.from_arrays([both])) == "GRU(3, 4, bidirectional=True, reset_after=True)"


def test_onnx_arrays():
    W, R, B, attributes = onnx_node()
    for arrays, message in (
        ((W[0], R, B), r"W: expected 3 dimensions .*\(12, 3\)"),
        ((zeros(2, 12, 3), R, B), r"W: expected shape .*\(1, 12, 3\), got \(2, 12, 3\)"),
        ((zeros(1, 13, 3), R, None), r"W: expected shape .*\(1, 12, 3\), got \(1, 13, 3\)"),
        ((W, zeros(2, 12, 4), B), r"R: expected shape .*\(1, 12, 4\), got \(2, 12, 4\)"),
        ((W, R, zeros(2, 24)), r"B: expected shape .*\(1, 24\), got \(2, 24\)"),
        ((W, R, zeros(1, 12)), r"B: expected shape .*\(1, 24\), got \(1, 12\)"),
    ):
        refused(r"^nodes\[0\]\." + message, onnx.from_arrays, [(*arrays, attributes)])
    half = [array.astype("float16") for array in (W, R, B)]
    refused(r"W: expected float32 or float64, got float16", onnx.from_arrays, [(*half, {})], TypeError)
    refused(r"attributes: expected a dict", onnx.from_arrays, [(W, R, B, 0)], TypeError)
    refused(r"nodes\[0\]: expected \(W, R, B, attributes\)", onnx.from_arrays, [(W, R, B)], TypeError)


# -- several layers ----------------------------------------------------------------------------------------------------


def test_layers_of_incompatible_sizes():
    first = onnx_node()
    one = zeros(1, 12, H), zeros(1, 12, H)
    assert onnx.from_arrays([first, (*one, None, {})]).num_layers == 2  # zeros for the missing biases
    other_cell = (*one, None, {"linear_before_reset": 1})
    refused(r"^nodes\[1\].*\['linear_before_reset'\]: expected 0, got 1", onnx.from_arrays, [first, other_cell])
    refused(r"^nodes\[1\]: expected .*4 features.*got .*3 features", onnx.from_arrays, [first, first])
    wider = zeros(1, 15, H), zeros(1, 15, 5), None, {}
    refused(r"^nodes\[1\]: expected .*4 units.*got .*5 units", onnx.from_arrays, [first, wider])
    both = zeros(2, 12, H), zeros(2, 12, H), None, {"direction": "bidirectional"}
    refused(r"^nodes\[1\]: expected 1 direction.*got 2 direction", onnx.from_arrays, [first, both])
    double = *(array.astype("float64") for array in one), None, {}
    refused(r"^nodes\[1\]: expected .*float32, got .*float64", onnx.from_arrays, [first, double])
    other = [zeros(H, 12), zeros(H, 12), zeros(12)], {"units": H, "reset_after": False}
    refused(r"^layers\[1\].*\['reset_after'\]: expected True, got False", keras.from_weights, [keras_layer(), other])


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_several_layers_survive_a_round_trip(reset_after, bidirectional, bias):
    kind = {"reset_after": reset_after, "bidirectional": bidirectional, "bias": bias}
    gru = rgru.GRU(I, H, 3, seed=0, dtype="float64", **kind)
    random = np.random.default_rng(0)
    gru.params.update({name: random.normal(size=array.shape) for name, array in gru.params.items()})
    for again in (onnx.from_arrays(onnx.to_arrays(gru)), keras.from_weights(keras.to_weights(gru))):
        assert repr(again) == repr(gru)
        assert np.array_equal(again.params.flat, gru.params.flat)
