"""Errors of the estimators about X, y and parameters, which name the argument."""

from __future__ import annotations

import inspect
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from estimator_cases import EITHER, QUICK, fitted, padded, sequences
from rgru import GRUClassifier, GRURegressor, Sessions


class OnGpu:
    """A stand-in with the interface of a CuPy array."""

    __cuda_array_interface__ = {"shape": (40, 2, 3), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012


STEPS = r"expected an array \(N, T\) or \(N, T, K\), a list of arrays \(T_i,\) or \(T_i, K\)"


def poisoned(value):
    X = sequences()
    X[7][0, 1] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((40, 3)), ValueError, r"X: expected 3 dimensions \(N, T, I\), got shape \(40, 3\)"),
        ([np.zeros(3)] * 40, ValueError, r"X\[0\]: expected 2 dimensions \(T, I\), got shape \(3,\)"),
        (
            [np.zeros((2, 3)), np.zeros((2, 4))],
            ValueError,
            r"X\[1\]: expected 3 features as X\[0\], got shape \(2, 4\)",
        ),
        (np.full((40, 2, 3), "a"), TypeError, "X: expected floating-point numbers, got str"),
        (np.zeros((40, 2, 3), complex), TypeError, "X: expected floating-point numbers, got complex128"),
        (5, TypeError, "X: expected an array .*, got int"),
        (None, TypeError, "X: expected an array .*, got NoneType"),
        (OnGpu(), TypeError, "X: expected an array .* on the host, got one on a GPU"),
        ([], ValueError, "X: expected at least one sequence with at least one step"),
        (np.zeros((40, 0, 3)), ValueError, "X: expected at least one sequence with at least one step"),
        (poisoned(np.nan), ValueError, r"X: expected finite numbers, got nan in sequence 7, step 0, feature 1"),
        (poisoned(-np.inf), ValueError, r"X: expected finite numbers, got -inf in sequence 7, step 0, feature 1"),
        (pa.array(["a"] * 40), TypeError, "X: expected a list column of numbers: .*, got string"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@EITHER
def test_bad_x_is_named_by_fit(kind, X, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        kind(**QUICK).fit(X, np.arange(40) % 2)


@EITHER
def test_bad_x_is_named_by_predict(kind):
    estimator = fitted(kind)
    with pytest.raises(ValueError, match=r"^X: expected finite numbers, got nan in sequence 7, step 0, feature 1"):
        estimator.predict(poisoned(np.nan))
    with pytest.raises(ValueError, match=r"^X: expected 3 features as the model has, got 4"):
        estimator.predict(np.zeros((2, 5, 4)))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.arange(39) % 2, ValueError, r"y: expected one label per sequence, shape \(40,\), got shape \(39,\)"),
        (np.zeros((40, 1)), ValueError, r"y: expected one label per sequence, shape \(40,\), got shape \(40, 1\)"),
        (np.ones(40, int), ValueError, r"y: expected at least two classes, got 1: \[1\]"),
        (np.linspace(0, 1, 40), ValueError, "y: expected class labels, got the number 0.0256.*GRURegressor"),
        (np.array([0.0, np.nan] * 20), ValueError, "y: expected no missing labels, got nan at position 1"),
        (["a", None] * 20, ValueError, "y: expected no missing labels, got None at position 1"),
        (None, TypeError, "y: expected labels, got None"),
    ],
    ids=str,
)
def test_bad_labels_are_named(y, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        GRUClassifier(**QUICK).fit(sequences(), y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros(39), ValueError, r"y: expected targets of shape \(40,\) or \(40, K\), got shape \(39,\)"),
        (np.zeros((40, 2, 2)), ValueError, r"y: expected targets of shape .*, got shape \(40, 2, 2\)"),
        (np.zeros((40, 0)), ValueError, r"y: expected targets of shape .*, got shape \(40, 0\)"),
        (np.array([0.0] * 39 + [np.nan]), ValueError, "y: expected finite numbers, got nan at sequence 39"),
        (["a"] * 40, TypeError, "y: expected floating-point numbers, got str"),
        (None, TypeError, "y: expected an array of real numbers, got None"),
    ],
    ids=str,
)
def test_bad_targets_are_named(y, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        GRURegressor(**QUICK).fit(sequences(), y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros((29, 5)), ValueError, "y: expected targets for 30 sequences as in X, got 29"),
        (np.zeros((30, 4)), ValueError, "y: expected 5 steps as in X at sequence 0, got 4"),
        (np.zeros(30), ValueError, rf"y: {STEPS} as targets of every step, got shape \(30,\)"),
        (list(range(30)), ValueError, rf"y\[0\]: {STEPS} as targets of every step, got shape \(\)"),
        (np.zeros((30, 5, 2, 1)), ValueError, rf"y: {STEPS} as targets of every step, got shape \(30, 5, 2, 1\)"),
        (
            [np.zeros(5)] * 29 + [np.zeros((5, 1))],
            ValueError,
            r"y\[29\]: expected targets for each step as in y\[0\], got",
        ),
        (
            [np.zeros((5, 2))] * 29 + [np.zeros((5, 3))],
            ValueError,
            r"y\[29\]: expected targets .* got shape \(5, 3\)",
        ),
        (np.full((30, 5), np.nan), ValueError, "y: expected finite numbers, got nan in sequence 0, step 0, target 0"),
        (5, TypeError, f"y: {STEPS}, a Ragged or an Arrow list column, got int"),
        (None, TypeError, f"y: {STEPS}, a Ragged or an Arrow list column, got NoneType"),
    ],
    ids=str,
)
def test_bad_targets_for_every_step_are_named(y, error, message):
    with pytest.raises(error, match=rf"^{message}"):
        GRURegressor(**QUICK, pooling="every").fit(padded(), y)


