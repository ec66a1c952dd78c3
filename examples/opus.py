"""Opus: the network by which the encoder decides between speech and music.

From https://github.com/xiph/opus, every version since 1.3, BSD-3-Clause; also in the crate audiopus_sys. FOLDER holds

- ``mlp_data.c`` of its sources (or ``weights_int8.npz``, the same arrays), and
- if there is something to compare with, ``vectors.npz``: ``features`` (T, 25), and what the layers of ``mlp.c``
  returned for each of them in turn, ``c_out`` (T, 2): the probabilities of music and of any activity.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rgru
from _folder import folder_argument, read_vectors, read_weights
from rgru.convert.keras import from_weights
from rgru.model import Activation, Linear


def decision(integers: dict[str, NDArray[Any]], dtype: str = "float32") -> rgru.Model:
    """Return the network: dense, GRU, dense."""
    weights = {name: (array / 128).astype(dtype) for name, array in integers.items()}  # exact

    def matrix(layer: str, kind: str = "weights") -> NDArray[Any]:
        return weights[f"{layer}_{kind}"].reshape(-1, len(weights[f"{layer}_bias"]))  # (in, out)

    first, last = (Linear.from_arrays(matrix(name).T, weights[f"{name}_bias"]) for name in ("layer0", "layer2"))
    arrays = matrix("layer1"), matrix("layer1", "recur_weights"), weights["layer1_bias"]
    gru = from_weights([(arrays, {"units": 24, "reset_after": False})])  # in C as it was in Keras
    return rgru.Model([first, Activation("tanh"), gru, last, Activation("sigmoid")])


def main(folder: Path) -> None:
    """Decide for each frame of a recording."""
    model = decision(read_weights(folder, "mlp_data.c"))
    recorded = read_vectors(folder)
    features = recorded.get("features", np.random.default_rng(0).normal(size=(2000, 25))).astype(np.float32)
    start = perf_counter()
    [outputs] = model(features[None])
    seconds = perf_counter() - start
    music = outputs[:, 0] > 0.5
    print(f"{len(features)} frames of 20 ms: {1e6 * seconds / len(features):.1f} us each, {music.mean():.0%} music")
    if recorded:
        expected = recorded["c_out"]
        same = np.mean(music == (expected[:, 0] > 0.5))
        print(f"largest difference from mlp.c: {np.abs(outputs - expected).max():.1e}; {same:.2%} decisions the same")


if __name__ == "__main__":
    main(folder_argument(__doc__))
