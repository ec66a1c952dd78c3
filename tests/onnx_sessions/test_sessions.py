"""Whole models on rgru and ONNX Runtime, beside ONNX Runtime alone or ONNX's reference implementation."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import rgru

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.peers

from onnx_cases import Model, single  # noqa: E402
from rgru.onnx import InferenceSession  # noqa: E402

RANDOM = np.random.default_rng(0)
LENGTHS = np.array([4, 6, 1], np.int32)


def cut(model, **options):
    """The session under test, without its way around small calls."""
    proto = model if isinstance(model, onnx.ModelProto) else model.proto()
    return InferenceSession(proto, small_calls=False, **options)


def alone(model):
    proto = model if isinstance(model, onnx.ModelProto) else model.proto()
    return runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def normal(*shape, dtype="float32"):
    return RANDOM.standard_normal(shape).astype(dtype)


def kinds(session):
    return [type(step).__name__ for step in session._steps]


def assert_equal(found, expected, tolerance=1e-6):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def check(model, feeds, grus=1, notes=0):
    """Compare with ONNX Runtime, and return the session."""
    session = cut(model)
    assert (len(session.grus), len(session.notes)) == (grus, notes), session.notes
    assert_equal(session.run(None, feeds), alone(model).run(None, feeds))
    return session


@pytest.mark.parametrize("outputs", [("Y", "Y_h"), ("Y",), ("Y_h",)])
@pytest.mark.parametrize("given", [(), ("sequence_lens",), ("initial_h",), ("sequence_lens", "initial_h")])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("cell", [0, 1])
def test_a_single_node(cell, direction, given, outputs):
    model = single({"linear_before_reset": cell, "direction": direction, "clip": 0.9}, **{name: name for name in given})
    model.nodes[0].output[:] = [name if name in outputs else "" for name in ("Y", "Y_h")]
    model.outputs = dict.fromkeys(outputs, "float32")
    directions = 2 if direction == "bidirectional" else 1
    feeds = {"x": normal(6, 3, 3)}
    if "sequence_lens" in given:
        model.inputs["sequence_lens"] = ("int32", ("batch",))
        feeds["sequence_lens"] = LENGTHS
    if "initial_h" in given:
        model.inputs["initial_h"] = ("float32", (directions, "batch", 4))
        feeds["initial_h"] = normal(directions, 3, 4)
    assert kinds(check(model, feeds)) == ["GruStep"]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("cell", [0, 1])
def test_layout_1(cell, direction):
    """ONNX Runtime refuses it: the same node with layout 0 is the reference."""
    attributes = {"linear_before_reset": cell, "direction": direction}
    models = [single({**attributes, "layout": layout}, initial_h="h0", sequence_lens="lengths") for layout in (0, 1)]
    count = 2 if direction == "bidirectional" else 1
    for model, shape in zip(models, [(count, "batch", 4), ("batch", count, 4)], strict=True):
        model.inputs |= {"h0": ("float32", shape), "lengths": ("int32", ("batch",))}
    x, h0 = normal(6, 3, 3), normal(count, 3, 4)
    Y, Y_h = alone(models[0]).run(None, {"x": x, "h0": h0, "lengths": LENGTHS})
    feeds = {"x": x.swapaxes(0, 1), "h0": h0.swapaxes(0, 1), "lengths": LENGTHS}
    expected = [Y.transpose(2, 0, 1, 3), Y_h.swapaxes(0, 1)]
    assert_equal(cut(models[1]).run(None, feeds), expected)
    assert_equal(InferenceSession(models[1].proto()).run(None, feeds), expected)  # a small call that it cannot run


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float16", 2e-3)])
def test_other_precisions(dtype, tolerance):
    """ONNX Runtime runs neither on the CPU; the reference implementation does."""
    from onnx.reference import ReferenceEvaluator

    model = single({"linear_before_reset": 1}, dtype, initial_h="h0")
    model.inputs["h0"] = (dtype, (1, "batch", 4))
    model.add("Add", ["Y_h", "Y_h"], "twice")
    model.outputs = {"Y": dtype, "twice": dtype}
    feeds = {"x": normal(6, 3, 3, dtype=dtype), "h0": normal(1, 3, 4, dtype=dtype)}
    expected = ReferenceEvaluator(model.proto()).run(None, feeds)
    for small_calls in (False, True):
        session = InferenceSession(model.proto(), small_calls=small_calls)
        assert_equal(session.run(None, feeds), expected, tolerance)


def sensors():
    """Dense layers around two GRUs with residual connections, lengths, and states of one for the other."""
    model = Model()
    model.inputs = {"x": ("float32", ("batch", "time", 3)), "lengths": ("int32", ("batch",))}
    model.outputs = {"z": "float32", "h2": "float32", "hidden": "float32", "count": "int64"}
    model.add("MatMul", ["x", model.uniform("M", 3, 4)], "dense")
    model.add("Relu", ["dense"], "hidden")
    model.add("Transpose", ["hidden"], "turned", perm=[1, 0, 2])
    model.add("GRU", ["turned", *model.weights("a.", 4, 4), "lengths"], "Y1", "h1", name="a", hidden_size=4)
    model.add("Squeeze", ["Y1", model.tensor("axis", [1])], "y1")
    model.add("Add", ["y1", "turned"], "sum")
    weights = model.weights("b.", 4, 4)
    model.add("Tanh", ["h1"], "state")
    attributes = {"hidden_size": 4, "linear_before_reset": 1}
    model.add("GRU", ["sum", *weights, "lengths", "state"], "Y2", "h2", name="b", **attributes)
    model.add("Squeeze", ["Y2", "axis"], "y2")
    model.add("Transpose", ["y2"], "y2.turned", perm=[1, 0, 2])
    model.add("Add", ["y2.turned", "hidden"], "all")
    model.add("MatMul", ["all", model.uniform("N", 4, 2)], "z")
    model.add("Size", ["x"], "count")
    return model


def test_several_grus_with_pieces_between():
    session = check(sensors(), {"x": normal(3, 6, 3), "lengths": LENGTHS}, grus=2)
    assert kinds(session) == ["RuntimeStep", "GruStep", "RuntimeStep", "GruStep", "RuntimeStep"]
    for batch, time in itertools.product((1, 5), (1, 40)):
        feeds = {"x": normal(batch, time, 3), "lengths": RANDOM.integers(1, time + 1, batch).astype(np.int32)}
        assert_equal(session.run(None, feeds), alone(sensors()).run(None, feeds))


def test_the_interface_is_that_of_onnx_runtime():
    ours, theirs = cut(sensors()), alone(sensors())
    for name in ("get_inputs", "get_outputs"):
        found = [(one.name, one.type, one.shape) for one in getattr(ours, name)()]
        expected = [(one.name, one.type, one.shape) for one in getattr(theirs, name)()]
        assert [one[:2] for one in found] == [one[:2] for one in expected]
        if name == "get_inputs":
            assert found == expected  # ONNX Runtime infers the shapes of outputs, which this file leaves open
    feeds = {"x": normal(3, 6, 3), "lengths": LENGTHS}
    for names in (["h2"], ["count", "z"], []):
        assert_equal(ours.run(names, feeds), theirs.run(names, feeds))
    assert_equal(ours.run(None, {"x": feeds["x"].tolist(), "lengths": LENGTHS} | feeds), theirs.run(None, feeds))


def test_the_metadata_is_that_of_onnx_runtime():
    model = single({}).proto()
    model.producer_name, model.domain, model.doc_string, model.model_version = "someone", "org.example", "a model", 7
    model.graph.doc_string = "its graph"
    model.metadata_props.add(key="labels", value="a,b")
    theirs, ours = (
        kind(model.SerializeToString()).get_modelmeta() for kind in (runtime.InferenceSession, InferenceSession)
    )
    names = [name for name in dir(theirs) if not name.startswith("_")]
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}


def test_arrays_are_passed_without_copies(monkeypatch):
    """What a piece makes is read where it is, although the node's axes are turned, and so is what the GRU makes."""
    model = Model()
    model.inputs = {"x": ("float32", ("batch", "time", 3))}
    model.outputs = {"z": "float32"}
    model.add("Relu", ["x"], "before")
    model.add("Transpose", ["before"], "turned", perm=[1, 0, 2])
    model.add("GRU", ["turned", *model.weights("", 3, 4)], "Y", name="a", hidden_size=4)
    model.add("Squeeze", ["Y", model.tensor("axis", [1])], "squeezed")
    model.add("Transpose", ["squeezed"], "after", perm=[1, 0, 2])
    model.add("Tanh", ["after"], "z")
    session, seen = cut(model), {}
    original = rgru.GRU.__call__

    def call(gru, x, *given, **options):
        seen["x"] = x
        seen["y"], h_n = original(gru, x, *given, **options)
        return seen["y"], h_n

    monkeypatch.setattr(rgru.GRU, "__call__", call)
    values = {"x": normal(3, 6, 3)}
    for step in session._steps:
        step.run(values)
    assert kinds(session) == ["RuntimeStep", "GruStep", "RuntimeStep"]
    assert seen["x"] is values["before"]
    assert seen["x"].flags.c_contiguous
    assert seen["y"] is values["after"]


