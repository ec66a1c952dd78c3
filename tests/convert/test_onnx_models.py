"""Whole ONNX models: those of PyTorch's exporters and of hand-made graphs, and what is refused by name."""

import io
from pathlib import Path

import numpy as np
import pytest

import rgru
from rgru.model import Activation, Linear, Pool

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx.reference")
torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]  # exporters announce changes of their own

from command_line import succeed  # noqa: E402
from onnx_cases import Model as Graph  # noqa: E402

nn = torch.nn
FOLDER = Path(__file__).parents[1] / "goldens" / "onnx_models"
V, E, H = 20, 6, 8


class Net(nn.Module):
    """Embedding or numbers, normalisation, a GRU, a way of pooling, a head."""

    def __init__(self, pool, *, ids=True, layers=1, **options):
        super().__init__()
        self.embedding = nn.Embedding(V, E) if ids else nn.Identity()
        self.norm = nn.LayerNorm(E)
        self.gru = nn.GRU(E, H, layers, **{"batch_first": True, **options})
        self.pool = pool
        self.first = nn.Linear(H * (2 if self.gru.bidirectional else 1), 5)
        self.head = nn.Sequential(nn.LeakyReLU(0.1), nn.LayerNorm(5), nn.Linear(5, 3, bias=False), nn.Softmax(dim=-1))
        with torch.no_grad():
            for part in self.modules():  # gains and biases other than those at the start
                if isinstance(part, nn.LayerNorm):
                    part.weight.uniform_(0.5, 1.5)
                    part.bias.uniform_(-0.5, 0.5)

    def forward(self, x):
        y, h_n = self.gru(self.norm(self.embedding(x)))
        return self.head(torch.tanh(self.first(self.pool(y, h_n))))


POOLS = {
    "last step": (lambda y, h_n: y[:, -1], {}),
    "last step, all features": (lambda y, h_n: y[:, -1, :], {"layers": 2}),
    "last step, time first": (lambda y, h_n: y[-1], {"batch_first": False}),
    "last state": (lambda y, h_n: h_n[-1], {"layers": 2}),
    "state of the first layer": (lambda y, h_n: h_n[0], {"layers": 2}),  # the second one is not needed
    "only state": (lambda y, h_n: h_n.squeeze(0), {}),
    "both states": (lambda y, h_n: torch.cat([h_n[-2], h_n[-1]], dim=1), {"layers": 2, "bidirectional": True}),
    "states, reshaped": (lambda y, h_n: h_n.transpose(0, 1).reshape(-1, 2 * H), {"bidirectional": True}),
    "mean": (lambda y, h_n: y.mean(dim=1), {"bidirectional": True}),
    "mean, time first": (lambda y, h_n: torch.mean(y, 0), {"batch_first": False}),
    "mean that keeps the axis": (lambda y, h_n: y.mean(dim=1, keepdim=True).squeeze(1), {}),
    "max": (lambda y, h_n: y.max(dim=1)[0], {}),
    "amax": (lambda y, h_n: torch.amax(y, dim=1), {"bidirectional": True}),
    "pooling layer": (lambda y, h_n: nn.functional.adaptive_max_pool1d(y.transpose(1, 2), 1).squeeze(2), {}),
    "every step": (lambda y, h_n: y, {"bidirectional": True}),
}

OF_ONNX_ALONE = ("state of the first layer", "states, reshaped", "pooling layer", "mean that keeps the axis")
"""Those that `from_torch` refuses."""


def exported(net, x, *, dynamo, opset=None, names=("x",)):
    """Return the bytes of an export with open axes of batch and time."""
    file = io.BytesIO()
    options = {"input_names": list(names), "opset_version": opset}
    first = getattr(net, "gru", None)
    axes = ("batch", "time") if first is None or first.batch_first else ("time", "batch")
    if dynamo:
        shapes = (dict(enumerate(map(torch.export.Dim, axes))),)
        program = torch.onnx.export(net, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False, **options)
        program.save(file)
    else:
        torch.onnx.export(net, (x,), file, dynamo=False, dynamic_axes={"x": dict(enumerate(axes))}, **options)
    return file.getvalue()


