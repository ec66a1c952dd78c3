"""RAPTOR: one policy that flies any quadrotor, here several of them at once.

From https://github.com/rl-tools/raptor, MIT; also in the package foundation-policy of PyPI. FOLDER holds its
``checkpoint.h5``, a file of RLtools, with the inputs and outputs of an example. Needs h5py.

A step takes 22 observations of a quadrotor: position, rotation matrix, velocity, angular velocity, last action. The
four outputs are commands for its motors.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import rgru
from _folder import folder_argument
from rgru.model import Activation, Linear


def read_policy(path: Path, dtype: str = "float32") -> rgru.Model:
    """Return the policy: dense, GRU, dense."""
    with h5py.File(path) as file:
        first, middle, last = (
            {name: np.squeeze(array["parameters"][()]).astype(dtype) for name, array in layer.items()}
            for layer in file["actor/layers"].values()
        )
    # RLtools' GRU is PyTorch's but for the names, and for initial states that are learned.
    names = {
        "weight_ih": "weights_input",
        "weight_hh": "weights_hidden",
        "bias_ih": "biases_input",
        "bias_hh": "biases_hidden",
    }
    plain = rgru.from_torch({ours: middle[theirs] for ours, theirs in names.items()})
    gru = rgru.GRU(plain.input_size, plain.hidden_size, reset_after=True, learned_h0=True, dtype=dtype)
    gru.params.update({**plain.params, "layers.0.fwd.h0": middle["initial_hidden_state"]})
    before, after = (Linear.from_arrays(layer["weights"], layer["biases"]) for layer in (first, last))
    return rgru.Model([before, Activation("relu"), gru, after])


def read_example(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the observations (T, N, 22) and actions (T, N, 4) of the checkpoint's example."""
    with h5py.File(path) as file:
        return file["example/input"][()], file["example/output"][()]


def main(folder: Path) -> None:
    """Fly the quadrotors of the example side by side, each with a state of its own."""
    policy = rgru.Sessions(read_policy(folder / "checkpoint.h5"))
    observations, expected = read_example(folder / "checkpoint.h5")
    quadrotors = [f"quadrotor {k}" for k in range(observations.shape[1])]
    start = perf_counter()
    actions = np.stack([policy.step(quadrotors, one) for one in observations])
    seconds = perf_counter() - start
    print(f"{len(actions)} steps of {len(quadrotors)} quadrotors: {1e6 * seconds / len(actions):.0f} us each")
    print(f"largest difference from the checkpoint's actions: {np.abs(actions - expected).max():.1e}")


if __name__ == "__main__":
    main(folder_argument(__doc__))
