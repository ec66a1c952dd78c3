"""Numbers that processors do not have (decimals, single bits), tensors and views of texts, in columns of Arrow."""

from __future__ import annotations

import random
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import rgru

DECIMALS = {
    "decimal32": lambda scale: pa.decimal32(9, scale),
    "decimal64": lambda scale: pa.decimal64(18, scale),
    "decimal128": lambda scale: pa.decimal128(38, scale),
    "decimal256": lambda scale: pa.decimal256(76, scale),
}
DECIMALS = {name: kind for name, kind in DECIMALS.items() if hasattr(pa, name)}


def nested(flat, kind):
    """Sequences of 2 features, of all layouts of a step; and of the bare numbers."""
    fixed = pa.FixedSizeListArray.from_arrays(flat, 2)
    listed = pa.ListArray.from_arrays(pa.array(range(0, len(flat) + 1, 2), pa.int32()), flat)
    struct = pa.StructArray.from_arrays([flat.take(pa.array(range(i, len(flat), 2))) for i in (0, 1)], ["a", "b"])
    for steps in (fixed, listed, struct, flat):
        yield pa.ListArray.from_arrays(pa.array([0, 1, 1, len(steps)], pa.int32()), steps).slice(1)


@pytest.mark.parametrize("name", DECIMALS)
@pytest.mark.parametrize("scale", [-3, 0, 2, 9, 30])
def test_decimals_become_the_nearest_float64(name, scale):
    kind = DECIMALS[name](scale)
    rng = random.Random(scale)
    values = [rng.randrange(10 ** rng.randrange(kind.precision + 1)) * rng.choice([1, -1]) for _ in range(400)]
    integers = [0, 1, -1, 10**kind.precision - 1, 1 - 10**kind.precision, *values, 0]
    data = b"".join(one.to_bytes(kind.byte_width, sys.byteorder, signed=True) for one in integers)
    flat = pa.Array.from_buffers(kind, len(integers), [None, pa.py_buffer(data)])
    expected = [float(f"{one}e{-scale}") for one in integers]
    for column in nested(flat, kind):
        ragged = rgru.Ragged.from_arrow(column)
        assert ragged.values.dtype == np.float64
        width = ragged.values.shape[1]
        assert ragged.values.reshape(-1).tolist() == expected[width:]
        if max(map(abs, expected)) < 3e38:
            single = rgru.Ragged.from_arrow(column, dtype="float32").values
            assert np.array_equal(single, ragged.values.astype(np.float32))


def test_decimals_that_float32_does_not_reach_are_refused():
    column = pa.array([[Decimal(10) ** 38], [Decimal(10) ** 39]], pa.list_(pa.decimal256(76, 0)))
    with pytest.raises(ValueError, match=r"expected numbers within the range of float32, got 1e39 in row 1"):
        rgru.arrow.predict(rgru.GRU(1, 2), column)
    assert rgru.arrow.predict(rgru.GRU(1, 2), column, on_error="null").null_count == 1


@pytest.mark.parametrize("kind", [pa.decimal128(5, 1), pa.bool_()], ids=str)
def test_nulls_among_them_are_nulls(kind):
    column = pa.array([[1, 0], [None], None, []], pa.list_(pa.int8())).cast(pa.list_(kind))
    made = pa.array(rgru.arrow.predict(rgru.GRU(1, 2, seed=0), column, on_error="null"))
    assert made.is_null().to_pylist() == [False, True, True, False]
    floats = pa.array([[1.0, 0.0], []], pa.list_(pa.float32()))
    assert made.drop_null().to_pylist() == pa.array(rgru.arrow.predict(rgru.GRU(1, 2, seed=0), floats)).to_pylist()


