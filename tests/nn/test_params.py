"""Parameters: names and shapes, read-only views, validated assignment, and effect of every change on the next call."""

import numpy as np
import pytest

import rgru


@pytest.fixture
def gru():
    return rgru.GRU(3, 4, 2, bidirectional=True, reset_after=True, seed=0)


X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)


def test_names_and_shapes_are_the_documented_ones(gru):
    expected = {}
    for k, size in enumerate((3, 8)):
        for direction in ("fwd", "rev"):
            prefix = f"layers.{k}.{direction}"
            expected |= {
                f"{prefix}.W": (12, size),
                f"{prefix}.U": (12, 4),
                f"{prefix}.b": (12,),
                f"{prefix}.b_hh": (4,),
            }
    assert {name: array.shape for name, array in gru.params.items()} == expected
    assert len(gru.params) == len(expected)
    assert set(rgru.GRU(3, 4).params) == {"layers.0.fwd.W", "layers.0.fwd.U", "layers.0.fwd.b"}
    assert set(rgru.GRU(3, 4, reset_after=True, bias=False).params) == {"layers.0.fwd.W", "layers.0.fwd.U"}


def test_views_are_read_only_and_follow_changes(gru):
    view = gru.params["layers.1.rev.U"]
    for array in (view, gru.params.flat, gru.layers[1].rev.U_hz):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    gru.params["layers.1.rev.U"] = np.ones((12, 4), np.float32)
    assert (view == 1).all()


def test_flat_contains_all_in_order(gru):
    assert np.array_equal(gru.params.flat, np.concatenate([array.ravel() for array in gru.params.values()]))


@pytest.mark.parametrize("run", [lambda gru: gru(X)[0], lambda gru: gru.record(X)[0]])
def test_every_way_of_assigning_reaches_the_next_call(gru, run):
    def outputs_after(change):
        change()
        return run(gru).copy()

    new = np.full((12, 3), 0.5, np.float32)
    outputs = [
        outputs_after(lambda: None),
        outputs_after(lambda: gru.params.__setitem__("layers.0.fwd.W", new)),
        outputs_after(lambda: gru.params.update({"layers.0.rev.b": np.ones(12, np.float32)})),
        outputs_after(lambda: setattr(gru.layers[1].fwd, "b_hh", np.ones(4, np.float32))),
        outputs_after(lambda: setattr(gru.layers[1].rev, "U_hz", np.eye(4, dtype=np.float32))),
    ]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert not np.array_equal(one, other)


def test_assignment_copies(gru):
    new = np.ones((12, 3), np.float32)
    gru.params["layers.0.fwd.W"] = new
    new[:] = 2
    assert (gru.params["layers.0.fwd.W"] == 1).all()


def test_gates_are_the_rows_r_z_h(gru):
    cell = gru.layers[1].rev
    for tensor, gates in (("W", "W_xr W_xz W_xh"), ("U", "U_hr U_hz U_hh"), ("b", "b_r b_z b_h")):
        whole = gru.params[f"layers.1.rev.{tensor}"]
        assert np.array_equal(getattr(cell, tensor), whole)
        for i, gate in enumerate(gates.split()):
            assert np.array_equal(getattr(cell, gate), whole[4 * i : 4 * i + 4])
            setattr(cell, gate, np.full(whole[:4].shape, i + 1, np.float32))
            assert (whole[4 * i : 4 * i + 4] == i + 1).all()
    cell.b_hh = [1.0, 2.0, 3.0, 4.0]
    assert gru.params["layers.1.rev.b_hh"].tolist() == [1, 2, 3, 4]


def test_assigning_a_gate_touches_nothing_else(gru):
    before = gru.params.flat.copy()
    gru.layers[0].rev.U_hz = np.zeros((4, 4), np.float32)
    assert (gru.params.flat != before).sum() == 16


