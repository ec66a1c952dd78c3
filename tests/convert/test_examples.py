"""The scripts in examples/ with weights in place of the published ones; test_real_models.py has those."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from _folder import read_vectors, read_weights

EXAMPLES = Path(__file__).parents[2] / "examples"
RNNOISE = {
    "input_dense": {"weights": 42 * 24, "bias": 24},
    "vad_gru": {"weights": 24 * 72, "recurrent_weights": 24 * 72, "bias": 72},
    "noise_gru": {"weights": 90 * 144, "recurrent_weights": 48 * 144, "bias": 144},
    "denoise_gru": {"weights": 114 * 288, "recurrent_weights": 96 * 288, "bias": 288},
    "denoise_output": {"weights": 96 * 22, "bias": 22},
    "vad_output": {"weights": 24, "bias": 1},
}
OPUS = {
    "layer0": {"weights": 25 * 32, "bias": 32},
    "layer1": {"weights": 32 * 72, "recur_weights": 24 * 72, "bias": 72},
    "layer2": {"weights": 24 * 2, "bias": 2},
}
SOURCE = """/* generated */
#include "rnn.h"

static const rnn_weight first_bias[3] = {
   -128, 0,
   127
};

const DenseLayer first = {
   first_bias, 42, 3, ACTIVATION_TANH
};
static const opus_int8 other_2[1] = {5,};
"""


def run(script, folder):
    """Run a script as a user does, and return what it prints."""
    command = [sys.executable, "-W", "error", EXAMPLES / f"{script}.py", folder]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def drawn(layers):
    """C's text of int8 arrays of these sizes."""
    rng, lines = np.random.default_rng(0), []
    for layer, sizes in layers.items():
        for kind, size in sizes.items():
            numbers = ", ".join(map(str, rng.integers(-30, 31, size)))
            lines.append(f"static const opus_int8 {layer}_{kind}[{size}] = {{\n   {numbers}\n}};")
    return "\n".join(lines)


def test_arrays_of_a_c_file(tmp_path):
    (tmp_path / "data.c").write_text(SOURCE, "utf-8")
    found = read_weights(tmp_path, "data.c")
    assert {name: array.tolist() for name, array in found.items()} == {"first_bias": [-128, 0, 127], "other_2": [5]}


def test_arrays_beside_the_program(tmp_path):
    arrays = {"bias": np.arange(3, dtype=np.int8)}
    for name in ("weights_int8", "vectors"):
        np.savez(tmp_path / f"{name}.npz", **arrays)
    for found in (read_weights(tmp_path, "data.c"), read_vectors(tmp_path)):
        assert list(found) == ["bias"]
        np.testing.assert_array_equal(found["bias"], arrays["bias"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("   127\n", "   127, 1\n", r"^data\.c: expected 3 numbers in first_bias, got 4$"),
        ("   127\n", "   1.5f\n", r"1\.5f"),
        ("static const", "const", r"^data\.c: expected arrays such as .*, got none$"),
    ],
)
def test_c_files_of_another_form(before, after, message, tmp_path):
    (tmp_path / "data.c").write_text(SOURCE.replace(before, after), "utf-8")
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path, "data.c")


@pytest.mark.parametrize(
    ("script", "source", "layers", "frames"),
    [("rnnoise", "rnn_data.c", RNNOISE, 1500), ("opus", "mlp_data.c", OPUS, 2000)],
)
def test_weights_alone(script, source, layers, frames, tmp_path):
    """Without outputs to compare with, the network runs on drawn features."""
    (tmp_path / source).write_text(drawn(layers), "utf-8")
    printed = run(script, tmp_path)
    assert printed.startswith(f"{frames} frames of ")
    assert "difference" not in printed


def test_frame_by_frame():
    """RNNoise's stream returns what a run over the whole recording returns."""
    from rnnoise import RNNoise

    rng = np.random.default_rng(0)
    sizes = {f"{layer}_{kind}": size for layer, sizes in RNNOISE.items() for kind, size in sizes.items()}
    network = RNNoise({name: rng.integers(-30, 31, size) for name, size in sizes.items()}, "float64")
    features = rng.normal(size=(50, 42))
    gains, speech = network.outputs(network.recording(features)[1])
    step = network.stream()
    for t, frame in enumerate(features[:, None]):
        found = step(frame)
        np.testing.assert_allclose(found[0][0], gains[t], rtol=0, atol=1e-13)
        np.testing.assert_allclose(found[1][0], speech[t], rtol=0, atol=1e-13)


def test_a_checkpoint_with_an_initial_state(tmp_path):
    """RLtools' equations in a loop; the published checkpoint's initial state is zero."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    sizes = [
        {"weights": (16, 22), "biases": (1, 16)},
        {
            "weights_input": (48, 16),
            "weights_hidden": (48, 16),
            "biases_input": (48,),
            "biases_hidden": (48,),
            "initial_hidden_state": (16,),
        },
        {"weights": (4, 16), "biases": (1, 4)},
    ]
    first, gru, last = ({name: rng.normal(size=size) / 2 for name, size in layer.items()} for layer in sizes)
    x = rng.standard_normal((20, 3, 22), np.float32)
    h, actions = np.tile(gru["initial_hidden_state"], (3, 1)), []
    for observations in x:
        hidden = np.maximum(observations @ first["weights"].T + first["biases"], 0)
        of_input = hidden @ gru["weights_input"].T + gru["biases_input"]
        of_state = h @ gru["weights_hidden"].T + gru["biases_hidden"]
        r, z = np.split(1 / (1 + np.exp(-(of_input + of_state)[:, :32])), 2, axis=1)
        h = z * h + (1 - z) * np.tanh(of_input[:, 32:] + r * of_state[:, 32:])
        actions.append(h @ last["weights"].T + last["biases"])
    with h5py.File(tmp_path / "checkpoint.h5", "w") as file:
        for k, layer in enumerate((first, gru, last)):
            for name, array in layer.items():
                file[f"actor/layers/{k}/{name}/parameters"] = array
        file["example/input"], file["example/output"] = x, np.stack(actions)
    printed = run("quadrotor", tmp_path)
    assert printed.startswith("20 steps of 3 quadrotors")
    assert 0 < float(re.findall(r"\d\.\de-\d\d", printed)[0]) < 1e-5
