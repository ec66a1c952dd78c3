"""Sessions of estimators: predictions so far, and which models cannot run step by step."""

import numpy as np
import pytest

import rgru


@pytest.fixture(scope="module")
def recordings():
    rng = np.random.default_rng(4)
    return [rng.standard_normal((int(n), 3)) * 5 + 2 for n in rng.integers(2, 7, 24)]


def prefixes(model, recording):
    """Return the model's predictions after each event."""
    return np.concatenate([model([recording[: n + 1]]) for n in range(len(recording))])


@pytest.mark.parametrize("standardize", [True, False])
def test_a_classifier_returns_the_probabilities_so_far(recordings, standardize):
    labels = np.arange(24) % 3
    model = rgru.GRUClassifier(hidden_size=6, pooling="last", max_epochs=2, standardize=standardize, random_state=0)
    model.fit(recordings, labels)
    sessions = rgru.Sessions(model)
    x = np.concatenate([recordings[0], recordings[1]])
    keys = ["a"] * len(recordings[0]) + ["b"] * len(recordings[1])
    expected = np.concatenate([prefixes(model.predict_proba, recordings[n]) for n in (0, 1)])
    assert np.array_equal(sessions.step(keys, x), expected)
    model.fit(recordings[:12], labels[:12])  # the sessions keep their snapshot
    assert sessions.step(["a"], x[:1]).shape == (1, 3)
    with pytest.raises(ValueError, match=r"x: expected finite numbers, got nan in event 1, feature 2"):
        sessions.step(["a", "b"], [[0.0, 0, 0], [0, 0, np.nan]])
    with pytest.raises(ValueError, match=r"x: expected 3 features as the model has, got 2"):
        sessions.step(["a"], [[0.0, 0]])


@pytest.mark.parametrize("pooling", ["last", "every"])
@pytest.mark.parametrize("targets", [1, 2])
def test_a_regressor_returns_the_predictions(recordings, pooling, targets):
    totals = [np.cumsum(one[:, :targets], axis=0) for one in recordings]
    y = totals if pooling == "every" else np.stack([one[-1] for one in totals])
    y = y if targets > 1 or pooling == "every" else y[:, 0]
    if pooling == "every" and targets == 1:
        y = [one[:, 0] for one in y]
    model = rgru.GRURegressor(hidden_size=6, pooling=pooling, max_epochs=2, random_state=0).fit(recordings, y)
    found = rgru.Sessions(model).step(np.zeros(len(recordings[0]), int), recordings[0])
    expected = model.predict(recordings[:1])[0] if pooling == "every" else prefixes(model.predict, recordings[0])
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_models_that_cannot_run_step_by_step(recordings):
    with pytest.raises(ValueError, match=r"model: .*bidirectional=False"):
        rgru.Sessions(rgru.GRU(3, 4, bidirectional=True))
    labels = np.arange(24) % 2
    mean = rgru.GRUClassifier(hidden_size=4, pooling="mean", max_epochs=1, random_state=0).fit(recordings, labels)
    with pytest.raises(ValueError, match=r"model: .*pooling='last', got pooling='mean'"):
        rgru.Sessions(mean)
    both = rgru.GRUClassifier(hidden_size=4, pooling="last", bidirectional=True, max_epochs=1).fit(recordings, labels)
    with pytest.raises(ValueError, match=r"model: .*bidirectional=False"):
        rgru.Sessions(both)
    with pytest.raises(ValueError, match=r"model: expected a fitted GRUClassifier"):
        rgru.Sessions(rgru.GRUClassifier())
    for strange in (None, "gru", rgru.GRU):
        with pytest.raises(TypeError, match=r"model: expected a GRU, a Model, a GRUClassifier or a GRURegressor"):
            rgru.Sessions(strange)