def assert_same(net, data, *inputs):
    model = rgru.from_onnx(data)
    for given in inputs:
        x = given
        with torch.inference_mode():
            expected = net(given).numpy()
        first = getattr(net, "gru", None)
        if first is not None and not first.batch_first:
            x = x.transpose(0, 1)
            expected = expected.swapaxes(0, 1) if expected.ndim == 3 else expected
        found = model(x.numpy())
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    return model


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("pool", POOLS)
def test_outputs(pool, dynamo):
    """Of the exported model, also for other sizes than the exporter saw."""
    torch.manual_seed(0)
    ids = list(POOLS).index(pool) % 2 == dynamo
    function, options = POOLS[pool]
    net = Net(function, ids=ids, **options).eval()
    seen, given = (torch.randint(0, V, size) if ids else torch.randn(*size, E) for size in ((4, 9), (3, 5)))
    model = assert_same(net, exported(net, seen, dynamo=dynamo), seen, given)
    if pool not in OF_ONNX_ALONE:
        assert shown(model) == shown(rgru.from_torch(net))


def shown(model):
    """The layers, without the numbers that are float32 in a file."""
    return [repr(one) if isinstance(one, (rgru.GRU, Pool)) else type(one) for one in model.layers]


@pytest.mark.parametrize("opset", [9, 11, 13, 16, 17, 18])
def test_versions_of_onnx(opset):
    """Before 17 there is no LayerNormalization, before 13 axes are attributes, and softmax is another operator."""
    torch.manual_seed(0)
    net = Net(POOLS["mean"][0], bidirectional=True).eval()
    x = torch.randint(0, V, (4, 9))
    data = exported(net, x, dynamo=False, opset=opset)
    has_operator = any(node.op_type == "LayerNormalization" for node in onnx.load_from_string(data).graph.node)
    assert has_operator == (opset >= 17)
    assert_same(net, data, x)


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
def test_two_grus_and_layers_between_them(dynamo):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.middle = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 6)
            self.second, self.out = nn.GRU(6, 4, bidirectional=True, batch_first=True), nn.Linear(8, 2)

        def forward(self, x):
            y = nn.functional.silu(self.middle(self.first(x)[0]))
            return nn.functional.hardsigmoid(self.out(self.second(y)[0]))

    torch.manual_seed(0)
    net, x = Two().eval(), torch.randn(2, 7, 3)
    model = assert_same(net, exported(net, x, dynamo=dynamo), x, torch.randn(4, 3, 3))
    assert [type(one).__name__ for one in model.layers] == [
        "GRU",
        "Linear",
        "Activation",
        "GRU",
        "Linear",
        "Activation",
    ]


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
def test_fixed_sizes(dynamo):
    """Exporters write the sizes into the nodes then."""
    torch.manual_seed(0)
    net, x, file = Net(POOLS["last state"][0], layers=2).eval(), torch.randint(0, V, (1, 9)), io.BytesIO()
    if dynamo:
        torch.onnx.export(net, (x,), dynamo=True, verbose=False).save(file)
    else:
        torch.onnx.export(net, (x,), file, dynamo=False)
    assert_same(net, file.getvalue(), x)


# -- graphs made by hand ----------------------------------------------------------------------------------------------


def graph(layout=1, *, inputs=3, hidden=4, kind="float32", before=None, **attributes):
    """A GRU with the input `x`, or what `before` makes of it, and the outputs Y and Y_h."""
    model = Graph(opset=17)
    model.inputs["x"] = ("int64", ("batch", "time")) if kind == "int64" else (kind, ("batch", "time", inputs))
    x = before(model) if before else "x"
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    given = {"hidden_size": hidden, "layout": layout, **attributes}
    model.add("GRU", [x, *model.weights("", inputs, hidden, directions)], "Y", "Y_h", name="gru", **given)
    return model


def output(model, name="z"):
    model.outputs = {name: "float32"}
    return model.proto()


def steps(model):
    return model.add("Squeeze", ["Y", model.tensor("axis", [2])], "y")


