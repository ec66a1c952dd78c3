"""Whole ONNX models: rgru's sessions beside those of ONNX Runtime: ``python benches/onnx_models.py``.

After ``pip install '.[bench]'``. Both read the same model, and their outputs are compared. Prints a table.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import clock
import rgru
from compare import about
from rgru.convert.onnx import to_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

INPUTS, CLASSES, VOCABULARY = 40, 10, 10_000
SIZES = [(1, 1, 64), (1, 50, 64), (1, 200, 256), (16, 50, 64), (32, 100, 128), (64, 200, 256)]
"""(B, T, H)."""


class Model:
    """Nodes and tensors of a model, as they are added; arrays are as exporters of PyTorch write them."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: dict[str, NDArray[Any]] = {}
        self.random = np.random.default_rng(0)

    def add(self, operator: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        """Add a node, with arrays as initialisers, and return its output."""
        from onnx import helper

        names = []
        for one in inputs:
            if not isinstance(one, str):
                self.tensors[f"t{len(self.tensors)}"] = one
            names.append(one if isinstance(one, str) else f"t{len(self.tensors) - 1}")
        self.nodes.append(helper.make_node(operator, names, [f"v{len(self.nodes)}"], **attributes))
        return f"v{len(self.nodes) - 1}"

    def uniform(self, *shape: int) -> NDArray[Any]:
        return self.random.uniform(-0.1, 0.1, shape).astype(np.float32)

    def grus(self, x: str, gru: rgru.GRU) -> str:
        """Add a stack: from (N, T, I) to (N, T, D*H)."""
        x = self.add("Transpose", x, perm=[1, 0, 2])
        for W, R, B, attributes in to_arrays(gru):
            y = self.add("GRU", x, W, R, B if B is not None else "", **attributes)
            if gru.bidirectional:
                turned = self.add("Transpose", y, perm=[0, 2, 1, 3])
                x = self.add("Reshape", turned, np.array([0, 0, -1]))
            else:
                x = self.add("Squeeze", y, np.array([1]))
        return self.add("Transpose", x, perm=[1, 0, 2])

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        return self.add("Add", self.add("MatMul", x, self.uniform(inputs, outputs)), self.uniform(outputs))

    def serialized(self, output: str, kind: int, *features: int) -> bytes:
        """Return the model with an input x (N, T, features)."""
        from onnx import TensorProto, helper, numpy_helper

        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info("x", kind, ("batch", "time", *features))],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in self.tensors.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        return bytes(model.SerializeToString())


def convolution(hidden: int) -> bytes:
    """A convolution over time, a GRU, and a dense layer at each step: speech."""
    model = Model()
    channels = model.add("Transpose", "x", perm=[0, 2, 1])
    convolved = model.add("Conv", channels, model.uniform(hidden, INPUTS, 5), model.uniform(hidden), pads=[2, 2])
    x = model.add("Transpose", model.add("Relu", convolved), perm=[0, 2, 1])
    y = model.grus(x, rgru.GRU(hidden, hidden, seed=0))
    return model.serialized(model.dense(y, hidden, CLASSES), 1, INPUTS)


def embedding(hidden: int) -> bytes:
    """An embedding, two layers of two directions, and a dense layer after the last step: text."""
    model = Model()
    x = model.add("Gather", model.uniform(VOCABULARY, 64), "x")
    y = model.grus(x, rgru.GRU(64, hidden, 2, bidirectional=True, reset_after=True, seed=0))
    last = model.add("Gather", y, np.array(-1), axis=1)
    return model.serialized(model.add("Softmax", model.dense(last, 2 * hidden, CLASSES), axis=-1), 7)


def residual(hidden: int) -> bytes:
    """Dense layers around and between three GRUs, whose outputs are added to their inputs: sensors."""
    model = Model()
    x = model.add("Tanh", model.dense("x", INPUTS, hidden))
    for _ in range(3):
        x = model.add("Add", x, model.grus(x, rgru.GRU(hidden, hidden, reset_after=True, seed=0)))
    return model.serialized(model.dense(x, hidden, CLASSES), 1, INPUTS)


MODELS: dict[str, Callable[[int], bytes]] = {"conv": convolution, "embedding": embedding, "residual": residual}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    options = parser.parse_args()
    rgru.set_num_threads(options.threads)
    about_run = about(options.threads, "onnxruntime")
    print(f"{about_run['machine']}, {options.threads} threads; milliseconds")
    for name, make in MODELS.items():
        for batch, time, hidden in SIZES:
            found = clock.interleaved(contenders(make(hidden), batch, time, options.threads), options.rounds)
            ratio = found["onnxruntime"] / found["rgru"]
            words = ", ".join(f"{one} {1e3 * seconds:.3f}" for one, seconds in found.items())
            print(f"{name} B={batch} T={time} H={hidden}: {words} ({ratio:.2f}x)", flush=True)


def contenders(model: bytes, batch: int, time: int, threads: int) -> dict[str, Callable[[], Any]]:
    """Return what runs the model, after a check that the outputs agree."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    sessions = {
        "rgru": rgru.onnx.InferenceSession(model, small_calls=True),
        "onnxruntime": onnxruntime.InferenceSession(model, settings, ["CPUExecutionProvider"]),
    }
    random = np.random.default_rng(0)
    ids = sessions["rgru"].get_inputs()[0].type == "tensor(int64)"
    numbers = random.standard_normal((batch, time, INPUTS), np.float32)
    x = random.integers(0, VOCABULARY, (batch, time)) if ids else numbers
    ours, theirs = (session.run(None, {"x": x})[0] for session in sessions.values())
    off = float(np.abs(ours - theirs).max())
    if off > 1e-5:
        raise SystemExit(f"onnxruntime differs from rgru by {off:.1e}")
    return {name: partial(session.run, None, {"x": x}) for name, session in sessions.items()}


if __name__ == "__main__":
    main()