def test_nodes_of_both_layouts_are_two_grus():
    """The second one reads what the first one wrote, and the axes of their outputs differ."""
    model = Model()
    model.inputs = {"x": ("float32", ("time", "batch", 3))}
    model.outputs = {"Y2": "float32", "h2": "float32"}
    first, second = model.weights("a.", 3, 4), model.weights("b.", 4, 4)
    model.add("GRU", ["x", *first], "Y1", name="a", hidden_size=4)
    model.add("Squeeze", ["Y1", model.tensor("axis", [1])], "y1")
    model.add("Transpose", ["y1"], "x2", perm=[1, 0, 2])
    model.add("GRU", ["x2", *second], "Y2", "h2", name="b", hidden_size=4, layout=1)
    x = normal(6, 3, 3)
    session = cut(model)
    assert len(session.grus) == 2
    Y2, h2 = session.run(None, {"x": x})
    model.nodes[2:] = []
    model.add("GRU", ["y1", *second], "Y2", "h2", name="b", hidden_size=4)
    expected = alone(model).run(None, {"x": x})
    assert_equal([Y2.transpose(1, 2, 0, 3), h2.swapaxes(0, 1)], expected)


def test_layers_are_one_gru_and_keep_their_states():
    """Two directions, each layer with states of its own, of which the first are zero and the others given."""
    model = Model()
    model.inputs = {"x": ("float32", ("time", "batch", 3)), "h0": ("float32", (2, "batch", 4))}
    model.outputs = {"last": "float32", "h1": "float32", "both": "float32", "y": "float32"}
    attributes = {"hidden_size": 4, "direction": "bidirectional"}
    model.add("GRU", ["x", *model.weights("a.", 3, 4, 2)], "Y1", "h1", name="a", **attributes)
    model.add("Transpose", ["Y1"], "turned", perm=[0, 2, 1, 3])
    model.add("Reshape", ["turned", model.tensor("shape", [0, 0, -1])], "x2")
    model.add("GRU", ["x2", *model.weights("b.", 8, 4, 2), "", "h0"], "Y2", "h2", name="b", **attributes)
    model.add("Transpose", ["Y2"], "turned2", perm=[0, 2, 1, 3])
    model.add("Reshape", ["turned2", "shape"], "y")
    model.add("Concat", ["h1", "h2"], "both", axis=0)
    model.add("Gather", ["y", model.tensor("end", -1)], "last", axis=0)
    session = check(model, {"x": normal(6, 3, 3), "h0": normal(2, 3, 4)})
    assert list(session.grus) == ["a, b"]
    assert kinds(session) == ["GruStep", "RuntimeStep"]  # the last step alone; Reshape and Concat are rgru's outputs


