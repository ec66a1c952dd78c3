"""One job four ways: the labels of a Parquet file's sequences, written beside their ids.

Each is made of the model's path, everything loaded; the job itself takes the input and the output, and gives the
seconds that the model computed in, or None. The peers are written by hand, as their users would: PyArrow reads and
writes, sequences are sorted by length and padded (or packed) in batches, all of it in NumPy without a loop over rows.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import rgru
from rgru._cli.job import Job, Part
from rgru.convert.onnx import to_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Work = Callable[[str, str], float | None]

ROWS = 8192
"""Sequences that the peers read at a time."""

PADDED, PACKED = 128, 256
"""Sequences in a batch of ONNX Runtime and of PyTorch: the fastest of 32, 64, 128, 256, 512 and 1024."""


def rgru_predict(model: str) -> Work:
    """As ``rgru predict MODEL DATA -o OUTPUT --keep id``."""
    job = Job.load(model, keep=["id"])
    return lambda data, output: job.run([Part(data, output)]).computing


def rgru_in_memory(model: str) -> Work:
    """What rgru takes for the same sequences in memory: the least that the whole job could take."""
    estimator: Any = rgru.load(model)

    def work(data: str, output: str) -> float:
        whole = pq.read_table(data)
        inputs = [rgru.Ragged.from_arrow(batch["x"]) for batch in whole.to_batches(ROWS)]
        estimator.predict(inputs[0])
        start = time.perf_counter()
        labels = [estimator.predict(x) for x in inputs]
        seconds = time.perf_counter() - start
        pq.write_table(pa.table({"id": whole["id"], "prediction": np.concatenate(labels)}), output)
        return seconds

    return work


def onnxruntime_padded(model: str) -> Work:
    """Padded batches of like lengths, whose last states an ONNX node picks by `sequence_lens`."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    estimator: Any = rgru.load(model)
    gru = estimator._gru
    [(*arrays, attributes)] = to_arrays(gru)
    parts = dict(zip("WRB", arrays, strict=True))
    node = helper.make_node("GRU", ["X", *parts, "lengths"], ["", "Y_h"], **attributes)
    graph = helper.make_graph(
        [node],
        "gru",
        [
            helper.make_tensor_value_info("X", TensorProto.FLOAT, ("T", "N", gru.input_size)),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ("N",)),
        ],
        [helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, (1, "N", gru.hidden_size))],
        [numpy_helper.from_array(value, name) for name, value in parts.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])

    def last_states(values: NDArray[np.float32], starts: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.float32]:
        padded = np.zeros((lengths.max(), len(lengths), values.shape[1]), np.float32)
        steps = np.arange(len(padded))[:, None]
        valid = steps < lengths
        padded[valid] = values[(starts + steps)[valid]]
        feeds = {"X": padded, "lengths": lengths.astype(np.int32)}
        states: NDArray[np.float32] = session.run(None, feeds)[0][0]
        return states

    return lambda data, output: by_hand(estimator, data, output, PADDED, last_states)


def torch_packed(model: str) -> Work:
    """`torch.nn.GRU` over sequences packed by its own `pack_sequence`; it has the reset-after cell alone."""
    import torch
    from torch.nn.utils.rnn import pack_sequence

    def pack(values: NDArray[np.float32], starts: NDArray[Any], lengths: NDArray[Any]) -> Any:
        steps = torch.from_numpy(values)
        return pack_sequence([steps[i : i + n] for i, n in zip(starts.tolist(), lengths.tolist(), strict=True)])

    return torch_work(model, pack)


def torch_packed_by_numpy(model: str) -> Work:
    """The same, packed without a tensor for each sequence."""
    import torch
    from torch.nn.utils.rnn import PackedSequence

    def pack(values: NDArray[np.float32], starts: NDArray[Any], lengths: NDArray[Any]) -> Any:
        # Longest first, so that those still running are the first of each step.
        steps = np.arange(lengths[0])[:, None]
        rows = (starts + steps)[steps < lengths]
        return PackedSequence(torch.from_numpy(values[rows]), torch.from_numpy((steps < lengths).sum(axis=1)))

    return torch_work(model, pack)


def torch_work(model: str, pack: Callable[..., Any]) -> Work:
    import torch

    torch.set_num_threads(threads())
    estimator: Any = rgru.load(model)
    module = estimator._gru.to_torch().eval()

    def last_states(*sequences: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            states: NDArray[np.float32] = module(pack(*sequences))[1][0].numpy()
        return states

    return lambda data, output: by_hand(estimator, data, output, PACKED, last_states)


def by_hand(estimator: Any, data: str, output: str, size: int, last_states: Callable[..., NDArray[np.float32]]) -> None:
    """Read, sort, run in batches of `size`, and write."""
    weight, bias, classes = estimator._head.weight, estimator._head.bias, estimator.classes_
    schema = pa.schema([("id", pa.int64()), ("prediction", pa.int64())])
    with pq.ParquetWriter(output, schema) as writer:
        for batch in pq.ParquetFile(data).iter_batches(ROWS):
            column = batch.column("x")
            values = column.flatten().flatten().to_numpy().reshape(-1, estimator.n_features_in_)
            offsets = column.offsets.to_numpy().astype(np.int64)
            starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
            labels = np.empty(len(lengths), np.int64)
            order = np.argsort(-lengths, kind="stable")
            for chosen in batches_of(order, size):
                states = last_states(values, starts[chosen], lengths[chosen])
                labels[chosen] = classes[(states @ weight.T + bias).argmax(axis=1)]
            writer.write_batch(pa.record_batch([batch.column("id"), pa.array(labels)], schema=schema))


def batches_of(order: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    return (order[first : first + size] for first in range(0, len(order), size))


def parameters(gru: rgru.GRU) -> dict[str, NDArray[Any]]:
    """The parameters of the only direction of the only layer."""
    return {name.removeprefix("layers.0.fwd."): array for name, array in gru.params.items()}


def threads() -> int:
    return int(str(rgru.info()["num_threads"]))


JOBS: dict[str, Callable[[str], Work]] = {
    "rgru predict": rgru_predict,
    "rgru in memory": rgru_in_memory,
    "ONNX Runtime": onnxruntime_padded,
    "PyTorch, pack_sequence": torch_packed,
    "PyTorch, packed by NumPy": torch_packed_by_numpy,
}
