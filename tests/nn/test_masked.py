"""Masked arrays are refused as all arguments, in nested lists too: values under a mask are not data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import rgru
from estimator_cases import QUICK, fitted, labels, padded, sums

X = padded()
MASKED = np.ma.array(X, mask=np.zeros(X.shape, bool))
MASKED[1, 2, 0] = np.ma.masked
NESTED = X.tolist()
NESTED[1][2][0] = np.ma.array(1.0, mask=True)


def column(values):
    array = np.ma.array(values, mask=False)
    array[1] = np.ma.masked
    return array


class Wrapped:
    """A stand-in for an array of Dask over masked arrays."""

    def __array__(self, dtype=None, copy=None):
        return MASKED


def of_x(x):
    classifier, regressor = fitted(rgru.GRUClassifier), fitted(rgru.GRURegressor)
    return {
        "fit": lambda: rgru.GRUClassifier(max_epochs=1).fit(x, labels(X)),
        "fit a regressor": lambda: rgru.GRURegressor(max_epochs=1).fit(x, sums(X)),
        "predict": lambda: regressor.predict(x),
        "predict_proba": lambda: classifier.predict_proba(x),
        "score": lambda: classifier.score(x, labels(X)),
    }


@pytest.mark.parametrize(
    "x",
    [MASKED, list(MASKED), [*X[:-1], MASKED[1]], [[[np.ma.masked] * 3]] * 30, NESTED, Wrapped()],
    ids=["array", "list", "one of a list", "constants", "nested", "wrapped"],
)
def test_as_x_of_estimators(x):
    for what, call in of_x(x).items():
        with pytest.raises(TypeError, match=r"^X.*: expected .*, got a masked array"):
            pytest.fail(f"{what}: {call()}")


@pytest.mark.parametrize("nested", [False, True])
def test_as_y_of_estimators(nested):
    classifier, regressor = fitted(rgru.GRUClassifier), fitted(rgru.GRURegressor)
    steps = np.ma.array(X[..., 0], mask=X[..., 0] > 0)
    every = rgru.GRURegressor(**QUICK, pooling="every").fit(X, X[..., 0])
    as_given = list if nested else np.ma.array
    for call in (
        lambda: classifier.fit(X, as_given(column(labels(X)))),
        lambda: classifier.score(X, as_given(column(labels(X)))),
        lambda: classifier.fit(X, as_given(column(np.array(["a", "b"])[labels(X)]))),
        lambda: regressor.fit(X, as_given(column(sums(X)))),
        lambda: regressor.score(X, as_given(column(sums(X)))),
        lambda: every.fit(X, as_given(steps)),
        lambda: every.score(X, as_given(steps)),
    ):
        with pytest.raises(TypeError, match=r"^y.*: expected .*, got a masked array"):
            pytest.fail(repr(call()))


HIDDEN = np.ma.array([1.0, 9e9], mask=[0, 1])


@pytest.mark.parametrize(
    "cell",
    [HIDDEN, [[1.0], HIDDEN], np.array([None, HIDDEN], object), {"a": HIDDEN}],
    ids=["array", "in a list", "in an array", "in a struct"],
)
def test_in_cells_of_pandas(cell):
    series = pd.Series([[1.0, 2.0], cell])
    regressor = rgru.GRURegressor(max_epochs=1, pooling="every").fit(np.zeros((2, 2, 1)), np.eye(2))
    for call in (
        lambda: regressor.predict(series),
        lambda: regressor.predict(pd.DataFrame({"x": series})),
        lambda: regressor.fit(np.zeros((2, 2, 1)), series),
        lambda: rgru.Ragged.from_arrow(pd.DataFrame({"x": series})),
        lambda: rgru.arrow.predict(regressor, series),
        lambda: rgru.arrow.predict(regressor, series, on_error="null"),
    ):
        with pytest.raises(TypeError, match=r"^\w+: expected .*, got a masked array"):
            pytest.fail(repr(call()))


@pytest.mark.parametrize("model", [rgru.GRU(3, 4), fitted(rgru.GRUClassifier), fitted(rgru.GRURegressor)])
def test_in_sessions(model):
    sessions = rgru.Sessions(model, timeout=9)
    events, keys, times = X[:, 0].astype(np.float32), np.arange(len(X)), np.arange(len(X), dtype=float)
    for masked in (MASKED[:, 2].astype(np.float32), list(MASKED[:, 2].astype(np.float32))):
        with pytest.raises(TypeError, match=r"^x: expected .*, got a masked array"):
            sessions.step(keys, masked, times)
    for masked in (column(keys), list(column(keys)), [0, np.ma.array(1, mask=True)], column(keys.astype(str))):
        with pytest.raises(TypeError, match=r"^keys: expected .*, got a masked array"):
            sessions.step(masked, events[: len(masked)], times[: len(masked)])
    for masked in (column(times), list(column(times)), column(times.astype("M8[s]")), np.ma.masked):
        with pytest.raises(TypeError, match=r"^times: expected .*, got a masked array"):
            sessions.step(keys, events, masked)
    with pytest.raises(TypeError, match=r"^now: expected .*, got a masked array"):
        sessions.expire(np.ma.array(3.0, mask=True))
    assert len(sessions) == 0


def test_in_layers_and_ragged():
    gru, steps = rgru.GRU(3, 4, dtype="float64"), list(MASKED)
    y, h_n, tape = gru.record(X)
    for name, call in {
        "x": lambda: gru(steps),
        "h0": lambda: gru(X, h0=list(np.ma.array(h_n, mask=True))),
        "lengths": lambda: gru(X, lengths=list(column(np.full(len(X), 2)))),
        "dy": lambda: tape.backward(list(np.ma.array(y, mask=True))),
        "dh_n": lambda: tape.backward(dh_n=list(np.ma.array(h_n, mask=True))),
        "layers.0.fwd.b": lambda: gru.params.update({"layers.0.fwd.b": list(column(np.zeros(12)))}),
        r"sequences\[1\]": lambda: rgru.Ragged.from_list([X[0], MASKED[1]]),
        "values": lambda: rgru.Ragged(list(MASKED[1]), [0, 5]),
        "offsets": lambda: rgru.Ragged(X[1], [0, np.ma.array(3, mask=True), 5]),
        "indices": lambda: rgru.Ragged(X[1], [0, 5]).take([np.ma.array(0, mask=True)]),
    }.items():
        with pytest.raises(TypeError, match=rf"^{name}: expected .*, got a masked array"):
            pytest.fail(repr(call()))
    stream = gru.stream(2)
    for step in (lambda: stream.step(list(MASKED[:2, 2])), lambda: setattr(stream, "h", [MASKED[:2, 2]])):
        with pytest.raises(TypeError, match=r"^[xh]: expected .*, got a masked array"):
            step()
    with pytest.raises(TypeError, match=r"^input_size: expected an integer"):
        rgru.GRU(np.ma.array(3, mask=True), 4)
