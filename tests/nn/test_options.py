"""Options of the cell: their validation, files, and zoneout through the public calls."""

import numpy as np
import pytest

import rgru

OPTIONS = {
    "gate_activation": ("hard_sigmoid", 0.2, 0.5),
    "activation": ("elu", 1.5),
    "clip": 3.0,
    "zoneout": 0.25,
    "recurrent_dropout": 0.4,
    "state_clip": 0.5,
    "learned_h0": True,
}


def test_options_survive_files_copies_and_repr(tmp_path):
    gru = rgru.GRU(3, 4, **OPTIONS, seed=0)
    gru.save(tmp_path / "gru")
    again = rgru.load(tmp_path / "gru")
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(x)[0], gru(x)[0])
    for name, value in OPTIONS.items():
        assert getattr(again, name) == value
        assert f"{name}={value!r}" in repr(again)
    assert eval(repr(gru), {"GRU": rgru.GRU}).num_params == gru.num_params


def test_files_of_plain_grus_do_not_know_the_options(tmp_path):
    rgru.GRU(3, 4, seed=0).save(tmp_path / "gru")
    content = (tmp_path / "gru").read_bytes()
    assert not [name for name in OPTIONS if f'"{name}"'.encode() in content]


def test_an_elu_has_alpha_1_by_default():
    assert rgru.GRU(3, 4, activation="elu").activation == ("elu", 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "activation: expected one of 'sigmoid', 'hard_sigmoid', 'tanh', .*, got 'gelu'"),
        ({"gate_activation": "relu"}, r"gate_activation: expected one of 'sigmoid', 'hard_sigmoid', whose .*\[0, 1\]"),
        ({"gate_activation": "hard_sigmoid"}, r"gate_activation: expected \('hard_sigmoid', alpha, beta\): .*Keras 2"),
        ({"activation": ("tanh", 1.0)}, r"activation: expected 'tanh', got \('tanh', 1.0\)"),
        ({"activation": ("elu", 0.0)}, "activation: expected a float32 above 0 as alpha, got 0.0"),
        ({"activation": ("hard_sigmoid", 0.2, np.inf)}, "activation: expected a finite float32 as beta, got inf"),
        ({"clip": 0}, "clip: expected a float32 above 0 or None, got 0"),
        ({"state_clip": np.nan}, "state_clip: expected a float32 above 0 or None, got nan"),
        ({"zoneout": 1.0}, "zoneout: expected a number from 0 to below 1, got 1.0"),
        ({"recurrent_dropout": -0.5}, "recurrent_dropout: expected a number from 0 to below 1, got -0.5"),
        ({"layer_norm": "sum"}, r"layer_norm: expected None without reset_after=True, got \('sum', 0.001\)"),
        ({"layer_norm": "both"}, "layer_norm: expected 'separate', 'sum', or a tuple of one and epsilon, got 'both'"),
        ({"layer_norm": (["sum"], 1.0)}, "layer_norm: expected 'separate', 'sum', or a tuple"),
        ({"layer_norm": ("sum", 0.0)}, "layer_norm: expected a float32 above 0 as epsilon, got 0.0"),
        ({"merge": "sum"}, "merge: expected 'concat' without bidirectional=True, got 'sum'"),
        ({"merge": "add", "bidirectional": True}, "merge: expected one of 'concat', .*, got 'add'"),
        ({"reverse": True, "bidirectional": True}, "reverse: expected False with bidirectional=True"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        rgru.GRU(3, 4, **options)


def test_options_of_other_types_are_refused():
    for options, message in (
        ({"activation": None}, "activation: expected a name"),
        ({"clip": "3"}, "clip: expected a number or None, got '3'"),
        ({"reverse": 1}, "reverse: expected True or False, got 1"),
    ):
        with pytest.raises(TypeError, match=message):
            rgru.GRU(3, 4, **options)


def test_steps_cannot_run_in_reverse():
    gru = rgru.GRU(3, 4, reverse=True)
    with pytest.raises(ValueError, match="stream: expected a GRU with reverse=False, got reverse=True"):
        gru.stream()
    with pytest.raises(ValueError, match="model: expected a GRU with reverse=False"):
        rgru.Sessions(gru)
    with pytest.raises(ValueError, match="checkpoint: expected None for a GRU with reverse=True, got 128"):
        gru.record(np.zeros((1, 2, 3), np.float32), checkpoint=128)


def test_states_beyond_1_are_kept_by_streams_and_sessions():
    gru = rgru.GRU(3, 4, activation="relu", num_layers=2, learned_h0=True, seed=0)
    for name in ("layers.0.fwd.W", "layers.1.fwd.W"):
        gru.params[name] = 4 * gru.params[name]
    gru.params["layers.0.fwd.h0"] = np.full(4, 3.0, np.float32)
    x = np.random.default_rng(0).standard_normal((5, 6, 3)).astype(np.float32)
    y, h_n = gru(x)
    assert y.max() > 2
    stream, sessions = gru.stream(5), rgru.Sessions(gru)
    np.testing.assert_array_equal(stream.h[0], np.full((5, 4), 3.0))
    for t in range(6):
        np.testing.assert_array_equal(stream.step(x[:, t]), y[:, t])
        np.testing.assert_array_equal(sessions.step(np.arange(5), x[:, t]), y[:, t])
    np.testing.assert_array_equal(stream.h, h_n)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x[:, 0]), y[:, 0])


