"""Random graphs of GRUs and nodes between them, beside ONNX Runtime alone: cuts, stacks and orders of axes."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.peers

from onnx_cases import Model  # noqa: E402
from rgru.onnx import InferenceSession  # noqa: E402

FEATURES = 4


class Graph(Model):
    """A model that grows at random: values (T, N, 4) and (N, T, 4), and states (1, N, 4) or (2, N, 2)."""

    def __init__(self, seed):
        super().__init__(seed=seed)
        self.inputs = {
            "x": ("float32", ("time", "batch", FEATURES)),
            "h0": ("float32", (1, "batch", FEATURES)),
            "lengths": ("int32", ("batch",)),
        }
        self.time_first, self.batch_first, self.states = ["x"], [], {1: ["h0"], 2: []}
        self.tensor("one", [1])
        self.tensor("merged", [0, 0, FEATURES])
        self.usual = self.settings()

    def new(self, operator, inputs, **attributes):
        return self.add(operator, inputs, f"v{len(self.nodes)}", **attributes)

    def pick(self, values):
        """A value, rather a late one, so that layers follow each other."""
        return values[-1] if self.random.random() < 0.6 else values[self.random.integers(len(values))]

    def settings(self):
        directions = ("forward", "reverse", "bidirectional")
        return (
            directions[self.random.integers(3)],
            int(self.random.integers(2)),
            ("", "lengths")[self.random.integers(2)],
        )

    def gru(self):
        direction, cell, lengths = self.usual if self.random.random() < 0.8 else self.settings()
        count, k = 1 + (direction == "bidirectional"), len(self.nodes)
        states = self.pick(self.states[count]) if self.states[count] and self.random.random() < 0.3 else ""
        inputs = [self.pick(self.time_first), *self.weights(f"{k}.", FEATURES, FEATURES // count, count)]
        inputs += [lengths, states]
        attributes = {"direction": direction, "hidden_size": FEATURES // count, "linear_before_reset": cell}
        self.add("GRU", inputs, f"Y{k}", f"s{k}", name=f"gru{k}", **attributes)
        self.states[count].append(f"s{k}")
        if count == 1 and self.random.random() < 0.5:
            self.time_first.append(self.new("Squeeze", [f"Y{k}", "one"]))
        else:
            turned = self.new("Transpose", [f"Y{k}"], perm=[0, 2, 1, 3])
            self.time_first.append(self.new("Reshape", [turned, "merged"]))

    def turn(self):
        source, target = (self.time_first, self.batch_first)[:: 1 if self.random.random() < 0.5 else -1]
        if source:
            target.append(self.new("Transpose", [self.pick(source)], perm=[1, 0, 2]))

    def compute(self):
        values = self.time_first if self.random.random() < 0.5 or not self.batch_first else self.batch_first
        one, two = self.pick(values), self.pick(values)
        operator = ("Add", "Tanh", "MatMul")[self.random.integers(3)]
        second = {"Add": [two], "Tanh": [], "MatMul": [self.uniform(f"M{len(self.nodes)}", FEATURES, FEATURES)]}
        values.append(self.new(operator, [one, *second[operator]]))

    def finish(self):
        values = [*self.time_first[1:], *self.batch_first, *self.states[1][1:], *self.states[2]]
        chosen = {values[i] for i in self.random.integers(0, len(values), 3)} | {self.time_first[-1]}
        if len(self.states[1]) > 2:
            chosen.add(self.new("Concat", self.states[1][1:], axis=0))
        self.outputs = dict.fromkeys(sorted(chosen), "float32")


def grown(seed):
    graph = Graph(seed)
    graph.gru()
    for step in graph.random.choice(["gru", "gru", "gru", "turn", "compute"], int(graph.random.integers(1, 9))):
        getattr(graph, step)()
    graph.finish()
    return graph


@pytest.mark.parametrize("seed", range(60))
def test_the_same_outputs(seed):
    graph = grown(seed)
    model = graph.proto()
    session = InferenceSession(model, small_calls=False)
    assert session.notes == []
    theirs = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for time, batch in ((6, 3), (1, 1), (4, 5)):
        feeds = {
            "x": graph.random.standard_normal((time, batch, FEATURES)).astype(np.float32),
            "h0": graph.random.standard_normal((1, batch, FEATURES)).astype(np.float32),
            "lengths": graph.random.integers(1, time + 1, batch).astype(np.int32),
        }
        for name, ours, expected in zip(graph.outputs, session.run(None, feeds), theirs.run(None, feeds), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()), err_msg=name)


def test_some_of_them_have_stacks():
    """So that the test above tries what it is for."""
    sessions = [InferenceSession(grown(seed).proto()) for seed in range(60)]
    layers = [gru.num_layers for session in sessions for gru in session.grus.values()]
    assert layers.count(1) > 60
    assert sum(one > 1 for one in layers) > 20
