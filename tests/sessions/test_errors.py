"""Invalid events of sessions: an error that changes nothing, or NaN and no effect on sessions."""

import numpy as np
import pytest

import rgru
from session_model import DictOfStreams

rng = np.random.default_rng(7)


def with_wrong(x, *events):
    x = x.copy()
    for n, wrong in zip(events, [np.nan, np.inf, -np.inf] * len(events), strict=False):
        x[n, n % x.shape[1]] = wrong
    return x


def snapshot(sessions):
    keys = list(sessions.keys())
    return keys, sessions.states(keys).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_non_finite_event_is_refused_and_changes_nothing(dtype, wrong):
    sessions = rgru.Sessions(rgru.GRU(3, 4, dtype=dtype, seed=0), max_sessions=2, timeout=10)
    sessions.step(["a", "b"], np.ones((2, 3), dtype), [1.0, 2.0])
    before = snapshot(sessions)
    x = np.ones((3, 3), dtype)
    x[1, 2] = wrong
    with pytest.raises(ValueError, match=rf"x: expected finite numbers, got {wrong} in event 1, feature 2"):
        sessions.step(["c", "a", "b"], x, [3.0, 4.0, 30.0])
    assert snapshot(sessions) == before
    assert sessions.expire(11.5) == 1  # the clock has not changed either


@pytest.mark.parametrize("reset_after", [False, True])
def test_finite_numbers_leave_the_state_finite_however_large(reset_after):
    """Fused multiply-adds round sums, not products, so that infinities of opposite signs are never added."""
    gru = rgru.GRU(2, 3, 2, reset_after=reset_after, seed=0)
    gru.params["layers.0.fwd.W"] = np.tile(np.float32([3, -3]), (9, 1))
    sessions = rgru.Sessions(gru)
    for x in ([3e38, 3e38], [-3e38, 3e38], [3e38, -3e38]):
        assert np.isfinite(sessions.step(["a"], np.float32([x]))).all()


@pytest.mark.parametrize("limits", [{}, {"max_sessions": 5}, {"timeout": 4.0}, {"max_sessions": 5, "timeout": 4.0}])
@pytest.mark.parametrize("text", [False, True])
def test_with_null_invalid_events_have_no_effect(limits, text):
    gru = rgru.GRU(3, 4, 2, seed=0)
    sessions, expected = rgru.Sessions(gru, **limits), DictOfStreams(gru, **limits)
    for batch in range(20):
        keys = [str(key) * (key % 3) if text else int(key) for key in rng.integers(0, 9, 30)]
        wrong = np.flatnonzero(rng.random(30) < [0.2, 0.9, 1.0][batch % 3])
        x = rng.standard_normal((30, 3)).astype(np.float32)
        times = batch + np.sort(rng.random(30)) if "timeout" in limits else None
        y = sessions.step(keys, with_wrong(x, *wrong), times, on_error="null")
        right = np.setdiff1d(np.arange(30), wrong)
        assert np.isnan(y[wrong]).all()
        if len(right):
            some = None if times is None else times[right]
            assert np.array_equal(y[right], expected.step([keys[n] for n in right], x[right], some))
        expected.check(sessions)


def test_one_time_for_all_events_and_null():
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0), timeout=5)
    y = sessions.step([1, 2, 1], [[1.0], [np.nan], [2.0]], 3.0, on_error="null")
    assert np.isnan(y).all(axis=1).tolist() == [False, True, False]
    assert sessions.keys().tolist() == [1]


def test_a_batch_without_a_valid_event():
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0))
    assert np.isnan(sessions.step(["a"], [[np.nan]], on_error="null")).all()
    assert len(sessions) == 0
    assert sessions.step([5], [[1.0]]).shape == (1, 2)  # the kind of keys is still open


@pytest.mark.parametrize("keys", [["a"], ["a"] * 4, [1], [1] * 4])
def test_a_wrong_number_of_keys_is_refused_with_null(keys):
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0))
    for x in ([[1.0], [1.0]], [[1.0], [np.nan]]):
        with pytest.raises(ValueError, match=r"keys: expected shape .*2.*, got .*"):
            sessions.step(keys, x, on_error="null")
    assert len(sessions) == 0