def test_what_a_layer_gives_to_others_keeps_the_layers_apart():
    model = Model()
    model.inputs = {"x": ("float32", ("time", "batch", 3))}
    model.outputs = {"Y2": "float32", "more": "float32"}
    model.add("GRU", ["x", *model.weights("a.", 3, 4)], "Y1", name="a", hidden_size=4)
    model.add("Squeeze", ["Y1", model.tensor("axis", [1])], "x2")
    model.add("GRU", ["x2", *model.weights("b.", 4, 4)], "Y2", name="b", hidden_size=4)
    model.add("Tanh", ["x2"], "more")
    check(model, {"x": normal(6, 3, 3)}, grus=2)


def test_a_layer_that_needs_the_last_state_of_the_one_before_is_apart():
    model = Model()
    model.inputs = {"x": ("float32", ("time", "batch", 3))}
    model.outputs = {"Y2": "float32"}
    model.add("GRU", ["x", *model.weights("a.", 3, 4)], "Y1", "h1", name="a", hidden_size=4)
    model.add("Squeeze", ["Y1", model.tensor("axis", [1])], "x2")
    model.add("GRU", ["x2", *model.weights("b.", 4, 4), "", "h1"], "Y2", name="b", hidden_size=4)
    check(model, {"x": normal(6, 3, 3)}, grus=2)