def test_linear_layers_over_flattened_steps():
    """Rows are followed wherever they go: here to (N*T, H) and back, as a Gemm needs them."""
    model = graph(layout=1)
    shape = model.add("Shape", [steps(model)], "shape")
    model.add("Reshape", ["y", model.tensor("flat", [-1, 4])], "rows")
    model.add("Gemm", ["rows", model.uniform("M", 4, 4), model.uniform("c", 1, 4)], "mapped")
    model.add("Reshape", ["mapped", shape], "back")
    model.add("Transpose", ["back"], "z", perm=[1, 0, 2])
    model = rgru.from_onnx(output(model))
    assert [type(one) for one in model.layers] == [rgru.GRU, Linear]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("kind", ["Add", "Div", "Mul", "Sub"])
def test_constants(kind, before):
    model = graph()
    numbers = model.uniform("c", 4)
    model.add("Tanh", [steps(model)], "t")
    given = [numbers, "t"] if before and kind != "Div" else ["t", numbers]
    model.add(kind, given, "z")
    data, x = output(model), np.random.default_rng(2).standard_normal((2, 5, 3), np.float32)
    found = rgru.from_onnx(data)(x)
    [constant] = (onnx.numpy_helper.to_array(one) for one in data.graph.initializer if one.name == numbers)
    rows = np.tanh(rgru.from_onnx(data, node="gru")(x)[0])
    operation = {"Add": np.add, "Div": np.divide, "Mul": np.multiply, "Sub": np.subtract}[kind]
    expected = operation(*([constant, rows] if given[0] == numbers else [rows, constant]))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("limits", [("low", ""), ("", "high"), ("low", "high")])
def test_limits(limits):
    model = graph()
    numbers = {"low": -0.05, "high": 0.1}
    given = [model.tensor(name, np.float32(numbers[name])) if name else "" for name in limits]
    model.add("Clip", [steps(model), *given], "z")
    data, x = output(model), np.random.default_rng(2).standard_normal((2, 5, 3), np.float32)
    rows = rgru.from_onnx(data, node="gru")(x)[0]
    expected = np.clip(rows, *(np.float32(numbers[name]) if name else None for name in limits))
    np.testing.assert_allclose(rgru.from_onnx(data)(x), expected, rtol=0, atol=1e-7)


def test_batch_normalisation_and_an_output_without_its_axis():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList([nn.BatchNorm1d(E), nn.BatchNorm1d(H)])
            for norm in self.norms:
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2.0)
            self.gru, self.head = nn.GRU(E, H, batch_first=True), nn.Linear(H, 1)

        def forward(self, x):
            y = self.gru(self.norms[0](x.transpose(1, 2)).transpose(1, 2))[0][:, -1]
            return torch.sigmoid(self.head(self.norms[1](y)).squeeze(-1)) * 100.0

    torch.manual_seed(0)
    net, x = Normalised().eval(), torch.randn(4, 9, E)
    for dynamo in (False, True):
        model = rgru.from_onnx(exported(net, x, dynamo=dynamo))
        np.testing.assert_allclose(model(x.numpy())[:, 0], net(x).detach(), rtol=0, atol=2e-5)


def test_an_output_with_the_axis_of_the_last_step():
    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = nn.GRU(E, H, batch_first=True), nn.Linear(H, 2)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1:])

    net, x = Kept().eval(), torch.randn(4, 9, E)
    found = rgru.from_onnx(exported(net, x, dynamo=False))(x.numpy())
    np.testing.assert_allclose(found[:, None], net(x).detach(), rtol=0, atol=1e-6)


def test_normalisation_over_another_axis_is_refused():
    model = graph()
    model.add("BatchNormalization", [steps(model), *(model.uniform(name, 4) for name in "gbmv")], "z")
    words = "BatchNormalization over another axis than that of features at BatchNormalization node 'z'"
    refuse(output(model), words)


def test_dropout_and_identity():
    model = graph()
    model.add("Identity", [steps(model)], "same")
    model.add("Dropout", ["same", model.tensor("rate", np.float32(0.25))], "z")
    assert repr(rgru.from_onnx(output(model))) == "Model([GRU(3, 4), Dropout(0.25)])"
    model.nodes[-1].input.append(model.tensor("training", np.array(True)))
    refuse(output(model), "Dropout with training_mode at Dropout node 'z'")