def test_an_unknown_on_error_is_refused():
    sessions = rgru.Sessions(rgru.GRU(1, 2, seed=0))
    with pytest.raises(ValueError, match="on_error: expected 'raise' or 'null', got 'ignore'"):
        sessions.step([1], [[1.0]], on_error="ignore")


@pytest.fixture(scope="module")
def sequences():
    return rng.standard_normal((20, 4, 2))


@pytest.mark.parametrize("standardize", [True, False])
def test_invalid_events_of_a_classifier_and_a_regressor(sequences, standardize):
    options = {"hidden_size": 3, "max_epochs": 1, "standardize": standardize, "random_state": 0}
    x = with_wrong(rng.standard_normal((6, 2)), 1, 4)
    x[2] = 1e300  # finite, but infinite in the model's type
    right, wrong = [0, 3, 5], [1, 2, 4]
    keys = [1, 1, 1, 2, 1, 1]
    for model in (
        rgru.GRUClassifier(**options).fit(sequences, [0, 1] * 10),
        rgru.GRURegressor(**options).fit(sequences, sequences[:, -1, 0]),
        rgru.GRURegressor(**options).fit(sequences, sequences[:, -1]),
    ):
        sessions, others = rgru.Sessions(model), rgru.Sessions(model)
        with pytest.raises(ValueError, match="x: expected finite numbers, got nan in event 1, feature 1"):
            sessions.step(keys, x)
        y = sessions.step(keys, x, on_error="null")
        assert np.isnan(y[wrong]).all()
        assert np.array_equal(y[right], others.step([keys[n] for n in right], x[right]))
        assert np.array_equal(sessions.states([1, 2]), others.states([1, 2]))


def test_a_stream_accepts_nan_and_can_be_repaired():
    stream = rgru.GRU(1, 2, seed=0).stream(batch_size=2)
    stream.step([[1.0], [1.0]])
    before = stream.h
    y = stream.step([[np.nan], [1.0]])
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()
    assert np.isnan(stream.step([[1.0], [1.0]])[0]).all()
    stream.h = before
    assert np.isfinite(stream.step([[1.0], [1.0]])).all()


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_that_overflow_are_an_error_or_null(num_layers, dtype):
    gru = rgru.GRU(1, 2, num_layers, activation="relu", dtype=dtype, seed=0)
    for k in range(num_layers):
        gru.params.update(
            {
                f"layers.{k}.fwd.W": np.ones((6, 1 if k == 0 else 2), dtype),
                f"layers.{k}.fwd.U": np.full((6, 2), 2, dtype),
            }
        )
    quiet, loud = np.zeros((1, 1), dtype), np.ones((1, 1), dtype)
    y = gru(np.ones((1, 2000, 1), dtype))[0][0]
    limit = int(np.isfinite(y).all(axis=1).argmin())  # the first step whose state is not finite
    assert 10 < limit < 2000
    live = rgru.Sessions(gru)
    live.step([7] * limit, np.ones((limit, 1), dtype))
    before = live.states([7])
    with pytest.raises(ValueError, match=r"^x: expected events after which the states are finite in float.*event 0 on"):
        live.step([7], loud)
    np.testing.assert_array_equal(live.states([7]), before)
    y = live.step([8, 7, 8, 7], np.stack([*quiet, *loud, *quiet, *loud]), on_error="null")
    assert np.isnan(y[[1, 3]]).all()
    assert np.isfinite(y[[0, 2]]).all()
    np.testing.assert_array_equal(live.states([7]), before)  # and null events have no effect
    many = live.step([9] * (limit + 3), np.ones((limit + 3, 1), dtype), on_error="null")
    assert np.isfinite(many[:limit]).all()
    assert np.isnan(many[limit:]).all()
    np.testing.assert_array_equal(live.states([9]), before)
