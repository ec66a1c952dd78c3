"""What PyTorch's exporters write on this machine, beside PyTorch; the golden files are of a fixed version."""

import numpy as np
import pytest

import rgru

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
# The exporters' own deprecations and notes.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


class Network(torch.nn.Module):
    def __init__(self, layers, bidirectional, batch_first, bias):
        super().__init__()
        self.gru = torch.nn.GRU(3, 5, layers, bidirectional=bidirectional, batch_first=batch_first, bias=bias)
        self.out = torch.nn.Linear(5 * (1 + bidirectional), 2)

    def forward(self, x, h0):
        y, h_n = self.gru(x, h0)
        return torch.relu(self.out(y)), h_n


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize(
    "settings",  # layers, bidirectional, batch_first, bias
    [(1, False, True, True), (2, True, False, True), (3, False, True, False), (2, True, True, True)],
)
def test_a_network(tmp_path, settings, dynamo):
    layers, bidirectional, batch_first, bias = settings
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = Network(*settings).eval()
    count, path = layers * (1 + bidirectional), tmp_path / "network.onnx"
    seen = torch.randn(*((2, 4) if batch_first else (4, 2)), 3), torch.randn(count, 2, 5)
    names = ("batch", "time") if batch_first else ("time", "batch")
    options = {"input_names": ["x", "h0"], "output_names": ["z", "h_n"], "dynamo": dynamo}
    if dynamo:
        dims = {name: torch.export.Dim(name) for name in names}
        shapes = {"x": {0: dims[names[0]], 1: dims[names[1]]}, "h0": {1: dims["batch"]}}
        torch.onnx.export(network, seen, path, dynamic_shapes=shapes, verbose=False, **options)
    else:
        axes = {"x": dict(enumerate(names)), "h0": {1: "batch"}}
        torch.onnx.export(network, seen, path, dynamic_axes=axes, **options)

    given = torch.randn(*((3, 9) if batch_first else (9, 3)), 3), torch.randn(count, 3, 5)
    with torch.inference_mode():
        expected = [one.numpy() for one in network(*given)]
    session = rgru.onnx.InferenceSession(path, small_calls=False)
    found = session.run(None, {name: one.numpy() for name, one in zip(("x", "h0"), given, strict=True)})
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert session.notes == []
    assert [type(step).__name__ for step in session._steps] == ["GruStep", "RuntimeStep"]

    [gru] = session.grus.values()
    ours = rgru.from_torch(network.gru)
    for model in (gru, rgru.from_onnx(path, node="")):
        assert repr(model) == repr(ours) or not bias  # an exporter may write zeros where there are no biases
        assert rgru.compare(model, ours, np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32))