def test_an_embedding_and_a_gru_that_returns_its_states(tmp_path):
    """What rgru writes is what it reads."""
    gru = rgru.GRU(1, 4, num_layers=2, vocabulary=9, embedding_size=3, seed=0)
    gru.to_onnx(tmp_path / "gru.onnx")
    back = rgru.from_onnx(tmp_path / "gru.onnx")
    assert repr(back) == repr(gru)
    assert np.array_equal(back.params.flat, gru.params.flat)


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "Softsign", "Elu", "LeakyRelu", "HardSigmoid"])
def test_activations(activation):
    model = graph()
    model.add(activation, [steps(model)], "z")
    x = np.random.default_rng(0).standard_normal((3, 5, 3)).astype(np.float32) * 3
    found = rgru.from_onnx(output(model))
    model = graph(layout=0, before=lambda model: model.add("Transpose", ["x"], "turned", perm=[1, 0, 2]))
    model.add("Squeeze", ["Y", model.tensor("axis", [1])], "y")
    model.add("Transpose", ["y"], "back", perm=[1, 0, 2])
    model.add(activation, ["back"], "z")  # the same numbers: ONNX Runtime lacks layout=1
    session = runtime.InferenceSession(output(model).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found(x), session.run(None, {"x": x})[0], rtol=0, atol=1e-6)
    assert isinstance(found.layers[1], Activation)


# -- what is refused --------------------------------------------------------------------------------------------------


def refuse(source, words):
    with pytest.raises(ValueError, match=words) as caught:
        rgru.from_onnx(source)
    assert "expected layers in a row" in str(caught.value)
    assert "node= converts a GRU by itself: '" in str(caught.value)
    assert "rgru.onnx.InferenceSession runs the whole file" in str(caught.value)


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize(
    ("pool", "options", "words"),
    [
        (lambda y, h_n: y[:, -1], {"bidirectional": True}, "the last step of two directions"),
        (lambda y, h_n: y[:, 0], {}, "an output '.*' of other rows"),
        (lambda y, h_n: y.flip(1), {}, "an output '.*' of other rows"),
        (lambda y, h_n: y[:, 1:].mean(1), {}, "mean over other axes than the steps .* at ReduceMean node '"),
        (lambda y, h_n: y[:, :100], {}, "a cut at 100 of an axis that may be longer at Slice node '"),
        (lambda y, h_n: y[:, -100:].mean(1), {}, "a cut at -100 of an axis that may be longer at Slice node '"),
        (lambda y, h_n: y + y, {}, "two values that depend on the inputs at Add node '"),
        (lambda y, h_n: 2 / (y + 3), {}, "a constant that is divided by rows at Div|no such layer at Reciprocal"),
        (lambda y, h_n: torch.cumsum(y, 1), {}, "no such layer at CumSum node '"),
        (lambda y, h_n: nn.functional.softmax(y, 1), {}, "Softmax.*axis|no rows"),
        (lambda y, h_n: torch.cat([h_n[-1], h_n[-2]], 1), {"bidirectional": True}, "no rows of one layer"),
    ],
)
def test_models_that_do_more(pool, options, words, dynamo):
    net = Net(pool, **options).eval()
    refuse(exported(net, torch.randint(0, V, (4, 9)), dynamo=dynamo), words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("script_sounds", "an operator that is no such layer at Conv node '/conv/Conv'"),
        ("dynamo_sounds", "an operator that is no such layer at Conv node 'node_conv1d'"),
        ("script_layers", "2 results, 'y', 'h_n'"),
        ("dynamo_layers", "2 results, 'y', 'h_n'"),
    ],
)
def test_golden_models_that_do_more(name, words):
    refuse(FOLDER / f"torch_{name}.onnx", words)


def test_states_and_lengths_of_a_call():
    """A model takes no states, and pools over all steps of an array where no lengths are given."""
    for place, name in ((4, "lengths"), (5, "h0")):
        model = graph()
        model.inputs[name] = ("int32", ("batch",)) if name == "lengths" else ("float32", ("batch", 1, 4))
        node = model.nodes[-1]
        node.input.extend([""] * (place - len(node.input)) + [name])
        assert repr(rgru.from_onnx(output(model, "Y"))) == "GRU(3, 4)"
        model.add("Tanh", [steps(model)], "z")
        refuse(output(model), f"(initial states|lengths) '{name}' for a GRU")


