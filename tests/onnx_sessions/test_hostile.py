"""Damaged and hostile files: an error that is a ValueError, in bounded time and memory."""

import os
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.peers

from onnx_cases import Model, single  # noqa: E402
from rgru import from_onnx  # noqa: E402
from rgru.onnx import InferenceSession  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "goldens" / "onnx_models" / "torch_dynamo_words.onnx"
MEGABYTE = 2**20


@contextmanager
def bounded(seconds=2.0, memory=16 * MEGABYTE):
    """Fail if the block takes longer, or allocates more through Python and NumPy."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        assert time.process_time() - start < seconds
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


def refuse(match, source, load=from_onnx):
    with bounded(), pytest.raises(ValueError, match=match):
        load(source)


def saved(folder, proto):
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [from_onnx, InferenceSession])
def test_truncated_files(tmp_path, load):
    data = GOLDEN.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in (*range(0, 64, 3), *np.linspace(64, len(data) - 1, 60).astype(int)):
        path.write_bytes(data[:length])
        refuse(r"cut\.onnx: ", path, load)


@pytest.mark.parametrize("load", [from_onnx, InferenceSession])
def test_files_of_another_kind(tmp_path, load):
    path = tmp_path / "other.onnx"
    for data in (
        b"PK\x03\x04 a zip",
        b"\x89HDF\r\n\x1a\n",
        b"{}",
        b"\x00" * 4096,
        np.random.default_rng(0).bytes(4096),
    ):
        path.write_bytes(data)
        refuse(r"other\.onnx: expected an ONNX model", path, load)


@pytest.mark.filterwarnings("ignore:.*linear_before_reset=0")  # an attribute may get lost
@pytest.mark.parametrize("load", [from_onnx, InferenceSession])
def test_random_damage(load):
    """A file that is still valid may load; every other one gives a ValueError."""
    random, data = np.random.default_rng(0), GOLDEN.read_bytes()
    refused = 0
    for _ in range(250):
        damaged = np.frombuffer(data, np.uint8).copy()
        for place in random.integers(0, len(data), random.integers(1, 8)):
            damaged[place] = random.integers(256) if random.random() < 0.5 else damaged[place] ^ 1 << random.integers(8)
        with bounded(memory=64 * MEGABYTE):
            try:
                load(damaged.tobytes())
            except ValueError:
                refused += 1
    assert 20 < refused < 250


# -- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [from_onnx, InferenceSession])
@pytest.mark.parametrize(
    "dims", [[2**40], [2**20, 2**20], [1, 2**62], [2**31, 2**31, 4], [-1, 12, 3], [-(2**40), -1]], ids=str
)
def test_tensors_that_claim_more_than_the_file_has(load, dims):
    proto = single().proto()
    proto.graph.initializer[0].dims[:] = dims
    refuse(r"model: expected the data of tensor 'W' with the shape", proto, load)
    inner = single().proto()
    inner.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["c"], value=proto.graph.initializer[0]))
    refuse(r"model: expected the data of tensor 'W' with the shape", inner, load)


def test_sizes_that_do_not_match_the_data():
    proto = single().proto()
    proto.graph.initializer[0].dims[:] = [1, 12, 4]
    refuse("'W' has no constant value", proto)
    refuse("W: expected shape", single({"hidden_size": 2**31 - 1}).proto())
    refuse("hidden_size", single({"hidden_size": -4}).proto())


@pytest.mark.parametrize(
    ("operator", "sizes"),
    [("ConstantOfShape", [2**20, 2**20]), ("Expand", [2**40]), ("ConstantOfShape", [2**26])],
    ids=str,
)
def test_constants_that_are_computed_are_no_larger_than_the_model(operator, sizes):
    model = single()
    del model.tensors["W"]
    inputs = [model.tensor("sizes", sizes)]
    if operator == "Expand":
        inputs = [model.tensor("row", np.ones(1, np.float32)), "sizes"]
    model.nodes.insert(0, onnx.helper.make_node(operator, inputs, ["W"], name="bomb"))
    refuse("'bomb' has no constant value: 'W' is larger than the whole model", model.proto())


def test_a_constant_that_doubles_forty_times():
    model = single()
    W = model.tensors.pop("W")
    model.tensor("c0", W)
    doubling = [onnx.helper.make_node("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], axis=0) for i in range(40)]
    model.nodes[:0] = [*doubling, onnx.helper.make_node("Identity", ["c40"], ["W"])]
    refuse("is larger than the whole model", model.proto())


def test_layers_after_a_gru_that_grow_are_not_followed():
    """The search for the order of axes stops before a value that is too large, and the GRU stays what it is."""
    model = single()
    for i in range(40):
        model.add("Concat", [f"y{i}" if i else "Y"] * 2, f"y{i + 1}", axis=0)
    model.outputs = {"Y_h": "float32", "y40": "float32"}
    with bounded(memory=256 * MEGABYTE):
        assert repr(from_onnx(model.proto(), "a")) == "GRU(3, 4)"
        with pytest.raises(ValueError, match=r"sizes that cannot be followed .* at Concat node 'y"):
            from_onnx(model.proto())


def test_many_nodes():
    model = Model()
    model.inputs["x"] = ("float32", ("time", "batch", 3))
    weights = model.weights("", 3, 4)
    for i in range(300):
        model.add("GRU", ["x", *weights], f"Y{i}", hidden_size=4)
        model.outputs[f"Y{i}"] = "float32"
    with bounded(20, 64 * MEGABYTE), pytest.raises(ValueError, match="expected one GRU, got 300"):
        from_onnx(model.proto(), "")
    with bounded(20, 64 * MEGABYTE), pytest.raises(ValueError, match=r"300 results, 'Y0', 'Y1', .* and 280 more"):
        from_onnx(model.proto())


def test_many_nodes_that_move_numbers():
    """Each is run on numbers; so there is a limit to how many."""
    model = single()
    for i in range(3000):
        model.add("Transpose", [f"y{i}" if i else "Y_h"], f"y{i + 1}", perm=[1, 0, 2])
    model.outputs = {"y3000": "float32"}
    refuse("got 3001 nodes", model.proto())
    model = single()
    for i in range(40):  # larger and larger, each below the limit
        model.add("Expand", ["Y", model.tensor(f"wide{i}", [50 + i, 1, 1, 1])], f"y{i}")
        model.outputs[f"y{i}"] = "float32"
    with (
        bounded(20, 256 * MEGABYTE),
        pytest.raises(ValueError, match=r"sizes that cannot be followed|too large to follow"),
    ):
        from_onnx(model.proto())


# -- external data ----------------------------------------------------------------------------------------------------


def external(folder, **entries):
    """A model whose W is in another file."""
    model = single()
    proto = model.proto()
    tensor = proto.graph.initializer[0]
    (folder / "weights").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "weights", **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return proto


@pytest.mark.parametrize("load", [from_onnx, InferenceSession])
def test_data_beside_the_model(tmp_path, load):
    load(saved(tmp_path, external(tmp_path)))
    load(saved(tmp_path, external(tmp_path, offset=0, length=144)))
    refuse("got a model without a path", external(tmp_path), load)


@pytest.mark.parametrize("load", [from_onnx, InferenceSession])
@pytest.mark.parametrize(
    "location", ["../secret", "inside/../../secret", "{outside}/secret", "link", "", ".", "none", "a\0b"]
)
def test_data_elsewhere(tmp_path, load, location):
    inside, outside = tmp_path / "inside", tmp_path
    inside.mkdir()
    (outside / "secret").write_bytes(b"\0" * 144)
    (inside / "link").symlink_to(outside / "secret")
    path = saved(inside, external(inside, location=location.format(outside=outside)))
    refuse("expected the data of tensor 'W' in a file beside the model, got the location", path, load)


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 1, "length": 144},
        {"length": 145},
        {"offset": -1},
        {"length": -144},
        {"offset": 2**70},
        {"offset": "x"},
    ],
    ids=str,
)
def test_data_outside_of_the_file(tmp_path, entries):
    refuse("got a range outside of 'weights', which has 144 bytes", saved(tmp_path, external(tmp_path, **entries)))


def test_data_of_another_size(tmp_path):
    refuse("'W' has no constant value", saved(tmp_path, external(tmp_path, length=100)))


def test_data_in_a_pipe(tmp_path):
    """It would be read for ever."""
    os.mkfifo(tmp_path / "pipe")
    refuse("got the location 'pipe'", saved(tmp_path, external(tmp_path, location="pipe")))


def test_a_file_that_many_tensors_claim(tmp_path):
    """A small model must not read a large file many times."""
    proto = external(tmp_path)
    first = proto.graph.initializer[0]
    for i in range(50):
        proto.graph.initializer.append(first)
        proto.graph.initializer[-1].name = f"W{i}"
    refuse("expected tensors with data of their own, got more than 4 times", saved(tmp_path, proto))
