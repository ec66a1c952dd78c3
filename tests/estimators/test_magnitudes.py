"""Features and targets of any magnitude, and far from 0: training does not depend on their units."""

import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import r2_score

import rgru
from rgru import _core
from rgru._cli.columns import prediction_fields
from rgru.estimators._scaling import Scaler
from rgru.estimators._targets import r_squared

QUICK = {"hidden_size": 8, "max_epochs": 30, "learning_rate": 0.02, "random_state": 0}
LARGEST, SMALLEST = np.finfo(np.float64).max, 5e-324


def problem(count=80):
    X = np.random.default_rng(0).normal(size=(count, 6, 2))
    return X, X[:, -1, 0] + X[:, -2, 1]


@pytest.mark.parametrize("unit", [2.0**-1070, 2.0**-1022, 2.0**-600, 2.0**-40, 2.0**40, 2.0**600, 2.0**1018])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_unit_of_features_changes_nothing(unit, dtype):
    X, y = problem()
    X = np.round(X * 8)  # few digits, so that they are exact in subnormal numbers
    there, here = (rgru.GRURegressor(dtype=dtype, **QUICK).fit(X * one, y) for one in (unit, 1.0))
    found, expected = there.predict(X * unit), here.predict(X)
    if unit > 2.0**-1000:
        assert np.array_equal(found, expected)
    else:  # mean and deviation have few digits themselves
        assert there.score(X * unit, y) > here.score(X, y) - 0.2


@pytest.mark.parametrize("unit", [2.0**-1022, 2.0**-600, 2.0**-40, 2.0**40, 2.0**600, 2.0**1020])
@pytest.mark.parametrize("pooling", ["last", "every"])
def test_a_unit_of_targets_changes_nothing(unit, pooling):
    X, y = problem()
    if pooling == "every":
        y = np.cumsum(X[..., 0], axis=1)
    there, here = (rgru.GRURegressor(pooling=pooling, **QUICK).fit(X, y * one) for one in (unit, 1.0))
    np.testing.assert_allclose(there.predict(X) / unit, here.predict(X), rtol=1e-12, atol=1e-14)
    assert there.score(X, y * unit) == pytest.approx(here.score(X, y), abs=1e-12)
    assert here.score(X, y) > 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pooling", ["last", "mean", "every"])
def test_targets_far_from_0_keep_their_digits(dtype, pooling):
    X, y = problem()
    if pooling == "every":
        y = np.cumsum(X[..., 0], axis=1)
    there, here = (rgru.GRURegressor(dtype=dtype, pooling=pooling, **QUICK).fit(X, y + far) for far in (1e9, 0.0))
    found = there.predict(X)
    assert found.dtype == np.float64
    assert len(np.unique(found)) == found.size
    np.testing.assert_allclose(found - 1e9, here.predict(X), atol=0.01)
    assert there.score(X, y + 1e9) == pytest.approx(here.score(X, y), abs=1e-3)


def test_all_interfaces_return_the_same_doubles():
    X, y = problem()
    model = rgru.GRURegressor(**QUICK).fit(X, y * 1e38 + 1e39)
    expected = model.predict(X)
    assert np.isfinite(expected).all()
    assert model.score(X, y * 1e38 + 1e39) > 0.5
    column = pa.array(rgru.arrow.predict(model, pa.array(X.tolist(), pa.list_(pa.list_(pa.float64(), 2)))))
    assert column.type == pa.float64()
    assert column.to_pylist() == expected.tolist()
    assert prediction_fields(model, {"prediction": "value"}) == [pa.field("prediction", pa.float64())]
    sessions = rgru.Sessions(model)
    for step in range(X.shape[1]):
        served = sessions.step(np.arange(len(X)), X[:, step])
    assert served.dtype == np.float64
    assert np.array_equal(served, expected)


