"""Heads, losses and optimisers of the device have the results of the core, over NumPy and over a strict module."""

from __future__ import annotations

import numpy as np
import pytest

from fake_cupy.backend import FakeBackend
from rgru import _core
from rgru._backends.cuda.array_ops import Operations

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


class OverNumpy:
    """Use arrays of NumPy as those of the device."""

    def __init__(self):
        self.ops = Operations(np)

    def __call__(self, name, *arrays):
        return getattr(self.ops, name)(*arrays)


class OverDevice:
    """Use arrays that refuse conversion to NumPy."""

    def __init__(self):
        self.ops = FakeBackend()

    def __call__(self, name, *arrays):
        with self.ops.here():
            offsets = name == "mean_over_time"  # they stay on the host
            first = [self.ops.array(array) for array in arrays[: 1 if offsets else None]]
            found = getattr(self.ops, name)(*first, *arrays[len(first) :])
            found = found if isinstance(found, tuple) else (found,)
            found = tuple(self.ops.numpy(one) for one in found)
            return found if len(found) > 1 else found[0]


@pytest.fixture(params=[OverNumpy, OverDevice], ids=["numpy", "device"])
def ops(request):
    return request.param()


def close(found, expected, dtype):
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def normal(dtype, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@DTYPES
@pytest.mark.parametrize("rows", [0, 1, 37])
def test_linear(ops, dtype, rows):
    x, weight, bias = normal(dtype, rows, 5), normal(dtype, 3, 5, seed=1), normal(dtype, 3, seed=2)
    close(ops("linear", x, weight, bias), _core.linear(x, weight, bias), dtype)
    dy = normal(dtype, rows, 3, seed=3)
    found, expected = ops("linear_backward", x, weight, dy), _core.linear_backward(x, weight, dy)
    for one, other in zip(found, expected, strict=True):
        close(one, other, dtype)


@DTYPES
@pytest.mark.parametrize(
    "lengths",
    [[], [0], [0, 0], [1], [8], [9], [64, 65], [3, 0, 1, 700, 0, 8, 9, 16, 17, 0], [1] * 20, [0, 5]],
    ids=lambda lengths: f"{len(lengths)} to {max(lengths, default=0)}",
)
def test_mean_over_time(ops, dtype, lengths):
    y, offsets = normal(dtype, sum(lengths), 4), np.cumsum([0, *lengths])
    found = ops("mean_over_time", y, offsets)
    assert found.shape == (len(lengths), 4)
    close(found, _core.mean_over_time(y, offsets), dtype)


def test_the_mean_of_a_sequence_does_not_depend_on_the_others(ops):
    y = normal("float32", 1000, 4)
    alone = ops("mean_over_time", y[300:], np.array([0, 700]))
    y[:300] = np.nan
    among = ops("mean_over_time", y, np.array([0, 0, 299, 300, 1000]))
    assert np.isnan(among[1:3]).all()
    np.testing.assert_array_equal(among[3:], alone)
    np.testing.assert_array_equal(among[0], 0)


def test_the_mean_of_many_steps_is_exact_to_a_few_roundings(ops):
    y = normal("float32", 100_000, 1) + np.float32(100)
    found = ops("mean_over_time", y, np.array([0, 100_000]))
    assert found[0, 0] == pytest.approx(y.astype(np.float64).mean(), rel=5e-7)


@DTYPES
def test_softmax(ops, dtype):
    logits = np.concatenate([normal(dtype, 20, 6), np.array([[1e4, 0, -1e4, 1e4, 1e30, -1e30]], dtype)])
    close(ops("softmax", logits), _core.softmax(logits), dtype)


@DTYPES
@pytest.mark.parametrize("rows", [0, 1, 50])
def test_cross_entropy(ops, dtype, rows):
    logits = 5 * normal(dtype, rows, 4)
    targets = np.random.default_rng(1).integers(0, 4, rows)
    if rows == 50:
        logits[0] = [1e4, 0, -1e4, 0]
    (loss, gradient), (expected, expected_gradient) = (
        ops("cross_entropy", logits, targets),
        _core.cross_entropy(logits, targets),
    )
    assert loss.dtype == np.float64
    assert loss == pytest.approx(expected, rel=TOLERANCE[dtype])
    close(gradient, expected_gradient, dtype)


@pytest.mark.parametrize("target", [-1, 4])
def test_a_target_that_is_no_class_makes_the_loss_nan(ops, target):
    loss, _ = ops("cross_entropy", normal("float32", 3, 4), np.array([0, target, 1]))
    assert np.isnan(loss)


@DTYPES
@pytest.mark.parametrize("rows", [0, 1, 50])
def test_mean_squared_error(ops, dtype, rows):
    prediction, target = normal(dtype, rows, 3), normal(dtype, rows, 3, seed=1)
    loss, gradient = ops("mean_squared_error", prediction, target)
    expected, expected_gradient = _core.mean_squared_error(prediction, target)
    assert loss.dtype == np.float64
    assert loss == pytest.approx(expected, rel=TOLERANCE[dtype])
    close(gradient, expected_gradient, dtype)


def test_sizes_that_do_not_fit_are_named(ops):
    x, weight, bias = normal("float32", 4, 5), normal("float32", 3, 5), normal("float32", 3)
    for name, arguments, message in (
        ("linear", (x, weight[:, :2].copy(), bias), r"^weight: expected shape \(3, 5\), got \(3, 2\)"),
        ("linear_backward", (x, weight, x), r"^dy: expected shape \(4, 3\), got \(4, 5\)"),
        ("mean_over_time", (x, np.array([0, 3])), r"^offsets: expected 4 at the end"),
        ("cross_entropy", (x, np.zeros(3, np.int64)), r"^targets: expected shape \(4,\), got \(3,\)"),
        ("mean_squared_error", (x, weight), r"^target: expected shape \(4, 5\), got \(3, 5\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ops(name, *arguments)


# -- Adam ----------------------------------------------------------------------------------------------------------


class Both:
    """Step the core's Adam and the device's over the same arrays."""

    def __init__(self, dtype, device):
        shapes = [(11,), (3, 4), (3,)]
        self.hosts = [normal(dtype, *shape, seed=i) for i, shape in enumerate(shapes)]
        self.device = device
        settings = (0.05, 0.9, 0.999, 1e-8)
        self.core, self.twin = _core.Adam(*settings), (FakeBackend() if device else Operations(np)).Adam(*settings)
        self.backend = self.twin._xp._device if device else None
        if device:
            with self.backend.here():
                self.arrays = [self.backend.array(host) for host in self.hosts]
        else:
            self.arrays = [host.copy() for host in self.hosts]

    def step(self, gradients, max_norm):
        expected = self.core.step(self.hosts, gradients, max_norm)
        if not self.device:
            return expected, self.twin.step(self.arrays, gradients, max_norm)
        with self.backend.here():
            norm = self.twin.step(self.arrays, [self.backend.array(one) for one in gradients], max_norm)
            return expected, self.backend.numpy(norm)

    def found(self):
        if not self.device:
            return [array.copy() for array in self.arrays]
        with self.backend.here():
            return [self.backend.numpy(array) for array in self.arrays]


@DTYPES
@pytest.mark.parametrize("max_norm", [None, 0.5, 1e6])
@pytest.mark.parametrize("device", [False, True])
def test_adam(dtype, max_norm, device):
    both = Both(dtype, device)
    for i in range(20):
        both.core.lr = both.twin.lr = 0.05 / (i + 1)
        expected, norm = both.step([normal(dtype, *one.shape, seed=9 + i) for one in both.hosts], max_norm)
        assert norm.dtype == np.float64
        assert norm == pytest.approx(expected, rel=TOLERANCE[dtype])
    for one, other in zip(both.found(), both.hosts, strict=True):
        close(one, other, dtype)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("device", [False, True])
def test_adam_changes_nothing_where_the_norm_is_not_finite(poison, max_norm, device):
    both = Both("float32", device)
    gradients = [np.ones_like(one) for one in both.hosts]
    both.step(gradients, max_norm)
    before = both.found()
    gradients[1][2, 1] = poison
    with np.errstate(invalid="ignore"):
        _, norm = both.step(gradients, max_norm)
    assert not np.isfinite(norm)
    for one, other in zip(both.found(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_adam_names_bad_arguments():
    adam = Operations(np).Adam
    for name, settings in {"lr": (0.0, 0.9, 0.9, 1e-8), "beta1": (1, 1.0, 0.9, 1e-8), "eps": (1, 0.9, 0.9, 0)}.items():
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            adam(*settings)
    one, two = np.zeros(3), np.zeros(4)
    optimizer = adam(0.1, 0.9, 0.999, 1e-8)
    with pytest.raises(ValueError, match=r"^grads: expected arrays of shapes \[\(3,\)\], got \[\(4,\)\]"):
        optimizer.step([one], [two], None)
    with pytest.raises(ValueError, match=r"^max_norm: expected a positive number, got 0.0"):
        optimizer.step([one], [one], 0.0)
    with pytest.raises(ValueError, match=r"^params: expected arrays of shapes \[\(3,\)\]"):
        optimizer.step([two], [two], None)
