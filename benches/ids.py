"""Ids as inputs: a GRU that looks products up beside an embedding and a product: ``python benches/ids.py``.

After ``pip install '.[bench]'``. Every contender reads the same ids and has the same parameters, and its outputs are
compared with those of rgru. Prints a table.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

import clock
import rgru
from compare import about
from rgru.convert.onnx import to_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

VOCABULARY, FEATURES = 10_000, 64
SIZES = [(1, 200, 32), (32, 50, 32), (1, 200, 64), (32, 50, 64), (256, 50, 64), (32, 50, 256)]
"""(B, T, H)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    options = parser.parse_args()
    rgru.set_num_threads(options.threads)
    about_run = about(options.threads, "torch", "onnxruntime")
    print(f"{about_run['machine']}, {options.threads} threads; V={VOCABULARY}, embeddings of {FEATURES}; milliseconds")
    for batch, time, hidden in SIZES:
        found = measure(batch, time, hidden, options.threads, options.rounds)
        words = ", ".join(
            f"{name} {1e3 * seconds:.3f} ({seconds / found['rgru']:.2f}x)" for name, seconds in found.items()
        )
        print(f"B={batch} T={time} H={hidden}: {words}", flush=True)


def measure(batch: int, time: int, hidden: int, threads: int, rounds: int) -> dict[str, float]:
    """Return the seconds of each contender."""
    gru = rgru.GRU(1, hidden, vocabulary=VOCABULARY, embedding_size=FEATURES, reset_after=True, seed=0)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (batch, time))
    runs = {
        "rgru": lambda: gru(ids)[0],
        "rgru's product": own_product(gru, ids),
        "torch": torch_product(gru, ids, threads),
        "onnxruntime": onnxruntime_product(gru, ids, threads),
    }
    expected = runs["rgru"]()
    for name, run in runs.items():
        off = float(np.abs(np.asarray(run()) - expected).max())
        assert off < 1e-5, f"{name} is off by {off}"
    return clock.interleaved(runs, rounds)


def plain(gru: rgru.GRU) -> rgru.GRU:
    """The layer by itself, which reads embeddings."""
    layer = rgru.GRU(FEATURES, gru.hidden_size, reset_after=True)
    layer.params.update({name: array for name, array in gru.params.items() if name != "embedding"})
    return layer


def own_product(gru: rgru.GRU, ids: NDArray[np.int64]) -> Callable[[], Any]:
    layer, embedding = plain(gru), gru.params["embedding"]
    return lambda: layer(embedding[ids])[0]


def torch_product(gru: rgru.GRU, ids: NDArray[np.int64], threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    module, table = plain(gru).to_torch(), torch.nn.Embedding.from_pretrained(torch.tensor(gru.params["embedding"]))
    given = torch.tensor(ids)

    def run() -> Any:
        with torch.inference_mode():
            return module(table(given))[0]

    return run


def onnxruntime_product(gru: rgru.GRU, ids: NDArray[np.int64], threads: int) -> Callable[[], Any]:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    [(W, R, B, attributes)] = to_arrays(plain(gru))
    tensors = {"table": gru.params["embedding"], "W": W, "R": R, "B": B, "axis": np.array([1])}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("GRU", ["x", "W", "R", "B"], ["Y"], **attributes),
        helper.make_node("Squeeze", ["Y", "axis"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "ids",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ids.T.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (*ids.T.shape, gru.hidden_size))],
        [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in tensors.items()
            if array is not None
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
    given = np.ascontiguousarray(ids.T)  # time first
    return lambda: session.run(["y"], {"ids": given})[0].transpose(1, 0, 2)


if __name__ == "__main__":
    main()
