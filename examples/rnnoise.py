"""RNNoise: the network that tells speech from noise, frame by frame.

From https://github.com/xiph/rnnoise, version 0.1, BSD-3-Clause; also in the crate rnnoise-sys. FOLDER holds

- ``rnn_data.c`` of its sources (or ``weights_int8.npz``, the same arrays), and
- if there is something to compare with, ``vectors.npz``: ``features`` (T, 42), and what ``compute_rnn`` of ``rnn.c``
  returned for each of them in turn, ``c_gains`` (T, 22) and ``c_vad`` (T,).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rgru
from _folder import folder_argument, read_vectors, read_weights
from rgru.convert.keras import from_weights

Rows = NDArray[Any]


class RNNoise:
    """Dense layers around three GRUs, each of which reads those before it: not layers in a row, as `rgru.Model` has."""

    def __init__(self, integers: dict[str, Rows], dtype: str = "float32") -> None:
        self.weights = {name: (array / 256).astype(dtype) for name, array in integers.items()}  # exact
        self.grus = {name: self._gru(f"{name}_gru") for name in ("vad", "noise", "denoise")}

    def _gru(self, name: str) -> rgru.GRU:
        bias = self.weights[f"{name}_bias"]
        kernels = (self.weights[f"{name}_{kind}"].reshape(-1, len(bias)) for kind in ("weights", "recurrent_weights"))
        config = {"units": len(bias) // 3, "activation": "relu", "reset_after": False}  # in C as it was in Keras
        return from_weights([((*kernels, bias), config)])

    def dense(self, name: str, x: Rows) -> Rows:
        """Return the sums of a dense layer."""
        bias = self.weights[f"{name}_bias"]
        sums: Rows = x @ self.weights[f"{name}_weights"].reshape(-1, len(bias)) + bias
        return sums

    def states(self, features: Rows, run: Callable[[str, Rows], Rows]) -> tuple[dict[str, Rows], dict[str, Rows]]:
        """Return the inputs and states of the GRUs by name; `run` takes a GRU's name and its inputs."""
        first = np.tanh(self.dense("input_dense", features))
        vad = run("vad", first)
        inputs = {"vad": first, "noise": np.hstack([first, vad, features])}
        noise = run("noise", inputs["noise"])
        inputs["denoise"] = np.hstack([vad, noise, features])
        return inputs, {"vad": vad, "noise": noise, "denoise": run("denoise", inputs["denoise"])}

    def outputs(self, states: dict[str, Rows]) -> tuple[Rows, Rows]:
        """Return the gains of 22 bands (T, 22), and the probabilities of speech (T,)."""
        gains, speech = self.dense("denoise_output", states["denoise"]), self.dense("vad_output", states["vad"])
        return sigmoid(gains), sigmoid(speech[:, 0])

    def recording(self, features: Rows) -> tuple[dict[str, Rows], dict[str, Rows]]:
        """Return `states` for the frames of a whole recording (T, 42)."""
        return self.states(features, lambda name, x: self.grus[name](x[None])[0][0])

    def stream(self) -> Callable[[Rows], tuple[Rows, Rows]]:
        """Return a function from the features of one frame after the other (1, 42) to their `outputs`."""
        streams = {name: gru.stream() for name, gru in self.grus.items()}
        return lambda frame: self.outputs(self.states(frame, lambda name, x: streams[name].step(x))[1])


def sigmoid(x: Rows) -> Rows:
    """Return the logistic function of x."""
    return 1 / (1 + np.exp(-x))


def main(folder: Path) -> None:
    """Run a recording frame by frame, as a call does."""
    step = RNNoise(read_weights(folder, "rnn_data.c")).stream()
    recorded = read_vectors(folder)
    features = recorded.get("features", np.random.default_rng(0).normal(size=(1500, 42))).astype(np.float32)
    start = perf_counter()
    outputs = [step(frame) for frame in features[:, None]]
    seconds = perf_counter() - start
    gains, speech = (np.concatenate(one) for one in zip(*outputs, strict=True))
    print(f"{len(features)} frames of 10 ms, one by one: {1e6 * seconds / len(features):.0f} us each")
    print(f"speech in {np.mean(speech > 0.5):.0%} of them")
    if recorded:
        off = [np.abs(a - b).max() for a, b in ((gains, recorded["c_gains"]), (speech, recorded["c_vad"]))]
        print(f"largest difference from rnn.c: {off[0]:.1e} in the gains, {off[1]:.1e} in the probability of speech")


if __name__ == "__main__":
    main(folder_argument(__doc__))
