"""Whole models that rgru writes: ONNX Runtime and OpenVINO compute the same, and `from_onnx` restores the layers."""

import numpy as np
import pytest

import rgru
from rgru.model import Activation, Dropout, LayerNorm, Linear, Pool

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.peers

# ONNX has attributes in float32: these numbers are exact there.
ACTIVATIONS = (
    "tanh", "relu", "sigmoid", "softsign", "softmax", "silu",
    ("elu", 0.75), ("hard_sigmoid", 0.25, 0.375), ("leaky_relu", 0.125), ("clip", -0.25, 0.125), ("clip", None, 0.125),
)  # fmt: skip


def layers_of(name, dtype):
    """The layers of each case; the options of a GRU alone are the subject of `test_to_onnx.py`."""
    given = {"dtype": dtype}
    return {
        "every step": [rgru.GRU(3, 5, seed=0, **given), Linear(5, 2, seed=1, **given)],
        "last state": [
            Linear(3, 4, bias=False, seed=1, **given),
            rgru.GRU(4, 5, 2, bidirectional=True, reset_after=True, seed=0, **given),
            Pool("last"),
            Linear(10, 2, seed=1, **given),
        ],
        "merged state": [rgru.GRU(3, 5, bidirectional=True, merge="mean", seed=0, **given), Pool("last")],
        "learned states": [rgru.GRU(3, 5, learned_h0=True, seed=0, **given), Pool("last"), Linear(5, 2, **given)],
        "mean": [
            LayerNorm(3, epsilon=2**-17, **given),
            rgru.GRU(3, 5, seed=0, **given),
            LayerNorm(5, epsilon=2**-10, **given),
            rgru.GRU(5, 6, reverse=True, seed=1, **given),
            Pool("mean"),
            Dropout(0.3),
        ],
        "max of ids": [
            rgru.GRU(1, 5, vocabulary=9, embedding_size=4, seed=0, **given),
            Pool("max"),
            Activation("tanh"),
        ],
        "ids beside others": [rgru.GRU(3, 5, vocabulary=9, embedding_size=4, seed=0, **given), Linear(5, 2, **given)],
        **{
            f"{one}": [rgru.GRU(3, 5, seed=0, **given), Linear(5, 4, seed=1, **given), Activation(one)]
            for one in ACTIVATIONS
        },
        "linear": [rgru.GRU(3, 5, seed=0, **given), Activation("linear"), Pool("mean")],
    }[name]


CASES = (
    "every step", "last state", "merged state", "learned states", "mean", "max of ids", "ids beside others",
    *map(str, ACTIVATIONS), "linear",
)  # fmt: skip


def drawn(name, dtype="float32"):
    """A model whose parameters, biases and gains included, are all drawn."""
    model, random = rgru.Model(layers_of(name, dtype)), np.random.default_rng(1)
    for array in model._host_parameters():
        array[...] = random.uniform(-0.8, 0.8, array.shape)
    model._changed()
    return model


def inputs(model, shape):
    random = np.random.default_rng(2)
    vocabulary = getattr(model.layers[0], "vocabulary", None)
    if vocabulary is not None and model.input_size == 1:
        return random.integers(0, vocabulary, shape)
    x = random.standard_normal((*shape, model.input_size)).astype(model.dtype)
    if vocabulary is not None:
        x[..., 0] = random.integers(0, vocabulary, shape)
    return x


def assert_close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime(tmp_path, name):
    runtime = pytest.importorskip("onnxruntime")
    model = drawn(name)
    model.to_onnx(tmp_path / "plain.onnx")
    model.to_onnx(tmp_path / "padded.onnx", lengths=True)
    for path in tmp_path.iterdir():
        onnx.checker.check_model(path, full_check=True)
    plain, padded = (
        runtime.InferenceSession(tmp_path / f"{one}.onnx", providers=["CPUExecutionProvider"])
        for one in ("plain", "padded")
    )
    for shape in ((4, 9), (1, 1), (2, 30)):
        x = inputs(model, shape)
        assert_close(plain.run(None, {"x": x})[0], model(x))
        lengths = np.random.default_rng(3).integers(1, shape[1] + 1, shape[0]).astype(np.int32)
        assert_close(padded.run(None, {"x": x, "lengths": lengths})[0], model(x, lengths=lengths))


@pytest.mark.parametrize("name", ["every step", "mean", "max of ids"])
def test_sequences_without_steps(tmp_path, name):
    """Padding is 0, the mean and the maximum of no steps, too."""
    runtime = pytest.importorskip("onnxruntime")
    model, path = drawn(name), tmp_path / "model.onnx"
    model.to_onnx(path, lengths=True)
    x, lengths = inputs(model, (3, 4)), np.array([2, 0, 4], np.int32)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert_close(session.run(None, {"x": x, "lengths": lengths})[0], model(x, lengths=lengths))


@pytest.mark.filterwarnings("ignore")  # OpenVINO's own deprecations
@pytest.mark.parametrize("name", ["every step", "last state", "mean", "max of ids", "silu"])
def test_openvino(tmp_path, name):
    openvino = pytest.importorskip("openvino")
    model, path = drawn(name), tmp_path / "model.onnx"
    model.to_onnx(path)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = inputs(model, (4, 9))
    assert_close(compiled({"x": x})["y"], model(x))


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(tmp_path, name):
    """The same bits: conversion moves numbers and changes signs. Dropout and linear activations are not in the file."""
    model, path = drawn(name), tmp_path / "model.onnx"
    model.to_onnx(path)
    if name in ("ids beside others", "merged state"):
        with pytest.raises(ValueError, match="expected layers in a row"):
            rgru.from_onnx(path)
        return
    back = rgru.from_onnx(path)
    kept = [one for one in model.layers if not (isinstance(one, Dropout) or repr(one) == "Activation('linear')")]
    assert list(map(repr, back.layers)) == list(map(repr, kept))
    for x in (inputs(model, (4, 9)), inputs(model, (1, 1))):
        np.testing.assert_array_equal(back(x), model(x))


@pytest.mark.parametrize("name", ["every step", "mean"])
def test_float64_runs_in_the_reference_implementation(tmp_path, name):
    from onnx.reference import ReferenceEvaluator

    model, path = drawn(name, "float64"), tmp_path / "model.onnx"
    model.to_onnx(path)
    x = inputs(model, (3, 6))
    [found] = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})
    np.testing.assert_allclose(found, model(x), rtol=0, atol=1e-13)


def test_the_lowest_version_that_has_the_operators(tmp_path):
    for name, versions in (("every step", (7, 13)), ("mean", (8, 17))):
        drawn(name).to_onnx(tmp_path / "model.onnx")
        found = onnx.load(tmp_path / "model.onnx")
        assert (found.ir_version, found.opset_import[0].version) == versions


def test_errors_leave_no_file(tmp_path):
    model = rgru.Model([rgru.GRU(3, 5), rgru.GRU(5, 5, zoneout=0.1), Pool("mean")])
    with pytest.raises(ValueError, match=r"gru: expected zoneout=0\.0, since ONNX has no such option"):
        model.to_onnx(tmp_path / "model.onnx")
    with pytest.raises(TypeError, match="lengths: expected True or False, got 1"):
        model.to_onnx(tmp_path / "model.onnx", lengths=1)
    assert not list(tmp_path.iterdir())