def test_constants_that_nodes_and_outputs_read():
    """States of each sequence, lengths, an output that depends on no input, and one that is an initialiser."""
    model = single(initial_h="h0", sequence_lens="lengths")
    model.tensor("h0", normal(1, 3, 4))
    model.tensor("lengths", LENGTHS)
    model.add("Tanh", ["h0"], "constant")
    model.add("Add", ["Y_h", "constant"], "sum")
    model.outputs = {"Y": "float32", "sum": "float32", "constant": "float32"}
    check(model, {"x": normal(6, 3, 3)})


def test_initialisers_that_are_inputs_too():
    """As in files before ir_version 4."""
    model = single()
    model.add("Add", ["Y_h", model.uniform("c", 4)], "sum")
    model.outputs["sum"] = "float32"
    proto = model.proto()
    proto.ir_version = 3
    for one in proto.graph.initializer:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(one.name, 1, one.dims))
    proto.opset_import[0].version = 8
    session = check(proto, {"x": normal(6, 3, 3)})
    assert [one.name for one in session.get_inputs()] == ["x"]


# -- what stays with ONNX Runtime -------------------------------------------------------------------------------------


def inner_gru(model):
    """A graph of one GRU node that reads weights and x from outside."""
    node = onnx.helper.make_node(
        "GRU", ["x", *model.weights("in.", 3, 4)], ["in.Y", "in.h"], name="inner", hidden_size=4
    )
    return [node], [onnx.helper.make_tensor_value_info("in.h", 1, None)]


def test_a_gru_within_an_if_stays_with_onnx_runtime():
    model = single()
    nodes, outputs = inner_gru(model)
    one = onnx.helper.make_graph(nodes, "then", [], outputs)
    other = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["Y_h"], ["negated"])],
        "else",
        [],
        [onnx.helper.make_tensor_value_info("negated", 1, None)],
    )
    model.inputs["condition"] = ("int32", ())
    model.add("Cast", ["condition"], "flag", to=9)
    model.add("If", ["flag"], "z", then_branch=one, else_branch=other)
    model.outputs["z"] = "float32"
    x = normal(6, 3, 3)
    for value in (0, 1):
        session = check(model, {"x": x, "condition": np.array(value, np.int32)}, notes=1)
    assert session.notes == ["GRU node 'inner' runs on ONNX Runtime: it is within a graph of If"]
    assert list(session.grus) == ["a"]


def test_a_gru_within_a_loop_stays_with_onnx_runtime():
    model = single()
    nodes, _ = inner_gru(model)
    body = onnx.helper.make_graph(
        [
            *nodes,
            onnx.helper.make_node("Add", ["before", "in.h"], ["after"]),
            onnx.helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            onnx.helper.make_tensor_value_info("i", 7, ()),
            onnx.helper.make_tensor_value_info("go", 9, ()),
            onnx.helper.make_tensor_value_info("before", 1, None),
        ],
        [onnx.helper.make_tensor_value_info("on", 9, ()), onnx.helper.make_tensor_value_info("after", 1, None)],
    )
    model.add("Loop", [model.tensor("count", 3), "", "Y_h"], "z", body=body)
    model.outputs["z"] = "float32"
    session = check(model, {"x": normal(6, 3, 3)}, notes=1)
    assert session.notes == ["GRU node 'inner' runs on ONNX Runtime: it is within a graph of Loop"]