def test_zoneout_draws_masks_in_training_alone():
    gru = rgru.GRU(3, 4, zoneout=0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    y, _ = gru(x)
    np.testing.assert_array_equal(gru(x)[0], y)
    np.testing.assert_array_equal(gru.trace(x).layers[0].y, y)
    first, second = (gru.record(x)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, y)
    again = rgru.GRU(3, 4, zoneout=0.5, seed=0)
    np.testing.assert_array_equal(again.record(x)[0], first)  # the same seed draws the same masks


@pytest.mark.parametrize(("form", "epsilon"), [("separate", 1e-5), ("sum", 1e-3)])
def test_layer_norm(tmp_path, form, epsilon):
    """The equations of haste's LayerNormGRU, whose z is 1 - z here, and of DreamerV3's GRU."""
    gru = rgru.GRU(3, 5, layer_norm=form, reset_after=True, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    bias = np.zeros(15) if form == "separate" else np.repeat([0.0, -1.0, 0.0], 5)
    np.testing.assert_array_equal(gru.params["layers.0.fwd.b"], bias)
    np.testing.assert_array_equal(gru.params["layers.0.fwd.g"], np.ones(15))
    gru.params.update({name: rng.standard_normal(array.shape) for name, array in gru.params.items()})
    w, u, b, g = (gru.params[f"layers.0.fwd.{name}"] for name in ("W", "U", "b", "g"))

    def normalised(sums):
        variance = sums.var(-1, keepdims=True)
        return (sums - sums.mean(-1, keepdims=True)) / np.sqrt(variance + epsilon)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    x = rng.standard_normal((4, 6, 3))
    h, expected = np.zeros((4, 5)), []
    for t in range(6):
        if form == "separate":
            a = np.split(g * normalised(x[:, t] @ w.T) + b, 3, axis=-1)
            q = np.split(gru.params["layers.0.fwd.g_hh"] * normalised(h @ u.T), 3, axis=-1)
            r, z = sigmoid(a[0] + q[0]), sigmoid(a[1] + q[1])
            c = np.tanh(a[2] + r * (q[2] + gru.params["layers.0.fwd.b_hh"]))
        else:
            a = np.split(g * normalised(x[:, t] @ w.T + h @ u.T) + b, 3, axis=-1)
            r, z = sigmoid(a[0]), sigmoid(a[1])
            c = np.tanh(r * a[2])
        h = (1 - z) * h + z * c
        expected.append(h)
    y, _ = gru(x)
    np.testing.assert_allclose(y, np.stack(expected, 1), rtol=0, atol=1e-13)
    stream, sessions = gru.stream(4), rgru.Sessions(gru)
    for t in range(6):
        np.testing.assert_array_equal(stream.step(x[:, t]), y[:, t])
        np.testing.assert_array_equal(sessions.step(np.arange(4), x[:, t]), y[:, t])
    cell = gru.trace(x).layers[0].fwd
    np.testing.assert_allclose((1 - cell.z[:, -1]) * y[:, -2] + cell.z[:, -1] * cell.candidate[:, -1], y[:, -1])
    gru.save(tmp_path / "gru")
    np.testing.assert_array_equal(rgru.load(tmp_path / "gru")(x)[0], y)


@pytest.mark.parametrize("reset_after", [False, True])
def test_recurrent_dropout_has_one_mask_for_each_sequence(reset_after):
    """Dropped units are missing from the products alone, where the others are scaled by 1 / (1 - 0.75)."""
    gru = rgru.GRU(1, 40, reset_after=reset_after, recurrent_dropout=0.75, dtype="float64", seed=0)
    u = np.zeros((120, 40))
    u[80:] = np.eye(40)  # r and z are 1/2, and the candidate reads its own unit
    gru.params.update({"layers.0.fwd.W": np.zeros((120, 1)), "layers.0.fwd.U": u})
    x, h0 = np.zeros((50, 4, 1)), np.ones((1, 50, 40))
    y, _, _ = gru.record(x, h0)

    def run(mask):
        states, h = [], h0[0]
        for _ in range(4):
            h = h / 2 + np.tanh(mask * h / 2) / 2
            states.append(h)
        return np.stack(states, 1)

    dropped = np.abs(y - run(0.0)).max(1) < 1e-12
    np.testing.assert_allclose(y, run(np.where(dropped, 0.0, 4.0)), rtol=0, atol=1e-12)
    assert abs(dropped.mean() - 0.75) < 0.03  # three deviations
    assert len(np.unique(dropped, axis=0)) == 50
    np.testing.assert_allclose(gru(x, h0)[0], run(1.0), rtol=0, atol=1e-12)  # nothing is dropped
    assert not np.array_equal(gru.record(x, h0)[0], y)


def test_estimators_take_options(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 7, 2)), rng.integers(0, 2, 60)
    for options in (
        {"bidirectional": True, "gru_options": {"merge": "product", "learned_h0": True}},
        {"gru_options": OPTIONS},
    ):
        model = rgru.GRUClassifier(hidden_size=4, max_epochs=2, random_state=0, **options).fit(X, y)
        model.save(tmp_path / "model")
        again = rgru.load(tmp_path / "model")
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert model._gru.params["layers.0.fwd.h0"].any()  # learned
    with pytest.raises(ValueError, match=r"gru_options: GRU has no parameter 'bias': .*gate_activation"):
        rgru.GRUClassifier(gru_options={"bias": False}).fit(X, y)
    with pytest.raises(TypeError, match="gru_options: expected a dict or None, got 'relu'"):
        rgru.GRUClassifier(gru_options="relu").fit(X, y)


def test_estimators_take_options_of_any_type_of_number(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3, 2)), rng.integers(0, 2, 20)
    options = {"clip": np.float32(2), "learned_h0": np.bool_(True), "activation": (np.str_("elu"), np.float32(0.5))}
    model = rgru.GRUClassifier(hidden_size=3, max_epochs=1, gru_options=options).fit(X, y)
    model.save(tmp_path / "model")
    again = rgru.load(tmp_path / "model")
    assert again.gru_options == {"clip": 2.0, "learned_h0": True, "activation": ("elu", 0.5)}
    assert repr(again._gru) == repr(model._gru)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": ()},
        {"activation": ("elu", 10**400)},
        {"activation": (np.array([1, 2]),)},
        {"activation": [[]]},
        {"activation": ("elu", 1e300)},  # not within float32
        {"gate_activation": ("hard_sigmoid", 1e-60, 0.5)},
        {"clip": 10**400},
        {"clip": 1e-60},
        {"zoneout": 10**400},
    ],
    ids=str,
)
def test_values_beyond_their_range_are_refused_by_name(options):
    [name] = options
    with pytest.raises(ValueError, match=f"^{name}: expected "):
        rgru.GRU(3, 4, **options)


def test_half_precision_is_for_states_within_its_range():
    gru = rgru.GRU(1, 2, activation="linear", seed=0)
    with pytest.raises(
        ValueError, match="state_dtype: expected another than float16 for a GRU with activation='linear'"
    ):
        rgru.Sessions(gru, state_dtype="float16")
    rgru.Sessions(rgru.GRU(1, 2, activation="linear", state_clip=100.0), state_dtype="float16")
    learned = rgru.GRU(1, 2, learned_h0=True)
    learned.params["layers.0.fwd.h0"] = np.full(2, 1e5, np.float32)
    with pytest.raises(ValueError, match="state_dtype: expected another than float16 for a learned h0 beyond 65504"):
        rgru.Sessions(learned, state_dtype="float16")
