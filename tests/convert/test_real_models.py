"""Published models, with the outputs that their own code or a plain loop in float64 computed; skipped without them.

The environment variable RGRU_MODELS has the folder that holds them, one folder for each model. They are not part of the
repository. Every model has something that no test with drawn weights has: weights from training, and inputs in use.

Vectors in float64 are met to 1e-13, relative to the largest value or 1. Found are 2e-14 at most, over up to 2000 steps.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import rgru
from rgru.convert.keras import from_weights

FLOAT32 = np.finfo(np.float32).eps


def folder(name):
    """The folder of a model."""
    path = Path(os.environ.get("RGRU_MODELS", ""), name)
    if "RGRU_MODELS" not in os.environ or not path.is_dir():
        pytest.skip(f"no folder {name} in RGRU_MODELS")
    return path


def arrays(path):
    with np.load(path) as file:
        return dict(file)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def in_dtype(gru, dtype):
    """Return the same GRU in another type."""
    options = {name: getattr(gru, name) for name in ("bidirectional", "reset_after", "gate_activation")}
    other = rgru.GRU(gru.input_size, gru.hidden_size, dtype=dtype, **options)
    other.params.update({name: array.astype(dtype) for name, array in gru.params.items()})
    return other


def run(gru, x):
    """Run over one sequence (T, I)."""
    return gru(x[None])[0][0]


def assert_close(found, expected, tolerance=1e-13):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


# -- RNNoise 0.1: three GRUs with a ReLU candidate, whose states exceed 1 ---------------------------------------------


class RNNoise:
    """The network of RNNoise: dense layers around three GRUs, each of which reads those before it."""

    def __init__(self, dtype="float64"):
        path = folder("rnnoise_v01")
        self.dtype = dtype
        self.weights = {name: array / 256 for name, array in arrays(path / "weights_int8.npz").items()}  # exact
        self.expected = arrays(path / "vectors.npz")
        self.features = self.expected["features"].astype(dtype)
        self.grus = {name: self.gru(f"{name}_gru") for name in ("vad", "noise", "denoise")}

    def dense(self, name, x):
        bias = self.weights[f"{name}_bias"].astype(self.dtype)
        return x @ self.weights[f"{name}_weights"].astype(self.dtype).reshape(-1, len(bias)) + bias

    def gru(self, name):
        bias = self.weights[f"{name}_bias"]
        kernels = (self.weights[f"{name}_{kind}"].reshape(-1, len(bias)) for kind in ("weights", "recurrent_weights"))
        config = {"units": len(bias) // 3, "activation": "relu", "reset_after": False}
        return from_weights([([array.astype(self.dtype) for array in (*kernels, bias)], config)])

    def run(self):
        """Return the inputs of the GRUs and their states, by name."""
        first = np.tanh(self.dense("input_dense", self.features))
        vad = run(self.grus["vad"], first)
        inputs = {"vad": first, "noise": np.hstack([first, vad, self.features])}
        noise = run(self.grus["noise"], inputs["noise"])
        inputs["denoise"] = np.hstack([vad, noise, self.features])
        return inputs, {"vad": vad, "noise": noise, "denoise": run(self.grus["denoise"], inputs["denoise"])}


def test_rnnoise():
    model = RNNoise()
    _, states = model.run()
    for name, found in states.items():
        assert_close(found, model.expected[f"exact_{name}_state"])
    assert_close(sigmoid(model.dense("denoise_output", states["denoise"])), model.expected["exact_gains"])


def test_rnnoise_in_float32():
    """Closer to the exact states than RNNoise's own code, which is in float32 with a table for its activations."""
    model = RNNoise("float32")
    _, states = model.run()
    for name, found in states.items():
        exact, own = (model.expected[f"{kind}_{name}_state"] for kind in ("exact", "c"))
        assert found.dtype == np.float32
        assert np.abs(found - exact).max() < np.abs(own - exact).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rnnoise_step_by_step(dtype):
    """Streams and sessions keep states beyond 1, and return the same bits as a run over the whole sequence."""
    model = RNNoise(dtype)
    inputs, states = model.run()
    assert states["denoise"].max() > 9
    for name, gru in model.grus.items():
        stream, sessions = gru.stream(), rgru.Sessions(gru)
        for x, expected in zip(inputs[name][:, None], states[name][:, None], strict=True):
            np.testing.assert_array_equal(stream.step(x), expected)
            np.testing.assert_array_equal(sessions.step(["a microphone"], x), expected)


def test_rnnoise_sessions_in_a_file_and_in_float16(tmp_path):
    """A state beyond 1 survives a file with its bits. In float16 every step rounds it: found is 0.4 % after 1026.

    Float16 requires a bound of the states; one that no state reaches changes no bit.
    """
    model = RNNoise("float32")
    inputs, states = model.run()
    gru, x, expected = model.grus["denoise"], inputs["denoise"][:, None], states["denoise"][:, None]
    begin = int(states["denoise"].max(1).argmax()) + 1
    with pytest.raises(ValueError, match=r"^state_dtype: .* activation='relu'"):
        rgru.Sessions(gru, state_dtype="float16")
    clipped = rgru.GRU(gru.input_size, gru.hidden_size, activation="relu", state_clip=60000)
    clipped.params.update(gru.params)
    sessions, half = rgru.Sessions(clipped), rgru.Sessions(clipped, state_dtype="float16")
    for one, y in zip(x[:begin], expected[:begin], strict=True):
        np.testing.assert_array_equal(sessions.step([1], one), y)
        half.step([1], one)
    assert expected[begin - 1].max() > 9
    assert np.abs(half.states([1]) - sessions.states([1])).max() < 0.01 * sessions.states([1]).max()
    sessions.save(tmp_path / "sessions")
    again = rgru.Sessions.load(tmp_path / "sessions", clipped)
    for one, y in zip(x[begin:][:50], expected[begin:][:50], strict=True):
        np.testing.assert_array_equal(again.step([1], one), y)


