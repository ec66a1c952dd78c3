"""GRUs on a fake CuPy: forced configurations, and the comparison with the CPU."""

import sys

import numpy as np
import pytest

import fake_cupy
import rgru
from fake_cupy import Machine
from layer_cases import with_biases
from rgru._cuda import plan as plans
from rgru._cuda.device import Device
from rgru._cuda.kernel_config import Exchange, Steps

FEATURES, H = 3, 5
TOLERANCE = {"float32": 2e-6, "float64": 1e-13, "float16": 4e-3, "bfloat16": 4e-2}


class Host:
    """The fake CuPy of one test."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch
        self.put(Machine())

    def put(self, machine):
        self.machine = machine
        self.library = fake_cupy.install(self.monkeypatch, machine)
        self.cupy = sys.modules["cupy"]

    def form(self, exchange):
        """Force an exchange, or single steps (None), with graphs of two."""

        def plan(device, cell, count, directions):
            if exchange is None or cell.options.layer_norm is not None:
                return Steps(cell)
            shapes = plans.launch_shapes(device.chip, cell, count, directions)
            return min((one for one in shapes if one.exchange is exchange), key=lambda one: (one.batch, one.threads))

        self.monkeypatch.setattr(Device, "plan", plan)
        self.monkeypatch.setattr(Device, "steps_per_graph", 2)


class Tensor:
    """An array of a library with an old version of DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__(stream=stream)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Old:
    """An array of a library without DLPack."""

    def __init__(self, array):
        self.array = array

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__


def close(found, expected, dtype="float32"):
    if isinstance(found, rgru.Ragged):
        assert found.offsets.tolist() == expected.offsets.tolist()
        found, expected = found.values, expected.values
    assert type(found) is fake_cupy.ndarray
    assert found.dtype.name == dtype
    np.testing.assert_allclose(
        found.get().astype("float64"), expected.astype("float64"), rtol=0, atol=TOLERANCE[dtype] * 5
    )


def gru_of(**options):
    return with_biases(rgru.GRU(FEATURES, H, seed=1, **options))


def forms_and_cells(*exchanges):
    """Test exchanges (None: steps) with both cells; by default few of them."""
    return pytest.mark.parametrize(
        ("exchange", "reset_after"),
        [
            pytest.param(
                *(exchange, reset_after),
                id=f"{'STEPS' if exchange is None else exchange.name}-reset_{'after' if reset_after else 'before'}",
                marks=() if (exchange, reset_after) in ((Exchange.BLOCK, True), (None, False)) else pytest.mark.slow,
            )
            for exchange in exchanges
            for reset_after in (False, True)
        ],
    )