@pytest.mark.parametrize("start", [0, 1, 7, 9])
def test_booleans_are_0_and_1(start):
    bits = np.random.default_rng(0).random(64) < 0.5
    flat = pa.array(np.append(np.ones(start, np.bool_), bits)).slice(start)
    for column in nested(flat, pa.bool_()):
        ragged = rgru.Ragged.from_arrow(column)
        assert ragged.values.dtype == np.float64
        assert ragged.values.reshape(-1).tolist() == bits[ragged.values.shape[1] :].tolist()


@pytest.mark.parametrize("shape", [(3, 2), (3,), (1, 4), (0, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_tensors_of_one_shape_are_sequences(shape, dtype):
    values = np.random.default_rng(0).standard_normal((5, *shape)).astype(dtype)
    tensor = pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), shape, dim_names=["shape", "[9]"][: len(shape)])
    kind = tensor.storage_type
    flat = pa.array(values.ravel())
    storage = pa.FixedSizeListArray.from_arrays(flat, kind.list_size) if values.size else pa.array([[]] * 5, kind)
    column = pa.ExtensionArray.from_storage(tensor, storage)
    wanted = values if len(shape) == 2 else values[:, :, None]
    for first in (0, 2):
        ragged = rgru.Ragged.from_arrow(column.slice(first))
        assert np.array_equal(np.stack(list(ragged)), wanted[first:])
        assert np.shares_memory(ragged.values, flat.to_numpy()) == (dtype != "int16" and values.size > 0)
    parts = rgru.Ragged.from_arrow(pa.chunked_array([column.slice(3), column.slice(0, 1)]))
    assert np.array_equal(np.stack(list(parts)), wanted[[3, 4, 0]])


def test_tensors_that_are_null_or_hold_nulls():
    kind = pa.fixed_shape_tensor(pa.float32(), (2, 2))
    storage = pa.array([[1, 2, 3, 4], None, [1, None, 3, 4], [5, 6, 7, 8]], kind.storage_type)
    column = pa.ExtensionArray.from_storage(kind, storage)
    gru = rgru.GRU(2, 3, seed=0)
    made = pa.array(rgru.arrow.predict(gru, column, on_error="null"))
    assert made.is_null().to_pylist() == [False, True, True, False]
    with pytest.raises(ValueError, match="1 null sequence in row 1"):
        rgru.arrow.predict(gru, column)
    with pytest.raises(ValueError, match="1 null value in row 1 "):
        rgru.arrow.predict(gru, pa.ExtensionArray.from_storage(kind, storage.take(pa.array([0, 2]))))


@pytest.mark.parametrize(
    "kind",
    [
        pa.fixed_shape_tensor(pa.float32(), (2, 2, 2)),
        pa.fixed_shape_tensor(pa.float32(), (2, 4), permutation=[1, 0]),
        pa.bool8(),
    ],
    ids=str,
)
def test_other_extension_types_are_refused_by_name(kind):
    storage = pa.array([], kind.storage_type)
    column = pa.ExtensionArray.from_storage(kind, storage)
    with pytest.raises(TypeError, match=r"got extension<arrow\.(fixed_shape_tensor|bool8)>"):
        rgru.Ragged.from_arrow(column)


def test_estimators_take_decimals_and_booleans():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (20, 3, 1)).astype(np.float64)
    y = [Decimal(f"{one:.3f}") for one in x.sum(axis=(1, 2)) + rng.standard_normal(20) / 10]
    options = {"hidden_size": 3, "max_epochs": 2, "random_state": 0}
    expected = rgru.GRURegressor(**options).fit(x, [float(one) for one in y]).predict(x)
    for kind in (pa.bool_(), pa.decimal128(4, 1)):
        column = pa.array(x[:, :, 0].astype(int).tolist(), pa.list_(pa.int8())).cast(pa.list_(kind))
        model = rgru.GRURegressor(**options).fit(column, pa.array(y))
        assert np.array_equal(model.predict(column), expected)
    assert np.array_equal(rgru.GRURegressor(**options).fit(x, np.array(y, object)).predict(x), expected)