def test_bad_y_is_named_by_score():
    for kind in (GRUClassifier, GRURegressor):
        with pytest.raises(ValueError, match=r"^y: expected at least one (label|target) for a score, got none$"):
            fitted(kind).score([], [])
    with pytest.raises(ValueError, match=r"^y: expected one label per sequence"):
        fitted(GRUClassifier).score(sequences(), [1])
    with pytest.raises(ValueError, match=r"^y: expected targets of shape"):
        fitted(GRURegressor).score(sequences(), [1])
    with pytest.raises(ValueError, match=r"^y: expected 1 numbers per target as in fit, got 2"):
        fitted(GRURegressor).score(sequences(), np.zeros((40, 2)))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("hidden_size", 0, ValueError),
        ("hidden_size", 2.5, TypeError),
        ("num_layers", -1, ValueError),
        ("bidirectional", "yes", TypeError),
        ("reset_after", 1, TypeError),
        ("dropout", 1.0, ValueError),
        ("dropout", "a", TypeError),
        ("pooling", "max", ValueError),
        ("learning_rate", 0.0, ValueError),
        ("learning_rate", np.nan, ValueError),
        ("learning_rate", "fast", TypeError),
        ("batch_size", 0, ValueError),
        ("max_epochs", 0, ValueError),
        ("validation_fraction", 1.0, ValueError),
        ("early_stopping", 1, TypeError),
        ("patience", 0, ValueError),
        ("max_grad_norm", -1.0, ValueError),
        ("standardize", None, TypeError),
        ("dtype", "float16", ValueError),
        ("dtype", None, TypeError),
        ("random_state", -1, ValueError),
        ("random_state", "a", TypeError),
        ("verbose", 2, TypeError),
    ],
)
@EITHER
def test_bad_parameters_are_named(kind, name, value, error):
    with pytest.raises(error, match=rf"^{name}: expected "):
        fitted(kind, **{name: value})


@EITHER
def test_early_stopping_needs_a_validation_fraction(kind):
    with pytest.raises(ValueError, match=r"^validation_fraction: expected a number above 0 with early_stopping=True"):
        fitted(kind, early_stopping=True, validation_fraction=0.0)


@EITHER
def test_unknown_parameters_name_the_class_and_the_nearest_parameter(kind):
    message = rf"^{kind.__name__} has no parameter 'hiden_size': did you mean 'hidden_size'\?$"
    with pytest.raises(TypeError, match=message):
        kind(hiden_size=3)
    with pytest.raises(ValueError, match=message):
        kind().set_params(hiden_size=3)
    with pytest.raises(TypeError, match=rf"^{kind.__name__} has no parameter 'xyz': expected one of hidden_size, "):
        kind(xyz=3)
    with pytest.raises(TypeError, match=rf"^{kind.__name__}: expected parameters by name, got 64 by position"):
        kind(64)
    assert "hidden_size: 'int' = 64" in str(inspect.signature(kind))