@pytest.mark.parametrize("shape", [(4, 1), (3, 4), (3, 1), (2,), (1, 1, 1, 4)])
def test_biases_that_are_not_the_same_for_all_rows(shape):
    model = graph()
    model.add("MatMul", [steps(model), model.uniform("M", 4, 4)], "mapped")
    model.add("Add", ["mapped", model.uniform("c", *shape)], "z")
    refuse(output(model), r"a constant \(.*\), which is not the same for all rows of 4 numbers at Add node 'z'")


def test_a_second_input():
    model = graph()
    model.inputs["more"] = ("float32", ("batch", "time", 4))
    model.add("Add", [steps(model), "more"], "z")
    refuse(output(model), "a second input 'more' at Add node 'z'")


def test_steps_in_reverse_order_are_no_inputs():
    def turned(model):
        ends = {"start": [-1], "end": [-(2**31)], "axis1": [1], "step": [-1]}
        return model.add("Slice", ["x", *(model.tensor(name, value) for name, value in ends.items())], "turned")

    refuse(output(graph(before=turned), "Y"), "other inputs than the steps before it in their order, 'turned'")


def test_a_cast_that_rounds_is_seen():
    def rounded(model):
        return model.add("Cast", [model.add("Cast", ["x"], "half", to=10)], "again", to=1)

    refuse(output(graph(before=rounded), "Y"), "no rows of one layer's outputs, 'again' at GRU node 'gru'")


def test_sizes_that_are_too_large_to_follow():
    model = graph()
    model.inputs["x"] = ("float32", (10**6, 10**6, 3))
    refuse(output(model, "Y"), "too many numbers to follow")
    model.inputs["x"] = ("float32", ("batch", 3))
    refuse(output(model, "Y"), "an input 'x' of 2 axes, which is no batch of sequences")


# -- damage -----------------------------------------------------------------------------------------------------------


def damage(model, random):
    """Change one node or tensor: another operator, input or number, or one that is missing."""
    nodes, tensors = model.graph.node, model.graph.initializer
    node = nodes[random.integers(len(nodes))]
    names = sorted({name for one in nodes for name in one.input})
    way = random.integers(5)
    if way == 0 and node.input:
        node.input[random.integers(len(node.input))] = random.choice(names)
    elif way == 1 and node.input:
        del node.input[random.integers(len(node.input))]
    elif way == 2 and node.attribute:
        one = node.attribute[random.integers(len(node.attribute))]
        if one.type == onnx.AttributeProto.FLOAT:
            one.f = float(random.standard_normal())
        elif one.type == onnx.AttributeProto.INT:
            one.i = int(random.integers(-3, 5))
    elif way == 3:
        node.op_type = random.choice([*sorted({one.op_type for one in nodes}), "Relu", "Dropout", "ReduceMax"])
    else:
        one = tensors[random.integers(len(tensors))]
        one.dims[:] = [*one.dims[::-1], *[1] * (len(one.dims) == 1)]


@pytest.mark.parametrize("opset", [16, 17])
def test_a_damaged_graph_is_refused_or_computes_what_its_nodes_do(opset):
    torch.manual_seed(0)
    data = exported(Net(POOLS["mean"][0]).eval(), torch.randint(0, V, (4, 9)), dynamo=False, opset=opset)
    random = np.random.default_rng(opset)
    same = refused = 0
    for _ in range(300):
        model = onnx.load_from_string(data)
        damage(model, random)
        try:
            found = rgru.from_onnx(model)
        except ValueError:
            refused += 1
            continue
        try:
            onnx.checker.check_model(model)
            x = random.integers(0, V, (3, 6))  # ONNX Runtime crashes on some of these models
            [expected] = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
        except Exception:  # of ONNX, which checks more than the layers need
            continue
        np.testing.assert_allclose(found(x), expected, rtol=0, atol=2e-6)
        same += 1
    assert same > 20 < refused


def test_the_command_line(tmp_path):
    path = FOLDER / "torch_script_words.onnx"
    out = succeed("convert", path, tmp_path / "words.safetensors").decode()
    assert out.startswith(f"{path}: Model([GRU(")
    with np.load(path.with_suffix(".npz")) as file:
        found = rgru.load(tmp_path / "words.safetensors")(file["in.x"])
        np.testing.assert_allclose(found, file["out.y"], rtol=0, atol=1e-6)
