"""Published models, with the outputs that their own code or a plain loop in float64 computed; skipped without them.

The scripts in examples/ load them. The environment variable RGRU_MODELS has the folder that holds them, one folder for
each model. They are not part of the repository. Every model has something that no test with drawn weights has: weights
from training, and inputs in use.

Vectors in float64 are met to 1e-13, relative to the largest value or 1. Found are 2e-14 at most, over up to 2000 steps.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rgru
from _folder import read_vectors, read_weights
from opus import decision
from rnnoise import RNNoise

EXAMPLES = Path(__file__).parents[2] / "examples"
FLOAT32 = np.finfo(np.float32).eps


def folder(name):
    """The folder of a model."""
    path = Path(os.environ.get("RGRU_MODELS", ""), name)
    if "RGRU_MODELS" not in os.environ or not path.is_dir():
        pytest.skip(f"no folder {name} in RGRU_MODELS")
    return path


def in_dtype(gru, dtype):
    """Return the same GRU in another type."""
    options = {name: getattr(gru, name) for name in ("bidirectional", "reset_after", "gate_activation")}
    other = rgru.GRU(gru.input_size, gru.hidden_size, dtype=dtype, **options)
    other.params.update({name: array.astype(dtype) for name, array in gru.params.items()})
    return other


def assert_close(found, expected, tolerance=1e-13):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


# -- RNNoise 0.1: three GRUs with a ReLU candidate, whose states exceed 1 ---------------------------------------------


def rnnoise(dtype="float64"):
    """The network, with the inputs of its GRUs and their states for the recorded features, and what is expected."""
    path = folder("rnnoise_v01")
    network, expected = RNNoise(read_weights(path, "rnn_data.c"), dtype), read_vectors(path)
    return network, *network.recording(expected["features"].astype(dtype)), expected


def test_rnnoise():
    network, _, states, vectors = rnnoise()
    for name, found in states.items():
        assert_close(found, vectors[f"exact_{name}_state"])
    assert_close(network.outputs(states)[0], vectors["exact_gains"])


def test_rnnoise_in_float32():
    """Closer to the exact states than RNNoise's own code, which is in float32 with a table for its activations."""
    _, _, states, vectors = rnnoise("float32")
    for name, found in states.items():
        exact, own = (vectors[f"{kind}_{name}_state"] for kind in ("exact", "c"))
        assert found.dtype == np.float32
        assert np.abs(found - exact).max() < np.abs(own - exact).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rnnoise_step_by_step(dtype):
    """Streams and sessions keep states beyond 1, and return the same bits as a run over the whole sequence."""
    network, inputs, states, _ = rnnoise(dtype)
    assert states["denoise"].max() > 9
    for name, gru in network.grus.items():
        stream, sessions = gru.stream(), rgru.Sessions(gru)
        for x, expected in zip(inputs[name][:, None], states[name][:, None], strict=True):
            np.testing.assert_array_equal(stream.step(x), expected)
            np.testing.assert_array_equal(sessions.step(["a microphone"], x), expected)


def test_rnnoise_sessions_in_a_file_and_in_float16(tmp_path):
    """A state beyond 1 survives a file with its bits. In float16 every step rounds it: found is 0.4 % after 1026.

    Float16 requires a bound of the states; one that no state reaches changes no bit.
    """
    network, inputs, states, _ = rnnoise("float32")
    gru, x, expected = network.grus["denoise"], inputs["denoise"][:, None], states["denoise"][:, None]
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
    model, expected = decision(read_weights(path, "mlp_data.c"), "float64"), read_vectors(path)
    x = expected["features"][None]
    assert_close(rgru.Model(model.layers[:3])(x)[0], expected["exact_state_f64"])
    assert_close(model(x)[0], expected["exact_out_f64"])


# -- crema: a file of Keras 2 with hard sigmoids and two Bidirectional layers -----------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-5)])
def test_crema(dtype, tolerance):
    """The file as it is; chords depend on up to 50 steps in both directions."""
    path = folder("crema_chord")
    pytest.importorskip("h5py")
    from chords import read_norm

    first, second = (in_dtype(rgru.from_keras(path / "model.h5", f"bidirectional_{k}"), dtype) for k in (1, 2))
    assert first.gate_activation == ("hard_sigmoid", 0.2, 0.5)
    expected = read_vectors(path)
    x = expected["x"].astype(dtype)
    assert_close(first(x)[0], expected["bidirectional_1"], tolerance)
    model = rgru.Model([first, read_norm(path / "model.h5", "batch_normalization_4", dtype), second])
    assert_close(model(x), expected["bidirectional_2"], tolerance)


# -- RAPTOR: a policy for quadrotors with learned initial states -------------------------------------------------------


def raptor():
    """The policy in float64, with the observations and actions of its example, (N, T, ...)."""
    path = folder("raptor") / "checkpoint.h5"
    pytest.importorskip("h5py")
    from quadrotor import read_example, read_policy

    return read_policy(path, "float64"), *(np.swapaxes(array, 0, 1) for array in read_example(path))


def test_raptor():
    """The example was computed in float32: 4 epsilons of each state, all within 1, added up by the last weights."""
    policy, x, expected = raptor()
    bound = 4 * FLOAT32 * np.abs(policy.layers[-1].weight).sum(1).max()
    assert bound < 2.2e-6
    assert np.abs(policy(x) - expected).max() <= bound


def test_raptor_with_another_initial_state():
    """The checkpoint's own is zero: another one begins runs, pieces of runs, streams and sessions."""
    policy, x, _ = raptor()
    first, _, gru, _ = policy.layers
    hidden = np.maximum(x @ first.weight.T + first.bias, 0)
    plain = rgru.GRU(16, 16, reset_after=True, dtype="float64")
    plain.params.update({name: gru.params[name] for name in plain.params})
    h0 = np.linspace(-0.9, 0.9, 16)
    gru.params["layers.0.fwd.h0"] = h0
    begin = np.broadcast_to(h0, (1, 2, 16))
    expected, _ = plain(hidden, begin)
    np.testing.assert_array_equal(gru(hidden)[0], expected)

    resets = np.zeros(hidden.shape[:2], bool)
    resets[:, 250] = True
    later, _ = plain(hidden[:, 250:], begin)
    np.testing.assert_array_equal(gru(hidden, resets=resets)[0][:, 250:], later)

    stream, sessions = gru.stream(2), rgru.Sessions(gru)
    np.testing.assert_array_equal(stream.h, begin)
    for t in range(50):
        np.testing.assert_array_equal(stream.step(hidden[:, t]), expected[:, t])
        np.testing.assert_array_equal(sessions.step(["a", "b"], hidden[:, t]), expected[:, t])


# -- the scripts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "name", "largest"),
    [
        ("rnnoise", "rnnoise_v01", 2e-5),
        ("opus", "opus_analysis", 1e-3),  # mlp.c approximates its activations
        ("quadrotor", "raptor", 2.2e-6),
        ("chords", "crema_chord", 1e-5),
    ],
)
def test_scripts(script, name, largest):
    """Each prints how far it is from the program's own outputs, in float32."""
    pytest.importorskip("h5py")
    command = [sys.executable, "-W", "error", EXAMPLES / f"{script}.py", folder(name)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    [differences] = re.findall(r"^largest difference from .*$", run.stdout, re.MULTILINE)
    found = [float(number) for number in re.findall(r"\d\.\de-\d\d", differences)]
    assert 0 < max(found) < largest
