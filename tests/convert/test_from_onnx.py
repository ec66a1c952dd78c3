"""GRUs of ONNX files: weights behind other nodes, the choice of nodes, states, and what is refused."""

import numpy as np
import pytest

import rgru

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.peers

from onnx_cases import Model, single  # noqa: E402
from rgru.convert.onnx import from_arrays, from_onnx, to_arrays  # noqa: E402


def arrays(model):
    """The weights that the node is meant to have."""
    return [model.tensors[name] for name in ("W", "R", "B")]


def assert_same(gru, expected):
    assert repr(gru) == repr(expected)
    assert np.array_equal(gru.params.flat, expected.params.flat)


def direct(model, **attributes):
    return from_arrays([(*arrays(model), {"hidden_size": 4, **attributes})])


@pytest.mark.parametrize("cell", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1])
def test_a_single_node(tmp_path, cell, direction, layout):
    attributes = {"linear_before_reset": cell, "direction": direction, "layout": layout, "clip": 2.0}
    model = single(attributes)
    expected = direct(model, **attributes)
    path = tmp_path / "gru.onnx"
    onnx.save(model.proto(), path)
    for source in (path, str(path), path.read_bytes(), model.proto()):
        assert_same(rgru.from_onnx(source), expected)


def test_activations_are_carried():
    attributes = {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.25]}
    gru = from_onnx(single(attributes).proto())
    assert (gru.gate_activation, gru.activation) == (("hard_sigmoid", 0.25, 0.5), "softsign")


def test_weights_behind_nodes_that_move_numbers():
    """As exporters write them: gates in another order, a missing axis, halves that are joined, a cast, a constant."""
    model = single()
    W, R, B = arrays(model)
    expected = direct(model)
    [node] = model.nodes
    model.nodes = []
    model.tensors = {"z": W[0, :4].T.copy(), "rest": W[0, 4:].astype(np.float64), "axis": np.array([0])}
    model.add("Transpose", ["z"], "z.turned", perm=[1, 0])
    model.add("Cast", ["rest"], "rest.cast", to=1)
    model.add("Concat", ["z.turned", "rest.cast"], "W2", axis=0)
    model.add("Unsqueeze", ["W2", "axis"], "W")
    model.tensor("wide", np.concatenate([R, R + 1], axis=1))
    model.tensor("starts", [0])
    model.tensor("ends", [12])
    model.add("Slice", ["wide", "starts", "ends", "one"], "R1")
    model.tensor("one", [1])
    model.add("Identity", ["R1"], "R")
    model.add("Constant", [], "B1", value=onnx.numpy_helper.from_array(B.reshape(2, 12)))
    model.tensor("shape", [1, 24])
    model.add("Reshape", ["B1", "shape"], "B")
    model.nodes.append(node)
    assert_same(from_onnx(model.proto()), expected)


@pytest.mark.parametrize(("dtype", "result"), [("float16", "float32"), ("float64", "float64")])
def test_other_precisions(dtype, result):
    model = single(dtype=dtype)
    gru = from_onnx(model.proto())
    assert gru.dtype == result
    [(W, R, _, _)] = to_arrays(gru)
    assert np.array_equal(W, model.tensors["W"].astype(result))
    assert np.array_equal(R, model.tensors["R"].astype(result))


def test_local_functions_are_inlined():
    """An exporter may put a layer into a function of the model."""
    model = single()
    proto = model.proto()
    names = ["x", "W", "R", "B"]
    proto.functions.append(
        onnx.helper.make_function(
            "mine", "Layer", names, ["Y", "Y_h"], list(proto.graph.node), [onnx.helper.make_opsetid("", 14)]
        )
    )
    del proto.graph.node[:]
    proto.graph.node.append(onnx.helper.make_node("Layer", names, ["Y", "Y_h"], domain="mine"))
    proto.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    assert_same(from_onnx(proto), direct(model))


