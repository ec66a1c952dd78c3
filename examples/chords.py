"""crema: the recurrent layers of a recogniser of chords, over whole recordings.

From https://github.com/bmcfee/crema, ISC. The wheel ``crema`` 0.2.0 of PyPI holds ``crema/models/chord/model.h5``,
which Keras 2 wrote. Needs h5py. FOLDER holds

- ``model.h5``, and
- if there is something to compare with, ``vectors.npz``: ``x`` (N, T, 72), the outputs of the convolutions, and those
  of the second recurrent layer, ``bidirectional_2`` (N, T, 256).
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import rgru
from _folder import folder_argument, read_vectors
from rgru.model import Activation, Linear

ROOTS = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B", "-"]
"""The last is no chord."""


def layer_weights(path: Path, layer: str) -> list[NDArray[Any]]:
    """Return the weights of a layer in the order of Keras."""
    with h5py.File(path) as file:
        group = file[f"model_weights/{layer}"]
        return [group[name][()] for name in group.attrs["weight_names"]]


def read_norm(path: Path, layer: str, dtype: str = "float32") -> Linear:
    """Return a BatchNormalization, which is linear once it is trained."""
    with h5py.File(path) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
    [epsilon] = (one["config"]["epsilon"] for one in layers if one["name"] == layer)
    gamma, beta, mean, variance = layer_weights(path, layer)
    gamma, beta, mean, deviation = (one.astype(dtype) for one in (gamma, beta, mean, np.sqrt(variance + epsilon)))
    return Linear.from_arrays(np.diag(gamma / deviation), beta - mean * gamma / deviation)


def main(folder: Path) -> None:
    """Tell the roots of the chords of some recordings."""
    path = folder / "model.h5"
    first, second = (rgru.from_keras(path, f"bidirectional_{k}") for k in (1, 2))
    trunk = rgru.Model([first, read_norm(path, "batch_normalization_4"), second])
    kernel, bias = layer_weights(path, "chord_root")
    recogniser = rgru.Model([*trunk.layers, Linear.from_arrays(kernel.T, bias), Activation("softmax")])
    recorded = read_vectors(folder)
    x = recorded.get("x", np.random.default_rng(0).normal(size=(2, 50, 72))).astype(np.float32)
    recogniser(x)  # the first call prepares the weights
    start = perf_counter()
    roots = recogniser(x).argmax(2)
    seconds = perf_counter() - start
    print(f"{len(x)} recordings of {x.shape[1]} frames: {1e3 * seconds:.1f} ms")
    for recording in roots:
        print(" ".join(f"{ROOTS[root]}({len(list(frames))})" for root, frames in groupby(recording)))
    if recorded:
        difference = np.abs(trunk(x) - recorded["bidirectional_2"]).max()
        print(f"largest difference from bidirectional_2: {difference:.1e}")


if __name__ == "__main__":
    main(folder_argument(__doc__))
