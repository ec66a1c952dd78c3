"""`rgru.compare`: the verdict, and the places where models part."""

import copy

import numpy as np
import pytest

import rgru

X = np.random.default_rng(0).standard_normal((3, 6, 2)).astype(np.float32)


def gru(**options):
    return rgru.GRU(2, 4, seed=0, **options)


def test_equal_models():
    found = rgru.compare(gru(), gru(), X)
    assert found
    assert (found.largest, found.first, found.tolerance) == (0.0, None, 1e-5)
    assert str(found).startswith("the same function: the largest difference is 0 at sequence 0, step 0, feature 0")


def test_the_first_step_beyond_the_tolerance():
    """Sequence 2 parts at step 1, sequence 0 at step 3 and further: the first in time is named, and the largest."""

    def other(x):
        y = gru()(x)[0].copy()
        y[2, 1, 3] += 1e-3
        y[0, 3:, 1] -= 0.5
        y[1, 0, 0] += 1e-7
        return y

    found = rgru.compare(gru(), other, X)
    assert not found
    assert found.first == (2, 1, 3)
    assert found.at[0] == 0
    assert found.at[1] >= 3
    assert found.at[2] == 1
    assert found.largest == pytest.approx(0.5, abs=1e-6)
    assert found.values[0] - found.values[1] == pytest.approx(0.5, abs=1e-6)
    assert "the first beyond 1e-05 is at sequence 2, step 1, feature 3" in str(found)
    assert rgru.compare(gru(), other, X, tolerance=0.6)
    assert rgru.compare(gru(), other, X, tolerance=0.01).first == (0, 3, 1)


def test_the_two_cells_part():
    before, after = gru(), gru(reset_after=True)
    for model in (before, after):
        model.params["layers.0.fwd.b"] = np.linspace(-1, 1, 12).astype(np.float32)
    assert not rgru.compare(before, after, X)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number(value):
    one, two = np.zeros((1, 2, 1)), np.zeros((1, 2, 1))
    one[0, 1, 0] = value
    found = rgru.compare(lambda x: one, lambda x: two, X)
    assert (found.largest, found.at) == (np.inf, (0, 1, 0))
    assert rgru.compare(lambda x: one, lambda x: one.copy(), X)


def test_tolerances_follow_the_lower_precision():
    double = gru(dtype="float64")
    double.params.update({name: array.astype("float64") for name, array in gru().params.items()})
    assert rgru.compare(double, double, X.astype("float64")).tolerance == 1e-11
    found = rgru.compare(double, gru(), X)
    assert (bool(found), found.tolerance) == (True, 1e-5)


def test_outputs_without_steps_or_sequences():
    found = rgru.compare(lambda x: x[:, 0], lambda x: x[:, 0] + (x[:, 0] > 2).astype(float), X * 10)
    assert str(found).count("sequence") == 2
    assert "step" not in str(found)
    assert rgru.compare(gru(), gru(), X[:0])


def test_one_number():
    found = rgru.compare(lambda x: x.sum(), lambda x: x.sum() + 1, X)
    assert (bool(found), found.largest, found.first) == (False, 1.0, (0,))


def test_the_first_output_of_a_function():
    assert rgru.compare(gru().__call__, gru(), X)
    assert rgru.compare(lambda x: list(gru()(x)), gru(), X)


def test_a_file_of_rgru(tmp_path):
    gru().save(tmp_path / "gru.safetensors")
    assert rgru.compare(tmp_path / "gru.safetensors", gru(), X)


def test_bad_input(tmp_path):
    with pytest.raises(TypeError, match="b: expected a GRU, a module, a session, a path or a function, got int"):
        rgru.compare(gru(), 3, X)
    with pytest.raises(ValueError, match=r"a, b: expected outputs of the same shape, got \(3, 6, 4\) and \(3, 6, 8\)"):
        rgru.compare(gru(), gru(bidirectional=True), X)
    with pytest.raises(TypeError, match="tolerance: expected a number, got 'x'"):
        rgru.compare(gru(), gru(), X, tolerance="x")
    for tolerance in (-1, np.nan):
        with pytest.raises(ValueError, match="tolerance: expected a number from 0"):
            rgru.compare(gru(), gru(), X, tolerance=tolerance)


@pytest.mark.peers
def test_files_and_sessions_of_onnx(tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "gru.onnx"
    gru().to_onnx(path)
    theirs = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for other in (path, str(path), theirs, rgru.onnx.InferenceSession(path)):
        assert rgru.compare(gru(), other, X)
        assert not rgru.compare(rgru.GRU(2, 4, seed=1), other, X)
    gru().to_onnx(path, lengths=True)
    with pytest.raises(ValueError, match="a: expected a session with one input, got x, lengths"):
        rgru.compare(path, gru(), X)


@pytest.mark.peers
@pytest.mark.parametrize("batch_first", [False, True])
def test_modules_of_pytorch(batch_first):
    torch = pytest.importorskip("torch")
    pytest.importorskip("rgru.torch")
    module = torch.nn.GRU(2, 4, 2, dropout=0.5, batch_first=batch_first)
    assert rgru.compare(module, rgru.from_torch(module), X)
    assert module.training  # as it was; without dropout it has the same outputs each time
    ours = rgru.torch.convert(copy.deepcopy(module))
    assert rgru.compare(ours, module, X)
    assert rgru.compare(ours, rgru.from_torch(module), X)
    whole = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh())
    weight, bias = (one.detach().numpy() for one in whole[0].parameters())
    assert rgru.compare(whole, lambda x: np.tanh(x @ weight.T + bias), X)
    whole[1].eval()
    assert rgru.compare(lambda x: whole(torch.from_numpy(x)), whole, X)  # with a gradient
    assert [one.training for one in whole.modules()] == [True, True, False]