def test_classifiers_have_no_outputs_for_every_step():
    with pytest.raises(ValueError, match=r"^pooling: expected one of 'last', 'mean', got 'every'"):
        fitted(GRUClassifier, pooling="every")


# -- tables of mixed or nullable columns, and plain lists of decimals ----------------------------------------------

FRAME = pd.DataFrame({"a": [1, 0], "b": [0.5, 1.5]})
TABLES = {
    "nullable": FRAME.convert_dtypes(),
    "Arrow types": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "objects": FRAME.astype(object),
    "Float64": FRAME.astype("Float64"),
    "Int64 and float": FRAME.astype({"a": "Int64"}),
    "bool and float": FRAME.astype({"a": bool}),
    "boolean and float": FRAME.astype({"a": "boolean"}),
    "decimal and float": FRAME.assign(a=[Decimal(1), Decimal(0)]),
    "Arrow's decimal and float": pa.table({"a": pa.array([1, 0], pa.decimal128(5, 1)), "b": [0.5, 1.5]}),
    "decimals in lists": [[Decimal(1), Decimal("0.5")], [Decimal(0), Decimal("1.5")]],
    "booleans and floats in lists": [[True, 0.5], [False, 1.5]],
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_of_mixed_or_nullable_columns_are_numbers(table):
    plain, model = FRAME.to_numpy(), GRURegressor(**QUICK).fit(np.zeros((4, 3, 2)), np.arange(4))
    assert model.predict([table]) == model.predict([plain])
    assert np.array_equal(Sessions(model).step([0, 1], table), Sessions(model).step([0, 1], plain))
    fit = GRURegressor(**QUICK).fit(np.zeros((2, 1, 1)), table)
    assert fit.target_scaler_.mean.tolist() == plain.mean(axis=0).tolist()


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", object, pd.ArrowDtype(pa.int64())], ids=str)
def test_missing_values_in_tables_are_named(dtype):
    table = pd.DataFrame({"a": pd.Series([1, None], dtype=dtype), "b": [0.5, 1.5]})
    model = GRURegressor(**QUICK).fit(np.zeros((4, 3, 2)), np.arange(4))
    message = r": expected no missing values, got (None|<NA>) at position \(1, 0\)$"
    with pytest.raises(ValueError, match=rf"^X\[0\]{message}"):
        model.predict([table])
    with pytest.raises(ValueError, match=f"^x{message}"):
        Sessions(model).step([0, 1], table)
    with pytest.raises(ValueError, match=f"^y{message}"):
        GRURegressor(**QUICK).fit(np.zeros((2, 1, 1)), table)
    with pytest.raises(ValueError, match=r"^y: expected no missing values, got None at position 1$"):
        GRURegressor(**QUICK).fit(np.zeros((2, 1, 1)), [1.0, None])


@pytest.mark.parametrize("value", [10**400, Decimal("sNaN")])
def test_objects_beyond_the_range_of_floats_are_refused(value):
    with pytest.raises(ValueError, match=r"^y: expected numbers within the range of float64 \("):
        GRURegressor(**QUICK).fit(np.zeros((2, 1, 1)), [1, value])


def test_series_of_arrays_may_start_with_an_empty_list_but_not_with_none():
    model = GRURegressor(**QUICK).fit(np.zeros((4, 3, 1)), np.arange(4))
    assert np.array_equal(model.predict(pd.Series([[], np.ones((2, 1))])), model.predict([[], np.ones((2, 1))]))
    with pytest.raises(TypeError, match=r"^X\[0\]: expected an array of real numbers, got None$"):
        model.predict(pd.Series([None, np.ones((2, 1))]))


@pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(np.float64).max, reason="long doubles are doubles here")
@pytest.mark.parametrize("standardize", [False, True])
def test_long_doubles_beyond_the_range_of_float64_are_refused_without_warnings(standardize):
    X = np.ones((4, 2, 1)) * np.longdouble("1e4000")
    with pytest.raises(ValueError, match=r"^X in float32.*: expected finite numbers"):
        GRURegressor(**QUICK | {"standardize": standardize}).fit(X, np.arange(4))


def test_early_stopping_needs_two_sequences_of_a_class():
    with pytest.raises(ValueError, match=r"^early_stopping: .* two sequences of a class .*, got one of each$"):
        GRUClassifier(**QUICK | {"early_stopping": True}).fit(np.zeros((2, 1, 1)), [0, 1])