def test_features_that_rgru_lacks_stay_with_onnx_runtime():
    model = single({"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.1]})
    model.outputs = {"Y": "float32"}
    session = check(model, {"x": normal(6, 3, 3)}, grus=0, notes=1)
    assert session.notes[0].startswith("GRU node 'a' runs on ONNX Runtime: ")
    assert "got 'LeakyRelu'" in session.notes[0]


def test_weights_that_are_inputs_stay_with_onnx_runtime():
    model = single()
    feeds = {"x": normal(6, 3, 3), "R": model.tensors.pop("R")}
    model.inputs["R"] = ("float32", (1, 12, 4))
    session = check(model, feeds, grus=0, notes=1)
    assert "expected a constant, got 'R'" in session.notes[0]


def test_a_sequence_between_pieces_is_no_tensor():
    """It cannot be passed: all of the model stays with ONNX Runtime, and gives the same outputs."""
    model = Model()
    model.inputs["x"] = ("float32", ("time", "batch", 3))
    model.add("SequenceConstruct", ["x", "x"], "pair")
    model.add("SequenceAt", ["pair", model.tensor("first", 0)], "x1")
    model.add("GRU", ["x1", *model.weights("", 3, 4)], "Y", "Y_h", name="a", hidden_size=4)
    model.add("ReduceMax", ["Y_h"], "largest", keepdims=0)
    model.add("Cast", ["largest"], "which", to=7)
    model.add("SequenceAt", ["pair", "which"], "z")
    model.outputs = {"z": "float32"}
    session = check(model, {"x": normal(6, 3, 3)}, grus=0, notes=1)
    assert session.notes == [
        "all of the model runs on ONNX Runtime: 'pair' is no tensor, and cannot be passed between sessions"
    ]


def test_the_bits_of_a_gru_do_not_depend_on_the_batch(tmp_path):
    gru = rgru.GRU(3, 8, seed=0)
    gru.to_onnx(tmp_path / "gru.onnx")
    session = InferenceSession(tmp_path / "gru.onnx")
    [name] = [one.name for one in session.get_inputs()]
    x = normal(64, 40, 3)
    whole = session.run(None, {name: x})[0]
    np.testing.assert_array_equal(whole, gru(x)[0])
    np.testing.assert_array_equal(session.run(None, {name: x[5:6, :2]})[0], whole[5:6, :2])


# -- options and errors -----------------------------------------------------------------------------------------------


def test_small_calls_run_whole(monkeypatch):
    """They agree with the others, and large ones do not take that way."""
    session = InferenceSession(sensors().proto(), small_calls=True)
    starts = []
    original = session._small._start
    session._small._start = lambda: starts.append(original()) or starts[-1]
    large = {"x": normal(64, 200, 3), "lengths": np.full(64, 200, np.int32)}
    assert_equal(session.run(None, large), cut(sensors()).run(None, large))
    assert not starts
    small = {"x": normal(3, 6, 3), "lengths": LENGTHS}
    for _ in range(2):
        assert_equal(session.run(["z"], small), cut(sensors()).run(["z"], small))
    assert len(starts) == 1
    with pytest.raises(TypeError, match="small_calls: expected True or False, got 1"):
        InferenceSession(sensors().proto(), small_calls=1)


def test_fixed_axes_count_for_the_size_of_a_call():
    for time, small in ((200, False), (2, True)):
        model = single()
        model.inputs["x"] = ("float32", (time, 64, 3))
        session = InferenceSession(model.proto(), small_calls=True)
        x = normal(time, 64, 3)
        assert (session._small.session_for({"x": x}) is not None) == small
        assert_equal(session.run(None, {"x": x}), alone(model).run(None, {"x": x}))


def test_nodes_in_any_order():
    """As ONNX Runtime takes them, and as its converter to float16 leaves them: casts of the inputs come last."""
    model, feeds = sensors(), {"x": normal(3, 6, 3), "lengths": LENGTHS}
    expected = cut(model).run(None, feeds)
    model.nodes.reverse()
    assert_equal(cut(model).run(None, feeds), expected)
    assert_equal(alone(model).run(None, feeds), expected)
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    half = float16.convert_float_to_float16(sensors().proto(), keep_io_types=True)
    assert cut(half).grus.keys() == cut(sensors()).grus.keys()
    assert_equal(cut(half).run(["z"], feeds), cut(model).run(["z"], feeds), 1e-2)


def test_no_sequences_are_no_small_call():
    """ONNX Runtime 1.32 ends the process where its GRU gets none."""
    session = InferenceSession(single().proto(), small_calls=True)
    for time, batch in ((0, 3), (5, 0)):
        assert session.run(["Y"], {"x": normal(time, batch, 3)})[0].shape[::2] == (time, batch)


def test_lists_are_arrays_of_the_type_of_the_input():
    session, x = cut(sensors()), normal(3, 6, 3)
    found = session.run(None, {"x": x.tolist(), "lengths": LENGTHS.tolist()})
    assert_equal(found, alone(sensors()).run(None, {"x": x, "lengths": LENGTHS}))


def test_an_input_that_is_a_sequence():
    tensor = onnx.helper.make_tensor_type_proto(1, [None, 2, 3])
    model = Model()
    model.inputs["x"] = ("float32", ("time", "batch", 3))
    model.add("SequenceAt", ["parts", model.tensor("last", -1)], "part")
    model.add("Add", ["x", "part"], "sum")
    model.add("GRU", ["sum", *model.weights("", 3, 4)], "Y", name="a", hidden_size=4)
    model.outputs = {"Y": "float32"}
    proto = model.proto()
    proto.graph.input.append(onnx.helper.make_value_info("parts", onnx.helper.make_sequence_type_proto(tensor)))
    feeds = {"x": normal(5, 2, 3), "parts": [normal(4, 2, 3), normal(1, 2, 3)]}
    check(proto, feeds)


def test_options_of_the_sessions():
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = cut(sensors(), sess_options=options, providers=["CPUExecutionProvider"])
    first = session._steps[0].session
    assert first.get_session_options().intra_op_num_threads == 1
    assert first.get_providers() == ["CPUExecutionProvider"]
    usual = cut(sensors())._steps[0].session.get_session_options()
    assert usual.intra_op_num_threads == rgru.info()["num_threads"]
    assert usual.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_calls_on_many_threads():
    session = InferenceSession(sensors().proto(), small_calls=True)
    feeds = [{"x": normal(3, time, 3), "lengths": np.minimum(LENGTHS, time)} for time in range(1, 40)]
    expected = [cut(sensors()).run(None, one) for one in feeds]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(lambda one: session.run(None, one), feeds), expected, strict=True):
            assert_equal(found, right)


@pytest.mark.parametrize("small_calls", [False, True])
def test_bad_feeds(small_calls):
    session = InferenceSession(sensors().proto(), small_calls=small_calls)
    x = normal(3, 6, 3)
    with pytest.raises(ValueError, match="input_feed: expected arrays for x, lengths, got x"):
        session.run(None, {"x": x})
    with pytest.raises(ValueError, match="input_feed: expected arrays for x, lengths, got x, sizes"):
        session.run(None, {"x": x, "sizes": LENGTHS})
    with pytest.raises(ValueError, match="output_names: expected some of count, h2, hidden, z, got q"):
        session.run(["q"], {"x": x, "lengths": LENGTHS})


def test_bad_models():
    with pytest.raises(TypeError, match=r"path: expected a path, bytes or an onnx\.ModelProto, got int"):
        InferenceSession(3)
    model = sensors()
    model.nodes[0].op_type = "Unknown"
    with pytest.raises(ValueError, match=r"model: ONNX Runtime refuses the model: .*Unknown"):
        InferenceSession(model.proto())
    model = single()
    model.add("Add", ["x", "Y2"], "Y1")
    model.add("Add", ["x", "Y1"], "Y2")
    with pytest.raises(ValueError, match="expected nodes in an order of their use"):
        InferenceSession(model.proto())
