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
        ({"activation": "gelu"}, r"\['activation'\]: expected one of 'tanh', .*got 'gelu'"),
        ({"activation": {"class_name": "LeakyReLU"}}, r"\['activation'\]: expected one of .*got {'class_name'"),
        ({"recurrent_activation": "tanh"}, r"\['recurrent_activation'\]: expected one of 'sigmoid', .*got 'tanh'"),
        ({"recurrent_activation": None}, r"\['recurrent_activation'\]: expected one of 'sigmoid', .*got 'linear'"),
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
    for merge_mode in (None, "mean"):
        match = rf"\['merge_mode'\]: expected one of 'concat', 'sum', 'ave', 'mul', got {merge_mode!r}"
        refused(match, keras.from_weights, [keras_pair(merge_mode=merge_mode)])
    pair = keras_pair(layer={"class_name": "GRU"})
    refused(r"\['layer'\]\['config'\]: expected a dict, got None", keras.from_weights, [pair])

    def refuse(match, class_name="GRU", **config):
        backward = {"class_name": class_name, "config": keras_layer(**config)[1]}
        refused(rf"\['backward_layer'\]{match}", keras.from_weights, [keras_pair(backward_layer=backward)])

    refuse(r"\['class_name'\]: expected 'GRU', got 'LSTM'", class_name="LSTM")
    refuse(r"\['go_backwards'\]: expected True, got False")
    refuse(r"\['reset_after'\]: expected True, got False", reset_after=False, go_backwards=True)
    backward = {"class_name": "GRU", "config": keras_layer(go_backwards=True, activation="relu")[1]}
    message = r"config: activation of the backward layer: expected 'tanh', got 'relu'"
    refused(message, keras.from_weights, [keras_pair(backward_layer=backward)])
    weights, config = keras_pair()
    refused(r"weights: expected 6 arrays, got 3", keras.from_weights, [(weights[:3], config)])


@pytest.mark.parametrize("key", ["activation", "recurrent_activation"])
def test_keras_hard_sigmoid_needs_a_version(key):
    """Its slope differs between the versions, and nothing in the settings or weights shows it."""
    layer = keras_layer(**{key: "hard_sigmoid"})
    refused(rf"^version: expected 2 or 3 for .*\['{key}'\].*got None", keras.from_weights, [layer])
    for version in (1, 4):
        with pytest.raises(ValueError, match=f"^version: expected an integer from 2 to 3, got {version}"):
            keras.from_weights([layer], version=version)
        with pytest.raises(ValueError, match=f"^version: expected an integer from 2 to 3, got {version}"):
            keras.to_weights(rgru.GRU(I, H), version=version)


def test_keras_layers_that_differ():
    def pair(**config):
        second = [zeros(H, 3 * H), zeros(H, 3 * H), zeros(2, 3 * H)], {"units": H, "reset_after": True, **config}
        return [keras_layer(), second]

    for config, option in (
        ({"activation": "relu"}, "activation: expected 'tanh', got 'relu'"),
        ({"recurrent_activation": "hard_sigmoid"}, r"gate_activation: expected 'sigmoid', got \('hard_sigmoid', 0.2"),
        ({"go_backwards": True}, "reverse: expected False, got True"),
    ):
        with pytest.raises(ValueError, match=rf"^layers\[1\]\.config: {option}"):
            keras.from_weights(pair(**config), version=2)
    merged = keras_pair(merge_mode="sum")
    other = [zeros(H, 3 * H), zeros(H, 3 * H), zeros(2, 3 * H)] * 2, keras_pair(merge_mode="mul")[1]
    refused(r"^layers\[1\]\.config: merge: expected 'sum', got 'product'", keras.from_weights, [merged, other])


def test_keras_stacks_of_go_backwards():
    """Keras returns the outputs of such a layer in reverse, and a layer above would read them from there."""
    backwards = [keras_layer(go_backwards=True), keras_layer(go_backwards=True)]
    refused(r"\['go_backwards'\]: expected False, got True.*reversed outputs", keras.from_weights, backwards)
    gru = rgru.GRU(I, H, 2, reverse=True)
    refused(r"^gru\.reverse: expected False, got True.*reversed outputs", keras.to_weights, gru)


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


