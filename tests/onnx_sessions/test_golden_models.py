"""Models as exporters write them, with the outputs of their frameworks; needs neither framework."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.peers

import rgru  # noqa: E402

FOLDER = Path(__file__).parents[1] / "goldens" / "onnx_models"
GRUS = {  # by the end of the name: those that run on rgru
    "layers": ["GRU(3, 4, num_layers=2, bidirectional=True, reset_after=True)"],
    "states": ["GRU(3, 4, reset_after=True)"],
    "words": ["GRU(5, 4, num_layers=2, reset_after=True, bias=False)"],
    "sounds": ["GRU(4, 4, reset_after=True)"] * 2,
    "packed": ["GRU(3, 4, bidirectional=True, reset_after=True)"],
    "keras": [],
}
FILES = sorted(FOLDER.glob("*.onnx"))


def arrays(path, kind):
    with np.load(path.with_suffix(".npz")) as file:
        return {key.removeprefix(kind): file[key] for key in file.files if key.startswith(kind)}


def name_of(path):
    return path.stem.split("_")[-1]


def test_all_files_are_there():
    both = {f"torch_{exporter}_{name}" for exporter in ("script", "dynamo") for name in GRUS if name != "keras"}
    assert {path.stem for path in FILES} == both - {"torch_dynamo_packed"} | {"keras"}


@pytest.mark.parametrize("small_calls", [False, True])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_outputs(path, small_calls):
    session = rgru.onnx.InferenceSession(path, small_calls=small_calls)
    found = session.run(None, arrays(path, "in."))
    expected = arrays(path, "out.")
    assert [one.name for one in session.get_outputs()] == list(expected)
    for ours, theirs in zip(found, expected.values(), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert [repr(gru) for gru in session.grus.values()] == GRUS[name_of(path)]
    notes = ["all of the model runs on ONNX Runtime: it has no GRU nodes"] if name_of(path) == "keras" else []
    assert session.notes == notes


@pytest.mark.parametrize("path", [path for path in FILES if len(GRUS[name_of(path)]) == 1], ids=lambda path: path.stem)
def test_the_gru_by_itself(path):
    """Where the model has nothing else, or only a dense layer after it, its states are those of the file."""
    nodes = {"layers": "", "words": ""}  # of all nodes, where there is more than a GRU
    gru = rgru.from_onnx(path, nodes.get(name_of(path)))
    assert repr(gru) == GRUS[name_of(path)][0]
    given, expected = arrays(path, "in."), arrays(path, "out.")
    if name_of(path) in ("layers", "packed"):
        _, h_n = gru(given["x"], lengths=given.get("lengths"))
        np.testing.assert_allclose(h_n, expected["h_n"], rtol=0, atol=1e-6)
    elif name_of(path) == "states":
        y, h_n = gru(given["x"].swapaxes(0, 1), given["h0"])
        np.testing.assert_allclose(y.swapaxes(0, 1), expected["y"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(h_n, expected["h_n"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("exporter", ["script", "dynamo"])
def test_a_whole_model(exporter):
    path = FOLDER / f"torch_{exporter}_words.onnx"
    model = rgru.from_onnx(path)
    assert [type(one).__name__ for one in model.layers] == ["GRU", "Pool", "Linear", "Activation"]
    np.testing.assert_allclose(model(arrays(path, "in.")["x"]), arrays(path, "out.")["y"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("exporter", ["script", "dynamo"])
def test_one_of_several(exporter):
    path = FOLDER / f"torch_{exporter}_sounds.onnx"
    with pytest.raises(
        ValueError, match=r"expected one GRU, got 2, choose by node=: '.*' \(H=4, forward, .*; '.*' \(H=4"
    ):
        rgru.from_onnx(path, "")
    for node in {"script": ["/first/GRU", "/first/", "/second"], "dynamo": ["node_gru__1", "node_gru_1"]}[exporter]:
        assert repr(rgru.from_onnx(path, node)) == GRUS["sounds"][0]


def test_nothing_of_a_gru_is_left_to_onnx_runtime():
    """What surrounds a GRU without computing anything is no piece of its own."""
    steps = {path.stem: [type(step).__name__ for step in rgru.onnx.InferenceSession(path)._steps] for path in FILES}
    for exporter in ("script", "dynamo"):
        assert steps[f"torch_{exporter}_layers"] == ["GruStep", "RuntimeStep"]
        assert steps[f"torch_{exporter}_states"] == ["GruStep"]
        assert steps[f"torch_{exporter}_words"] == ["RuntimeStep", "GruStep", "RuntimeStep"]
        assert steps[f"torch_{exporter}_sounds"] == ["RuntimeStep", "GruStep"] * 2 + ["RuntimeStep"]