# -- Opus: the decision between speech and music ----------------------------------------------------------------------


def test_opus():
    path = folder("opus_analysis")
    weights = {name: array / 128 for name, array in arrays(path / "weights_int8.npz").items()}  # exact
    expected = arrays(path / "vectors.npz")
    x = expected["features"].astype("float64")
    first = np.tanh(x @ weights["layer0_weights"].reshape(25, 32) + weights["layer0_bias"])
    kernels = weights["layer1_weights"].reshape(32, 72), weights["layer1_recur_weights"].reshape(24, 72)
    gru = from_weights([((*kernels, weights["layer1_bias"]), {"units": 24, "reset_after": False})])
    states = run(gru, first)
    assert_close(states, expected["exact_state_f64"])
    found = sigmoid(states @ weights["layer2_weights"].reshape(24, 2) + weights["layer2_bias"])
    assert_close(found, expected["exact_out_f64"])


# -- crema: a file of Keras 2 with hard sigmoids and two Bidirectional layers -----------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-5)])
def test_crema(dtype, tolerance):
    """The file as it is; chords depend on up to 50 steps in both directions."""
    path = folder("crema_chord")
    h5py = pytest.importorskip("h5py")
    first, second = (in_dtype(rgru.from_keras(path / "model.h5", f"bidirectional_{k}"), dtype) for k in (1, 2))
    with h5py.File(path / "model.h5") as file:
        norm = file["model_weights/batch_normalization_4"]
        gamma, beta, mean, variance = (norm[name][()] for name in norm.attrs["weight_names"])  # in float32, as is the
        listed = json.loads(file.attrs["model_config"])["config"]["layers"]  # root of which the vectors were made
        [epsilon] = (one["config"]["epsilon"] for one in listed if one["name"] == "batch_normalization_4")
    assert first.gate_activation == ("hard_sigmoid", 0.2, 0.5)
    expected = arrays(path / "vectors.npz")
    y, _ = first(expected["x"].astype(dtype))
    assert_close(y, expected["bidirectional_1"], tolerance)
    between = (y - mean) / np.sqrt(variance + epsilon) * gamma + beta
    y, _ = second(between.astype(dtype))
    assert_close(y, expected["bidirectional_2"], tolerance)


# -- RAPTOR: a policy for quadrotors with learned initial states -------------------------------------------------------


class Raptor:
    """The policy: dense, GRU, dense."""

    def __init__(self):
        path = folder("raptor")
        h5py = pytest.importorskip("h5py")
        with h5py.File(path / "checkpoint.h5") as file:
            # Time first in the file.
            self.x, self.expected = (np.swapaxes(file[f"example/{name}"][()], 0, 1) for name in ("input", "output"))
            layers = file["actor/layers"]
            self.first, self.last = (
                [layers[f"{k}/{name}/parameters"][()].astype("float64") for name in ("weights", "biases")]
                for k in (0, 2)
            )
            found = {name: layers[f"1/{name}/parameters"][()].astype("float64") for name in layers["1"]}
        state = {
            f"{ours}_{kind[0]}h": found[f"{theirs}_{kind}"]
            for ours, theirs in (("weight", "weights"), ("bias", "biases"))
            for kind in ("input", "hidden")
        }
        self.plain = rgru.from_torch(state)
        self.gru = rgru.GRU(16, 16, reset_after=True, learned_h0=True, dtype="float64")
        self.gru.params.update(self.plain.params)
        self.gru.params["layers.0.fwd.h0"] = found["initial_hidden_state"]
        weights, bias = self.first
        self.hidden = np.maximum(self.x @ weights.T + bias, 0)


def test_raptor():
    """The example was computed in float32: 4 epsilons of each state, all within 1, added up by the last weights."""
    model = Raptor()
    weights, bias = model.last
    found = model.gru(model.hidden)[0] @ weights.T + bias
    bound = 4 * FLOAT32 * np.abs(weights).sum(1).max()
    assert bound < 2.2e-6
    assert np.abs(found - model.expected).max() <= bound


def test_raptor_with_another_initial_state():
    """The checkpoint's own is zero: another one begins runs, pieces of runs, streams and sessions."""
    model = Raptor()
    h0 = np.linspace(-0.9, 0.9, 16)
    model.gru.params["layers.0.fwd.h0"] = h0
    begin = np.broadcast_to(h0, (1, 2, 16))
    expected, _ = model.plain(model.hidden, begin)
    np.testing.assert_array_equal(model.gru(model.hidden)[0], expected)

    resets = np.zeros(model.hidden.shape[:2], bool)
    resets[:, 250] = True
    later, _ = model.plain(model.hidden[:, 250:], begin)
    np.testing.assert_array_equal(model.gru(model.hidden, resets=resets)[0][:, 250:], later)

    stream, sessions = model.gru.stream(2), rgru.Sessions(model.gru)
    np.testing.assert_array_equal(stream.h, begin)
    for t in range(50):
        np.testing.assert_array_equal(stream.step(model.hidden[:, t]), expected[:, t])
        np.testing.assert_array_equal(sessions.step(["a", "b"], model.hidden[:, t]), expected[:, t])
