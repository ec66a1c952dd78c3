"""Models that rgru writes: ONNX Runtime and OpenVINO compute the same, and `from_onnx` restores the parameters."""

import numpy as np
import pytest

import rgru

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.peers

from rgru.convert.onnx import to_onnx  # noqa: E402

OPTIONS = {
    "plain": {},
    "reset_after": {"reset_after": True},
    "no bias": {"bias": False},
    "stack": {"num_layers": 3, "reset_after": True},
    "bidirectional": {"bidirectional": True, "num_layers": 2},
    "bidirectional after": {"bidirectional": True, "num_layers": 2, "reset_after": True, "bias": False},
    "reverse": {"reverse": True, "num_layers": 2},
    "learned_h0": {"learned_h0": True, "num_layers": 2, "bidirectional": True},
    "sum": {"bidirectional": True, "num_layers": 2, "merge": "sum"},
    "mean": {"bidirectional": True, "num_layers": 2, "merge": "mean"},
    "product": {"bidirectional": True, "merge": "product", "reset_after": True},
    "activations": {"activation": "relu"},
    "ids": {"vocabulary": 9, "embedding_size": 3},
    "recurrent_dropout": {"recurrent_dropout": 0.5},
}
CLIPPED = {"clip": {"clip": 0.7, "gate_activation": ("hard_sigmoid", 0.2, 0.5), "activation": ("elu", 0.5)}}


def drawn(dtype="float32", **options):
    """A GRU whose parameters, biases and initial states included, are all drawn."""
    gru = rgru.GRU(1 if "vocabulary" in options else 3, 5, dtype=dtype, seed=0, **options)
    random = np.random.default_rng(1)
    gru.params.update({name: random.uniform(-0.6, 0.6, one.shape).astype(dtype) for name, one in gru.params.items()})
    return gru


def inputs(gru, *, lengths, h0, shape=(4, 9), seed=2):
    """Inputs of a model and of the GRU, of a size that the file does not know."""
    random = np.random.default_rng(seed)
    ids = gru.vocabulary is not None and gru.input_size == 1
    x = random.standard_normal((*shape, gru.input_size)).astype(gru.dtype)
    found = {"x": random.integers(0, gru.vocabulary, shape) if ids else x}
    if lengths:
        found["lengths"] = random.integers(1, shape[1] + 1, shape[0]).astype(np.int32)
    if h0:
        states = gru.num_layers * (1 + gru.bidirectional), shape[0], gru.hidden_size
        found["h0"] = random.uniform(-1, 1, states).astype(gru.dtype)
    return found


def assert_close(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("with_inputs", [False, True], ids=["x", "x, lengths, h0"])
@pytest.mark.parametrize("name", [*OPTIONS, *CLIPPED])
def test_onnxruntime(tmp_path, name, with_inputs):
    runtime = pytest.importorskip("onnxruntime")
    gru = drawn(**(OPTIONS | CLIPPED)[name])
    path = tmp_path / "gru.onnx"
    gru.to_onnx(path, lengths=with_inputs, h0=with_inputs)
    onnx.checker.check_model(path, full_check=True)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for shape in ((4, 9), (1, 1), (2, 30)):
        given = inputs(gru, lengths=with_inputs, h0=with_inputs, shape=shape)
        x, *_ = given.values()
        options = {key: one for key, one in given.items() if key != "x"}
        assert_close(session.run(["y", "h_n"], given), gru(x, **options))


@pytest.mark.filterwarnings("ignore")  # OpenVINO's own deprecations
@pytest.mark.parametrize("with_inputs", [False, True], ids=["x", "x, lengths, h0"])
@pytest.mark.parametrize("name", [*OPTIONS])
def test_openvino(tmp_path, name, with_inputs):
    """With lengths its shapes have to be fixed: where they are open, it ignores lengths without a word."""
    openvino = pytest.importorskip("openvino")
    gru = drawn(**OPTIONS[name])
    path = tmp_path / "gru.onnx"
    gru.to_onnx(path, lengths=with_inputs, h0=with_inputs)
    given = inputs(gru, lengths=with_inputs, h0=with_inputs)
    model = openvino.Core().read_model(path)
    if with_inputs:
        model.reshape({key: one.shape for key, one in given.items()})
    found = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(given)
    x, *_ = given.values()
    expected = gru(x, **{key: one for key, one in given.items() if key != "x"})
    assert_close([found["y"], found["h_n"]], expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["plain", "reset_after", "no bias", "stack", "bidirectional", "reverse", "learned_h0"])
def test_there_and_back(tmp_path, name, dtype):
    """The same bits: conversion moves numbers and changes signs."""
    gru = drawn(dtype, **OPTIONS[name])
    to_onnx(gru, tmp_path / "gru.onnx")
    back = rgru.from_onnx(tmp_path / "gru.onnx")
    assert repr(back) == repr(gru)
    assert np.array_equal(back.params.flat, gru.params.flat)


def test_ids_beside_other_features(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    gru = rgru.GRU(3, 5, vocabulary=9, embedding_size=4, seed=0)
    gru.to_onnx(tmp_path / "gru.onnx")
    x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)
    x[..., 0] = np.random.default_rng(1).integers(0, 9, (4, 6))
    session = runtime.InferenceSession(tmp_path / "gru.onnx", providers=["CPUExecutionProvider"])
    assert_close(session.run(None, {"x": x}), gru(x))


def test_the_file_is_for_older_runtimes_and_has_the_same_bytes_again(tmp_path):
    for name in "ab":
        drawn(num_layers=2).to_onnx(tmp_path / name)
    model = onnx.load(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (model.ir_version, model.opset_import[0].version, model.producer_name) == (7, 13, "rgru")


def test_float64_runs_in_the_reference_implementation(tmp_path):
    """ONNX Runtime has no GRU in float64."""
    from onnx.reference import ReferenceEvaluator

    gru = drawn("float64", reset_after=True)
    gru.to_onnx(tmp_path / "gru.onnx")
    x = np.random.default_rng(0).standard_normal((3, 6, 3))
    y, h_n = ReferenceEvaluator(onnx.load(tmp_path / "gru.onnx")).run(None, {"x": x})
    np.testing.assert_allclose(y, gru(x)[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(h_n, gru(x)[1], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "options", [{"state_clip": 1.0}, {"zoneout": 0.1}, {"layer_norm": "sum", "reset_after": True}], ids=str
)
def test_options_that_onnx_lacks_are_named(tmp_path, options):
    [name, *_] = options
    with pytest.raises(ValueError, match=rf"gru: expected {name}=.*, since ONNX has no such option"):
        rgru.GRU(3, 5, **options).to_onnx(tmp_path / "gru.onnx")
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path):
    with pytest.raises(TypeError, match="lengths: expected True or False, got 1"):
        rgru.GRU(3, 5).to_onnx(tmp_path / "gru.onnx", lengths=1)
    with pytest.raises(TypeError, match="h0: expected True or False"):
        rgru.GRU(3, 5).to_onnx(tmp_path / "gru.onnx", h0=np.zeros(3))
    gates = rgru.GRU(3, 5, gate_activation=("hard_sigmoid", 0.2, 0.4))
    with pytest.raises(ValueError, match=r"gru\.gate_activation: beta of the gates' hard sigmoid: expected 0\.5"):
        gates.to_onnx(tmp_path / "gru.onnx")
    with pytest.raises(FileNotFoundError):
        rgru.GRU(3, 5).to_onnx(tmp_path / "no" / "gru.onnx")