def test_external_data(tmp_path):
    model = single()
    path = tmp_path / "gru.onnx"
    onnx.save(model.proto(), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").stat().st_size > 0
    assert_same(from_onnx(path), direct(model))


def two_layers(second="second.", **attributes):
    model = Model()
    model.inputs["x"] = ("float32", ("time", "batch", 3))
    model.add("GRU", ["x", *model.weights("first.", 3, 4)], "Y1", "h1", name="a", hidden_size=4)
    model.add("Squeeze", ["Y1", model.tensor("axis", [1])], "x2")
    model.add("GRU", ["x2", *model.weights(second, 4, 4)], "Y", "h2", name="b", hidden_size=4, **attributes)
    model.outputs = {"Y": "float32", "h1": "float32"}
    return model


def test_layers_that_follow_each_other_are_one_gru():
    assert repr(from_onnx(two_layers().proto())) == "GRU(3, 4, num_layers=2)"
    model = two_layers()
    for node, prefix in (("a", "first."), ("b", "second.")):
        W, R, B = (model.tensors[f"{prefix}{name}"] for name in "WRB")
        expected = from_arrays([(W, R, B, {"hidden_size": 4})])
        assert_same(from_onnx(model.proto(), node), expected)
        assert_same(from_onnx(model.proto(), prefix), expected)
        assert_same(from_onnx(model.proto(), node=f"{prefix}W"), expected)


ROW = "expected layers in a row .*"
LISTED = r".* node= converts a GRU by itself: 'a' \(H=4.*'b' \(H=4"


@pytest.mark.parametrize("attributes", [{"linear_before_reset": 1}, {"clip": 3.0}, {"direction": "reverse"}])
def test_layers_that_a_gru_cannot_hold_are_two(attributes):
    model = two_layers(**attributes)
    with pytest.raises(ValueError, match=f"{ROW}2 results, 'Y', 'h1'{LISTED}"):
        from_onnx(model.proto())
    with pytest.raises(ValueError, match=r"expected one GRU, got 2, choose by node=: 'a' \(H=4.*'b' \(H=4"):
        from_onnx(model.proto(), node="")
    model.outputs = {"Y": "float32"}
    model.add("Squeeze", ["Y", "axis"], "y")
    model.outputs = {"y": "float32"}
    both = from_onnx(model.proto())
    assert [repr(gru) for gru in both.layers] == [repr(from_onnx(model.proto(), node)) for node in ("a", "b")]


@pytest.mark.parametrize("value", ["x2", "Y1"])
@pytest.mark.parametrize("way", ["output", "node"])
def test_a_value_between_layers_that_is_used_elsewhere_makes_them_two(value, way):
    model = two_layers()
    model.outputs[value if way == "output" else "more"] = "float32"
    if way == "node":
        model.add("Tanh", [value], "more")
    with pytest.raises(ValueError, match=f"{ROW}3 results{LISTED}|{ROW}at Tanh node{LISTED}"):
        from_onnx(model.proto())


@pytest.mark.parametrize("between", ["Neg", "Transpose"])
def test_what_changes_numbers_between_layers_is_refused(between):
    """Also where every shape is the same."""
    model = two_layers()
    model.nodes[1].output[0] = "squeezed"
    attributes = {"perm": [1, 0, 2]} if between == "Transpose" else {}
    model.nodes.insert(2, onnx.helper.make_node(between, ["squeezed"], ["x2"], **attributes))
    where = "at Neg node 'x2'" if between == "Neg" else "'x2' at GRU node 'b'"
    with pytest.raises(ValueError, match=f"{ROW}{where}{LISTED}"):
        from_onnx(model.proto())


def test_a_reshape_that_fits_one_size_only_is_no_layer_order():
    """Y (T, 1, N, H) as (N, T, H) mixes sequences and steps, though its shape may look right."""
    model = two_layers()
    model.nodes[1] = onnx.helper.make_node("Reshape", ["Y1", "shape"], ["x2"])
    model.tensor("shape", [-1, 7, 4])
    with pytest.raises(ValueError, match=f"{ROW}sizes that cannot be followed .* at Reshape node 'x2'{LISTED}"):
        from_onnx(model.proto())


# -- initial states and lengths ---------------------------------------------------------------------------------------


def test_states_that_all_sequences_share_are_learned_ones():
    rows = np.arange(8, dtype=np.float32).reshape(2, 1, 4) / 8
    for states in (rows, np.repeat(rows, 3, axis=1)):
        model = single({"direction": "bidirectional"}, initial_h="h0")
        model.tensor("h0", states)
        gru = from_onnx(model.proto())
        assert gru.learned_h0
        for name, row in zip(("fwd", "rev"), rows, strict=True):
            assert np.array_equal(gru.params[f"layers.0.{name}.h0"], row[0])


def test_states_for_each_sequence_are_refused_and_zeros_are_none():
    model = single(initial_h="h0")
    model.tensor("h0", np.arange(8, dtype=np.float32).reshape(1, 2, 4))
    with pytest.raises(
        ValueError, match=r"GRU node 'a': initial_h: expected the same states for all sequences, got \[\[\["
    ):
        from_onnx(model.proto())
    model.tensor("h0", np.zeros((1, 2, 4), np.float32))
    assert not from_onnx(model.proto()).learned_h0


def test_states_of_the_shape_of_the_input():
    """Exporters expand them to as many sequences as x has."""
    model = single(initial_h="h0")
    nodes, model.nodes = model.nodes, []
    model.add("Shape", ["x"], "shape")
    model.add("Gather", ["shape", model.tensor("one", [1])], "batch")
    model.add("Concat", ["one", "batch", "one"], "sizes", axis=0)
    model.add("Expand", [model.tensor("row", np.full((1, 1, 4), 0.5, np.float32)), "sizes"], "h0")
    model.nodes += nodes
    assert np.array_equal(from_onnx(model.proto()).params["layers.0.fwd.h0"], np.full(4, 0.5, np.float32))


def test_states_and_lengths_that_are_inputs_are_for_the_call():
    model = single(initial_h="h0", sequence_lens="lengths")
    model.inputs |= {"h0": ("float32", (1, "batch", 4)), "lengths": ("int32", ("batch",))}
    assert_same(from_onnx(model.proto()), direct(model))
    del model.inputs["lengths"]
    model.tensor("lengths", np.array([1, 2], np.int32))
    with pytest.raises(ValueError, match=r"GRU node 'a': sequence_lens: expected no constant, got \[1 2\]"):
        from_onnx(model.proto())


# -- PyTorch's exporters ----------------------------------------------------------------------------------------------


def test_a_file_of_pytorch_with_the_other_cell_warns():
    model = single()
    proto = model.proto(producer_name="pytorch")
    with pytest.warns(
        UserWarning, match=r"'a' has linear_before_reset=0.*pytorch#189225, onnxscript#2852.*reset_after=True"
    ):
        assert not from_onnx(proto).reset_after
    assert not from_onnx(proto, reset_after=False).reset_after
    assert_same(from_onnx(proto, reset_after=True), direct(model, linear_before_reset=1))
    with pytest.raises(ValueError, match="reset_after: expected True or None"):
        from_onnx(single({"linear_before_reset": 1}).proto(), reset_after=False)


# -- what is refused --------------------------------------------------------------------------------------------------


def refuse(match, model, error=ValueError, **options):
    with pytest.raises(error, match=match):
        from_onnx(model if not hasattr(model, "proto") else model.proto(), **options)


def test_bad_arguments(tmp_path):
    refuse("path: expected a path, bytes or an onnx.ModelProto, got int", 3, TypeError)
    refuse("node: expected a str, got int", single(), TypeError, node=1)
    refuse("reset_after: expected True or False, got 1", single(), TypeError, reset_after=1)
    refuse(r"expected a GRU node whose name or weights begin with 'c', got 'a' \(H=4", single(), node="c")
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx")


def test_models_without_a_gru():
    model = Model()
    model.inputs["x"] = ("float32", (2,))
    model.add("Tanh", ["x"], "y")
    model.outputs["y"] = "float32"
    refuse("expected a GRU node, got none at the top level", model)
    refuse("expected an ONNX model, got one without nodes", onnx.ModelProto())


def test_features_that_rgru_lacks_are_named():
    refuse("GRU node 'a'.*activations.*got 'LeakyRelu'", single({"activations": ["Sigmoid", "LeakyRelu"]}))
    refuse(
        "GRU node 'a'.*beta of the gates", single({"activations": ["HardSigmoid", "Tanh"], "activation_beta": [0.4]})
    )
    refuse(r"GRU node 'a'.*W: expected shape .* = \(1, 15, 3\)", single({"hidden_size": 5}))


def test_weights_that_depend_on_inputs():
    model = single()
    del model.tensors["W"]
    model.inputs["W"] = ("float32", (1, 12, 3))
    refuse("expected a constant, got 'W', which depends on inputs", model)


def test_weights_of_operators_that_compute():
    model = single()
    model.tensors["S"] = model.tensors.pop("W")
    model.nodes.insert(0, onnx.helper.make_node("Softmax", ["S"], ["W"], name="s"))
    refuse("'s' has no constant value: Softmax does more than move numbers", model)