def test_predictions_end_at_the_largest_number():
    scaler = Scaler.of(np.array([[-LARGEST], [LARGEST], [LARGEST]]))
    found = scaler.undo(np.array([[0.5], [-1e9], [1e9], [np.nan]]))
    np.testing.assert_array_equal(found[1:], [[-LARGEST], [LARGEST], [np.nan]])
    assert found[0, 0] == pytest.approx(scaler.mean[0] + scaler.scale[0] / 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_of_all_magnitudes_are_measured(dtype):
    info = np.finfo(dtype)
    units = np.array([info.smallest_subnormal, info.tiny, 1e-30, 1.0, 1e30, float(info.max) / 8])
    values = (np.random.default_rng(0).integers(-4, 9, (100, 1)) * units).astype(dtype)
    scaler = Scaler.of(values)
    exact = (values / units.astype(dtype))[:, 3].astype(np.float64)
    fine = slice(1 if dtype == "float64" else 0, None)  # the smallest number of all has no fractions
    np.testing.assert_allclose(scaler.mean[fine], (exact.mean() * units)[fine], rtol=1e-6)
    np.testing.assert_allclose(scaler.scale[fine], (exact.std() * units)[fine], rtol=1e-6)
    scaled = scaler.apply(values, np.dtype(np.float64))
    np.testing.assert_allclose(scaled[:, fine], np.broadcast_to(scaled[:, 3:4], scaled.shape)[:, fine], atol=1e-5)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(
        (scaler.undo(scaled) / scaler.scale)[:, fine], (values / scaler.scale)[:, fine], atol=1e-6
    )


@pytest.mark.parametrize("constant", [0.0, -0.0, SMALLEST, 1e-170, 0.1, 3.7e30, -1e200, LARGEST, -LARGEST])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_the_mean_of_a_constant_is_exact(constant, count):
    values = np.full((count, 2), [constant, 1.0])
    scaler = Scaler.of(values)
    assert scaler.mean.tolist() == [constant, 1.0]
    assert scaler.scale.tolist() == [1.0, 1.0]
    assert not scaler.apply(values, np.dtype(np.float32)).any()


@pytest.mark.parametrize("pair", [(0.0, SMALLEST), (-LARGEST, LARGEST), (1.0, np.nextafter(1.0, 2.0)), (1e200, 1e-200)])
def test_the_scale_separates_two_values(pair):
    scaled = Scaler.of(np.array(pair)[:, None]).apply(np.array(pair)[:, None], np.dtype(np.float32))
    assert np.isfinite(scaled).all()
    assert abs(scaled[0, 0] - scaled[1, 0]) >= 1.0


def test_the_mean_of_many_rows_has_all_digits():
    values = np.random.default_rng(0).normal(size=(200_000, 3)) + np.array([0.0, 1e6, -1e9])
    mean, scale = _core.measure(values)
    exact = [math.fsum(column) / len(column) for column in values.T]
    np.testing.assert_allclose(mean, exact, rtol=1e-15, atol=1e-16)
    deviations = [math.fsum((column - one) ** 2) / len(column) for column, one in zip(values.T, exact, strict=True)]
    np.testing.assert_allclose(scale, np.sqrt(deviations), rtol=1e-13)


def test_an_empty_array_is_refused():
    with pytest.raises(ValueError, match="x: expected at least one row, got none"):
        _core.measure(np.zeros((0, 2)))


@pytest.mark.parametrize("kind", [rgru.GRUClassifier, rgru.GRURegressor])
def test_a_feature_next_to_a_constant_of_1e200(kind):
    X, y = problem()
    X[..., 1] = 1e200
    model = kind(**QUICK).fit(X, (y > 0).astype(int) if kind is rgru.GRUClassifier else X[:, -1, 0])
    assert model.score(X, (y > 0).astype(int) if kind is rgru.GRUClassifier else X[:, -1, 0]) > 0.6


@pytest.mark.skipif(np.finfo(np.longdouble).max <= LARGEST, reason="long doubles are doubles here")
@pytest.mark.parametrize("pooling", ["last", "every"])
def test_targets_beyond_float64_are_refused(pooling):
    X, y = problem()
    y = np.cumsum(X[..., 0], axis=1) if pooling == "every" else y
    with pytest.raises(ValueError, match=r"y: expected finite numbers, got -?inf"):
        rgru.GRURegressor(pooling=pooling, **QUICK).fit(X, y * np.longdouble("1e400"))


@pytest.mark.parametrize("unit", [1e-310, 1e-170, 1.0, 1e170, 1e307])
def test_r_squared_has_no_unit(unit):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 3))
    guess = truth + 0.3 * rng.normal(size=(50, 3))
    assert r_squared(guess * unit, truth * unit) == pytest.approx(r2_score(truth, guess), abs=1e-4)


def test_r_squared_of_the_extremes():
    ends = np.array([[-LARGEST], [LARGEST], [LARGEST]])
    assert r_squared(ends, ends) == 1.0
    assert r_squared(-ends, ends) == pytest.approx(r2_score([-1, 1, 1], [1, -1, -1]))
    assert r_squared(np.ones((2, 1)), np.array([[0.0], [1e-300]])) == -math.inf
    assert r_squared(np.full((3, 1), 0.1), np.full((3, 1), 0.1)) == 1.0
    assert r_squared(np.full((3, 1), 0.2), np.full((3, 1), 0.1)) == 0.0
