"""Products by cuBLAS on a fake CuPy: handles, workspaces, errors."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

import rgru
from fake_cupy import Gpu, Machine
from fake_host import FEATURES, H, gru_of
from layer_cases import normal
from rgru._cuda import device as devices
from rgru._cuda import layer
from rgru._cuda.kernel_config import Precision


def test_products(host):
    """Multiply matrices of all orders, parts of matrices, and sizes of one."""
    device, cupy = devices.open_device(0), host.cupy

    def operand(rows, columns, how, seed):
        if how == "turned":
            return cupy.asarray(normal(columns, rows, seed=seed)).T
        if how == "part":
            return cupy.asarray(normal(rows, columns + 3, seed=seed))[:, 1 : columns + 1]
        if how == "column" and columns == 1:
            return cupy.asarray(normal(rows, seed=seed))[:, None]  # of a stride of 0
        if how == "part turned":
            return cupy.asarray(normal(columns, rows + 3, seed=seed))[:, 1 : rows + 1].T
        return cupy.asarray(normal(rows, columns, seed=seed))

    sizes = [
        (2, 3, 4),
        (1, 3, 4),
        (2, 1, 4),
        (2, 3, 1),
        (1, 1, 4),
        (1, 3, 1),
        (2, 1, 1),
        (1, 1, 1),
        (0, 2, 3),
        (2, 0, 3),
    ]
    hows = ("plain", "turned", "part", "part turned", "column")
    for m, k, n in sizes:
        for one in hows:
            for other in hows:
                for into in ("plain", "part"):
                    for add in (False, True):
                        a, b, out = operand(m, k, one, 0), operand(k, n, other, 1), operand(m, n, into, 2)
                        expected = a.get() @ b.get() + (out.get() if add else 0)
                        device.multiply(a, b, out, Precision.FLOAT32, add)
                        np.testing.assert_allclose(out.get(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16", "float64"])
def test_gradients_of_biases_are_sums_of_exact_numbers(host, monkeypatch, dtype):
    """In float32 at least: neither tf32 nor half precision rounds what is added."""
    gru = rgru.GRU(FEATURES, H, reset_after=True, dtype="float64" if dtype == "float64" else "float32", seed=0)
    added, bias_gradients = [], layer._bias_gradients

    def observed(weights, direction, da, da_own, into):
        added.extend([da, da_own])
        bias_gradients(weights, direction, da, da_own, into)

    monkeypatch.setattr(layer, "_bias_gradients", observed)
    x = host.cupy.asarray(normal(5, 40, FEATURES)).astype("float32" if dtype == "tf32" else dtype)
    rgru.gpu.allow_tf32(dtype == "tf32")
    try:
        y, _, tape = gru.record(x)
        found = tape.backward(y).params
    finally:
        rgru.gpu.allow_tf32(False)
    for name, array in zip(("b", "b_hh"), added, strict=True):
        exact = array.get().astype("float64").sum(axis=0)
        bound = 1e-13 if dtype == "float64" else 1e-6
        np.testing.assert_allclose(found[f"layers.0.fwd.{name}"].get(), exact, rtol=bound, atol=bound * 10)


def test_statuses_are_errors(host):
    array = host.cupy.asarray(normal(2, 2))
    host.library.cublasGemmEx_64._function = lambda *_: 13
    with pytest.raises(RuntimeError, match="cublasGemmEx failed with status 13"):
        devices.open_device(0).multiply(array, array, array, Precision.FLOAT32)
    assert ctypes.CDLL(None) is not None


def test_handles_of_ended_threads_are_used_again(host):
    """Destroying one would wait for the whole device, and invalidate captures of other threads."""
    gru, there = gru_of(), host.cupy.asarray(normal(2, 5, FEATURES))
    host.machine.synchronize()
    barrier = threading.Barrier(2)

    def work():
        with host.cupy.cuda.Stream(non_blocking=True) as stream:
            gru(there)
            stream.synchronize()
        barrier.wait()

    for _ in range(4):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(host.library.handles) == 2
    gru(there)
    assert len(host.library.handles) == 2
    host.machine.synchronize()


def test_workspaces_go_with_their_streams(host):
    gru, x = gru_of(), normal(2, 5, FEATURES)
    taken = []
    for _ in range(4):
        with host.cupy.cuda.Stream(non_blocking=True) as stream:
            gru(host.cupy.asarray(x))
            stream.synchronize()
        del stream
        taken.append(host.machine.gpus[0].taken)
    assert taken[-1] == taken[0] < 1 << 25


@pytest.mark.parametrize(("capability", "size"), [(75, 4), (86, 4), (90, 32), (100, 32), (120, 32)])
def test_workspaces_are_as_large_as_cublas_recommends(host, capability, size):
    host.put(Machine(Gpu(capability=capability)))
    gru_of()(host.cupy.asarray(normal(2, 5, FEATURES)))
    assert max(host.machine.allocated) == size << 20