HARD, AFFINE = ({"activations": names} for names in (["HardSigmoid", "Tanh"], ["Sigmoid", "Affine"]))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"direction": "up"}, r"\['direction'\]: expected one of 'forward', 'reverse', .*got 'up'"),
        ({"activations": [b"Sigmoid", b"ScaledTanh"]}, r"\['activations'\]: expected one of .*got 'ScaledTanh'"),
        ({"activations": ["Tanh", "Sigmoid"]}, r"\['activations'\]: expected one of 'sigmoid', .*got 'tanh'"),
        ({"activations": ["Sigmoid", "Tanh"] * 2}, r"\['activations'\]: expected 2 names, got \['Sigmoid', 'Tanh', "),
        ({"activations": "Relu"}, r"\['activations'\]: expected 2 names, got 'Relu'"),
        ({"activation_alpha": [0.5]}, r"\['activation_alpha'\]: .*expected \[\], got \[0.5\]"),
        ({"activation_beta": np.ones(1)}, r"\['activation_beta'\]: .*expected \[\], got \["),
        (HARD | {"activation_alpha": [0.2, 0.3]}, r"\['activation_alpha'\]: .*expected \[\], got \[0.3\]"),
        (HARD | {"activation_beta": [0.25]}, r"beta of the gates' hard sigmoid: expected 0.5, got 0.25"),
        (
            HARD | {"activation_alpha": [-0.2]},
            r"\['activations'\]: expected a float64 above 0 as alpha, got -0.2",
        ),
        (
            {"activations": ["Sigmoid", "Affine"], "activation_alpha": [2.0]},
            r"Affine: expected \[1.0, 0.0\], got \[2.0",
        ),
        ({"clip": -5.0}, r"\['clip'\]: expected a float64 above 0 or None, got -5.0"),
        ({"layout": 2}, r"\['layout'\]: expected an integer from 0 to 1, got 2"),
        ({"linear_before_reset": 2}, r"\['linear_before_reset'\]: expected an integer from 0 to 1, got 2"),
        ({"hidden_size": 5}, r"W: expected shape \(D, 3H, I\) = \(1, 15, 3\), got \(1, 12, 3\)"),
        ({"input_forget": 1}, r"attributes: expected those of the operator GRU.*got 'input_forget'"),
        ({"direction": "bidirectional"}, r"W: expected shape .*\(2, 12, 3\), got \(1, 12, 3\)"),
    ],
)
def test_onnx_attributes(attributes, message):
    refused(r"^nodes\[0\]\..*" + message, onnx.from_arrays, [onnx_node(**attributes)])


def test_onnx_directions_and_layers_that_differ():
    names = ["Sigmoid", "Tanh", "Sigmoid", "Relu"]
    both = onnx_node(2, direction="bidirectional", activations=names)
    refused(r"\['activations'\] of the reverse direction: expected .*'tanh'.*got .*'relu'", onnx.from_arrays, [both])
    slopes = {"activations": ["HardSigmoid", "Tanh"] * 2, "activation_alpha": [0.2, 0.3]}
    both = onnx_node(2, direction="bidirectional", **slopes)
    refused(r"of the reverse direction: expected .*0\.2.*got .*0\.3", onnx.from_arrays, [both])
    above = zeros(1, 3 * H, H), zeros(1, 3 * H, H), None
    for attributes, option in (
        ({"clip": 3.0}, "clip: expected None, got 3.0"),
        ({"direction": "reverse"}, "reverse: expected False, got True"),
        ({"activations": ["Sigmoid", "Softsign"]}, "activation: expected 'tanh', got 'softsign'"),
    ):
        refused(rf"^nodes\[1\]\.attributes: {option}", onnx.from_arrays, [onnx_node(), (*above, attributes)])


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


# -- options of rgru that others lack ----------------------------------------------------------------------------------


HARD_SIGMOID = ("hard_sigmoid", 0.25, 0.5)


@pytest.mark.parametrize(
    ("options", "lacking"),
    [
        ({"state_clip": 2.0}, {"torch.nn.GRU", "the operator GRU", "a Keras GRU"}),
        ({"learned_h0": True}, {"torch.nn.GRU", "the operator GRU", "a Keras GRU"}),
        ({"clip": 2.0}, {"torch.nn.GRU", "a Keras GRU"}),
        ({"reverse": True}, {"torch.nn.GRU"}),
        ({"activation": "relu"}, {"torch.nn.GRU"}),
        ({"gate_activation": ("hard_sigmoid", 0.2, 0.5)}, {"torch.nn.GRU"}),
        ({"bidirectional": True, "merge": "mean"}, {"torch.nn.GRU", "the operator GRU"}),
        ({"vocabulary": 9, "embedding_size": 5}, {"torch.nn.GRU", "the operator GRU", "a Keras GRU"}),
    ],
)
def test_options_that_the_other_side_lacks(options, lacking):
    """An export without the option would compute other outputs."""
    gru = rgru.GRU(I, H, reset_after=True, **options)
    name, value = next((name, value) for name, value in options.items() if name != "bidirectional")
    for form, export in (
        ("torch.nn.GRU", to_state_dict),
        ("the operator GRU", onnx.to_arrays),
        ("a Keras GRU", lambda gru: keras.to_weights(gru, version=2)),
    ):
        if form in lacking:
            expected = re.escape(f"since {form} has no such option, got {value!r}")
            refused(f"^gru: expected {name}=.*{expected}", export, gru)
        else:
            assert export(gru)


