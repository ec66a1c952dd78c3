"""`rgru.keras.GRU` beside Keras's layer, and `rgru.jax.gru` beside Flax's: ``python benches/keras_jax.py``.

After ``pip install '.[bench]'``. Both have the same weights, and their outputs are compared before they are timed.
Keras runs on the backend that ``KERAS_BACKEND`` names, by default PyTorch, and trains with Adam. JAX's functions are
compiled; training is the gradient by all parameters. Prints a table in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

import jax
import keras
from flax.linen import RNN, GRUCell

import rgru
import rgru.jax
import rgru.keras
from clock import interleaved
from compare import TOLERANCE, about
from rgru.convert import flax as converted

if TYPE_CHECKING:
    from collections.abc import Callable

    Runs = dict[str, Callable[[], Any]]

SHAPES = {
    "single step (N=1, T=1, I=32, H=64)": (1, 1, 32, 64),
    "one sequence (N=1, T=100, I=32, H=64)": (1, 100, 32, 64),
    "batch (N=32, T=100, I=32, H=128)": (32, 100, 32, 128),
    "long (N=64, T=200, I=64, H=64)": (64, 200, 64, 64),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first two shapes, few rounds")
    options = parser.parse_args()
    versions = about(rgru.info()["num_threads"], "jax", "flax", "keras")
    print(versions["machine"], versions["versions"], f"Keras on {keras.backend.backend()}; milliseconds")
    for label, shape in list(SHAPES.items())[: 2 if options.quick else None]:
        x = np.random.default_rng(0).standard_normal(shape[:3], dtype=np.float32)
        for framework, runs_of in (("Keras", keras_runs), ("Flax", jax_runs)):
            inference, training = runs_of(x, shape[3], label)
            for kind, runs in (("inference", inference), ("training", training)):
                seconds = interleaved(runs, 2 if options.quick else 5)
                ratio = seconds[framework] / seconds["rgru"]
                times = "  ".join(f"{key} {1e3 * value:.3f}" for key, value in seconds.items())
                print(f"{framework:6} {kind:10} {label:38} {ratio:6.2f}x  {times}", flush=True)


def keras_runs(x: Any, hidden: int, label: str) -> tuple[Runs, Runs]:
    """Return the calls of inference and of training, the last states of a layer and a Dense over them."""
    theirs = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.GRU(hidden), keras.layers.Dense(4)])
    ours = rgru.keras.convert(theirs)
    check(label, ours.predict_on_batch(x), theirs.predict_on_batch(x))
    models, targets = {"Keras": theirs, "rgru": ours}, np.zeros((len(x), 4), np.float32)
    for model in models.values():
        model.compile("adam", "mse")
    inference: Runs = {name: lambda model=model: model.predict_on_batch(x) for name, model in models.items()}  # type: ignore[misc]
    return inference, {name: lambda model=model: model.train_on_batch(x, targets) for name, model in models.items()}  # type: ignore[misc]


def jax_runs(x: Any, hidden: int, label: str) -> tuple[Runs, Runs]:
    """Return the calls of inference, all steps, and of the gradient of the sum of their squares."""
    rnn = RNN(GRUCell(hidden))
    variables = rnn.init(jax.random.key(0), x)
    gru = converted.from_params(variables)
    given = jax.numpy.asarray(x)
    functions = {
        "Flax": (rnn.apply, variables),
        "rgru": (
            lambda parameters, x: rgru.jax.gru(parameters, x, reset_after=True)[0],
            jax.tree.map(jax.numpy.asarray, dict(gru.params)),
        ),
    }
    inference: Runs = {}
    training: Runs = {}
    outputs = {}
    for name, (function, parameters) in functions.items():
        run = jax.jit(function)
        step = jax.jit(jax.grad(lambda parameters, x, function=function: (function(parameters, x) ** 2).sum()))
        outputs[name] = run(parameters, given)
        inference[name] = called(run, parameters, given)
        training[name] = called(step, parameters, given)
    check(label, outputs["rgru"], outputs["Flax"])
    return inference, training


def called(run: Any, parameters: Any, x: Any) -> Callable[[], Any]:
    """Return a call of a function of JAX that waits for the result."""
    return lambda: jax.block_until_ready(run(parameters, x))


def check(label: str, found: Any, expected: Any) -> None:
    """Stop if outputs differ."""
    if (difference := float(np.abs(np.asarray(found) - np.asarray(expected)).max())) > TOLERANCE:
        sys.exit(f"{label}: outputs differ by {difference:.1e}")


if __name__ == "__main__":
    main()