def test_swapping_two_parameters_swaps_them(gru):
    first, second = gru.params["layers.0.fwd.U"].copy(), gru.params["layers.0.rev.U"].copy()
    gru.params.update({"layers.0.fwd.U": gru.params["layers.0.rev.U"], "layers.0.rev.U": gru.params["layers.0.fwd.U"]})
    assert np.array_equal(gru.params["layers.0.fwd.U"], second)
    assert np.array_equal(gru.params["layers.0.rev.U"], first)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"layers.0.rev.W": np.zeros((3, 12), np.float32)}, ValueError, r"layers\.0\.rev\.W: .*\(12, 3\).*\(3, 12\)"),
        ({"layers.0.rev.W": np.zeros((12, 3))}, TypeError, r"layers\.0\.rev\.W: .*float32.*float64"),
        ({"layers.0.rev.W": None}, TypeError, r"layers\.0\.rev\.W: .*None"),
        ({"layers.0.rev.w": np.zeros((12, 3), np.float32)}, KeyError, r"layers\.0\.rev\.w: "),
    ],
)
def test_update_changes_all_or_nothing(gru, bad, error, words):
    before = gru.params.flat.copy()
    with pytest.raises(error, match=words):
        gru.params.update({"layers.0.fwd.W": np.ones((12, 3), np.float32), **bad})
    assert np.array_equal(gru.params.flat, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "reset_after=True, got those of one with reset_after=False"),
        ({"reset_after": True, "activation": "relu"}, "activation='tanh', got those of one with activation='relu'"),
        ({"reset_after": True, "num_layers": 2}, "num_layers=1, got those of one with num_layers=2"),
    ],
)
def test_parameters_of_another_function_are_refused(options, words):
    gru = rgru.GRU(2, 3, reset_after=True, seed=0)
    before = gru.params.flat.copy()
    with pytest.raises(ValueError, match=f"^arrays: expected parameters of a GRU with {words}"):
        gru.params.update(rgru.GRU(2, 3, **options).params)
    assert np.array_equal(gru.params.flat, before)
    twin = rgru.GRU(2, 3, reset_after=True, zoneout=0.1, seed=1)
    gru.params.update(twin.params)  # which differs in training alone
    assert np.array_equal(gru.params.flat, twin.params.flat)


def test_misspelt_options_are_answered_with_the_nearest():
    for call, words in (
        (
            lambda: rgru.GRU(1, 2, bidirectonal=True),
            "^GRU has no parameter 'bidirectonal': did you mean 'bidirectional'",
        ),
        (
            lambda: rgru.Sessions(rgru.GRU(1, 2), timout=3),
            "^Sessions has no parameter 'timout': did you mean 'timeout'",
        ),
    ):
        with pytest.raises(TypeError, match=words):
            call()


def test_gate_errors_name_the_gate(gru):
    with pytest.raises(ValueError, match=r"layers\.0\.fwd\.W_xz: .*\(4, 3\).*\(12, 3\)"):
        gru.layers[0].fwd.W_xz = np.zeros((12, 3), np.float32)
    with pytest.raises(TypeError, match=r"layers\.0\.fwd\.b_h: .*float64"):
        gru.layers[0].fwd.b_h = np.zeros(4)
    with pytest.raises(ValueError, match=r"layers\.0\.fwd\.b_hh: .*\(4,\).*\(\)"):
        gru.layers[0].fwd.b_hh = 0.0
    with pytest.raises(AttributeError):
        gru.layers[0].fwd.W_hz = np.zeros((4, 3), np.float32)


def test_a_missing_parameter_is_an_attribute_error():
    plain = rgru.GRU(3, 4)
    assert not hasattr(plain.layers[0], "rev")
    assert not hasattr(plain.layers[0].fwd, "b_hh")
    with pytest.raises(AttributeError, match=r"layers\.0\.fwd has no b_z"):
        _ = rgru.GRU(3, 4, bias=False).layers[0].fwd.b_z
    with pytest.raises(AttributeError, match=r"layers\.0\.fwd has no b_hh"):
        plain.layers[0].fwd.b_hh = np.zeros(4, np.float32)
    assert len(rgru.GRU(3, 4, 3).layers) == 3


def test_float32_is_assigned_to_a_float64_gru_exactly():
    gru = rgru.GRU(3, 4, dtype="float64")
    new = X[0, :4].repeat(3, axis=0)
    gru.layers[0].fwd.W = new
    assert np.array_equal(gru.layers[0].fwd.W, new)