def test_parameters_of_activations_that_the_other_side_lacks():
    for version, known in ((2, "0.2"), (3, "0.16666")):
        for option in ("gate_activation", "activation"):
            gru = rgru.GRU(I, H, **{option: HARD_SIGMOID})
            message = rf"^gru\.{option}: parameters of hard_sigmoid: expected \[{known}.*got \[0.25, 0.5\]"
            with pytest.raises(ValueError, match=message):
                keras.to_weights(gru, version=version)
    message = r"^gru\.activation: parameters of elu: expected \[1.0\], got \[0.5\]"
    refused(message, keras.to_weights, rgru.GRU(I, H, activation=("elu", 0.5)))
    skewed = rgru.GRU(I, H, gate_activation=("hard_sigmoid", 0.2, 0.25))
    message = r"^gru\.gate_activation: beta of the gates' hard sigmoid: expected 0.5, got 0.25"
    refused(message, onnx.to_arrays, skewed)
    refused(r"^gru\.gate_activation: parameters of hard_sigmoid: .*got \[0.2, 0.25\]", keras.to_weights, skewed)


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


def test_slopes_that_onnx_rounds_are_those_of_keras():
    """The attributes of a file have the type float32; so has the cell, whose function is the same."""
    for version, slope in ((2, 0.2), (3, 1 / 6)):
        for dtype in ("float32", "float64"):
            rounded = "hard_sigmoid", float(np.float32(slope)), 0.5
            gru = rgru.GRU(I, H, gate_activation=rounded, dtype=dtype)
            if dtype == "float64":
                with pytest.raises(ValueError, match=r"^gru\.gate_activation: parameters of hard_sigmoid"):
                    keras.to_weights(gru, version=version)
            else:
                [(_, config)] = keras.to_weights(gru, version=version)
                assert config["recurrent_activation"] == "hard_sigmoid"


KERAS_2 = {"gate_activation": ("hard_sigmoid", 0.2, 0.5), "bidirectional": True}


@pytest.mark.parametrize(
    ("options", "ways"),
    [
        (KERAS_2 | {"num_layers": 2, "activation": "softsign"}, "onnx keras2"),
        ({"gate_activation": ("hard_sigmoid", 1 / 6, 0.5), "activation": "linear", "reverse": True}, "onnx keras3"),
        ({"activation": ("hard_sigmoid", 0.2, 0.5), "bidirectional": True}, "onnx keras2"),
        ({"gate_activation": HARD_SIGMOID, "activation": ("elu", 0.5), "num_layers": 2, "reverse": True}, "onnx"),
        ({"activation": ("hard_sigmoid", 0.3, 0.4), "clip": 1.5, "bidirectional": True}, "onnx"),
        ({"activation": "relu", "clip": 0.75}, "onnx"),
        ({"activation": "elu", "bidirectional": True, "merge": "sum", "num_layers": 2}, "keras2 keras3"),
        ({"activation": "sigmoid", "bidirectional": True, "merge": "mean", "num_layers": 2}, "keras3"),
        (KERAS_2 | {"merge": "product"}, "keras2"),
    ],
)
@pytest.mark.parametrize("reset_after", [False, True])
def test_options_survive_a_round_trip(options, ways, reset_after):
    gru = rgru.GRU(I, H, reset_after=reset_after, seed=0, **options)
    for way in ways.split():
        if way == "onnx":
            again = onnx.from_arrays(onnx.to_arrays(gru))
        else:
            version = int(way[-1])
            again = keras.from_weights(keras.to_weights(gru, version=version), version=version)
        assert repr(again) == repr(gru)
        assert np.array_equal(again.params.flat, gru.params.flat)


@pytest.mark.parametrize("key", ["bogus", "class_name", "recurent_activation"])
def test_settings_that_keras_does_not_have_are_refused(key):
    weights = [np.zeros((3, 12)), np.zeros((4, 12)), np.zeros((2, 12))]
    with pytest.raises(ValueError, match=rf"layers\[0\]\.config: expected settings of a Keras GRU, got '{key}'"):
        rgru.convert.keras.from_weights([(weights, {"units": 4, key: "LSTM"})])
