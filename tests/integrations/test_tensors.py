"""Conversion of tensor columns to lists: fixed and variable shapes, slices, chunks, nulls, and other types."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rgru.integrations._tensors import with_lists

TENSORS = [np.arange(2 * steps, dtype=np.float32).reshape(steps, 2) + 100 * steps for steps in (3, 0, 1, 4)]


class VariableShape(pa.ExtensionType):
    """A type like Ray's ArrowVariableShapedTensorType."""

    def __init__(self, ndim=2):
        self.ndim = ndim
        storage = pa.struct([("data", pa.large_list(pa.float32())), ("shape", pa.list_(pa.int64()))])
        super().__init__(storage, "ray.data.arrow_variable_shaped_tensor")

    def __arrow_ext_serialize__(self):
        return b""


def variable(tensors, ndim=2):
    rows = [one if one is None else {"data": one.ravel().tolist(), "shape": list(one.shape)} for one in tensors]
    kind = VariableShape(ndim)
    return kind.wrap_array(pa.array(rows, kind.storage_type))


def fixed(rows=4, shape=(3, 2)):
    return pa.FixedShapeTensorArray.from_numpy_ndarray(
        np.arange(rows * np.prod(shape), dtype=float).reshape(rows, *shape)
    )


def lists(column):
    table = with_lists(pa.table({"id": [0] * len(column), "x": column}))
    table.validate(full=True)
    assert table.column_names == ["id", "x"]
    return table["x"]


def test_fixed_shapes_over_the_same_numbers():
    column = fixed()
    made = lists(column)
    assert made.type == pa.large_list(pa.list_(pa.float64(), 2))
    assert made.to_pylist() == column.to_numpy_ndarray().tolist()
    assert made.chunk(0).values.values.buffers()[1].address == column.storage.values.buffers()[1].address


def test_variable_shapes():
    assert lists(variable(TENSORS)).to_pylist() == [one.tolist() for one in TENSORS]
    widths = [np.ones((2, 3), np.float32), np.ones((1, 2), np.float32)]
    assert lists(variable(widths)).to_pylist() == [one.tolist() for one in widths]  # left to the model


@pytest.mark.parametrize("make", [fixed, lambda: variable(TENSORS)])
def test_slices_chunks_nulls_and_nothing(make):
    whole, nothing = make(), make().slice(0, 0)
    expected = lists(whole).to_pylist()
    assert lists(whole.slice(1, 2)).to_pylist() == expected[1:3]
    assert lists(pa.chunked_array([whole.slice(2), nothing, whole])).to_pylist() == expected[2:] + expected
    for none in (nothing, pa.chunked_array([], whole.type)):
        assert lists(none).to_pylist() == []
        assert lists(none).type == lists(whole).type
    rows = whole.storage.to_pylist()
    rows[1] = None
    gaps = whole.type.wrap_array(pa.array(rows, whole.type.storage_type))
    assert lists(gaps).to_pylist() == [expected[0], None, *expected[2:]]
    assert lists(gaps.slice(1)).to_pylist() == [None, *expected[2:]]


def test_tensors_of_rank_one_are_lists_of_numbers():
    assert lists(fixed(shape=(3,))).to_pylist() == np.arange(12.0).reshape(4, 3).tolist()
    assert lists(variable([one[:, 0] for one in TENSORS], 1)).to_pylist() == [one[:, 0].tolist() for one in TENSORS]


def test_a_batch_is_a_table():
    assert with_lists(pa.record_batch({"x": fixed()}))["x"].to_pylist() == lists(fixed()).to_pylist()


def test_other_types_are_refused():
    expected = r"^column 'x': expected lists, or tensors of \(steps, features\) or \(steps,\), got "
    with pytest.raises(TypeError, match=expected + "tensors of rank 3$"):
        lists(fixed(shape=(2, 2, 2)))
    with pytest.raises(TypeError, match=expected + "tensors of rank 3$"):
        lists(variable([np.zeros((1, 1, 1), np.float32)], 3))
    turned = pa.fixed_shape_tensor(pa.float64(), (2, 3), permutation=[1, 0])
    with pytest.raises(TypeError, match=expected + "extension<arrow.fixed_shape_tensor"):
        lists(turned.wrap_array(fixed().storage))
    with pytest.raises(TypeError, match=expected + "extension<arrow.bool8>$"):
        lists(pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())))
