"""What a GPU or its driver may lack, and bad arguments, on a fake CuPy."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

import rgru
from fake_cupy import Gpu, Machine, bindings
from fake_host import FEATURES, H, close, gru_of
from kernel_cases import slow
from layer_cases import normal
from rgru._cuda import device as devices
from rgru._cuda import plan as plans
from rgru._cuda.device import Device
from rgru._cuda.kernel_config import CellSpec, Chip, Exchange, Precision

# -- errors ------------------------------------------------------------------------------------------------------------


def test_bad_arguments(host):
    gru, put = gru_of(), host.cupy.asarray
    x = put(normal(2, 5, FEATURES))
    for call, error, message in (
        (lambda: gru(x, normal(1, 2, H)), TypeError, r"^h0: expected an array on the GPU.*cupy\.asarray"),
        (lambda: gru(normal(2, 5, FEATURES), put(normal(1, 2, H))), TypeError, "^h0: expected an array on the CPU"),
        (lambda: gru(normal(2, 5, FEATURES), lengths=put(np.array([1, 2]))), TypeError, "^lengths: .* on the CPU"),
        (lambda: gru(x.astype("float64")), TypeError, "^x: expected float32, got float64"),
        (lambda: gru(x.astype("int64")), TypeError, "^x: expected float32, got int64"),
        (lambda: gru(x, put(normal(1, 2, H)).astype("float64")), TypeError, "^h0: expected float32, got float64"),
        (lambda: gru(x[0]), ValueError, "^x: expected 3 dimensions"),
        (lambda: gru(x[:, :, :2]), ValueError, "^x: expected last dimension 3"),
        (lambda: gru(x, put(normal(1, 3, H))), ValueError, "^h0: expected shape"),
        (lambda: gru(x, lengths=[1, 6]), ValueError, "^lengths: expected values in 0..=5, got 6"),
        (lambda: gru(x, lengths=put(np.array([1.0, 2.0]))), TypeError, "^lengths: expected integers"),
        (lambda: gru(x, lengths=put(np.array([1]))), ValueError, "^lengths: expected shape"),
        (lambda: gru.record(x, checkpoint=128), ValueError, "^checkpoint"),
        (lambda: gru.record(x)[2].backward(normal(2, 5, H)), TypeError, "^dy: expected an array on the GPU"),
        (lambda: gru.record(x)[2].backward(put(normal(2, 4, H))), ValueError, "^dy: expected shape"),
        (lambda: gru.record(x)[2].backward(None, put(normal(1, 1, H))), ValueError, "^dh_n: expected shape"),
    ):
        with pytest.raises(error, match=message):
            call()
    close(gru(x, lengths=put(np.array([-1, 9])))[0], gru(x.get(), lengths=[0, 5])[0])  # cut, without a look


def test_no_cupy(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"CuPy, which cannot be imported.*pip install"):
        rgru._backends.cuda.open_backend("cuda:0")


def test_a_cupy_that_cannot_be_imported(host, monkeypatch):
    """For example, its import creates a folder for its cache."""

    class Finder:
        def find_spec(self, name, path, target=None):
            if name == "cupy":
                raise PermissionError(13, "Permission denied", "/home/.cupy")

    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"cannot be imported .*Permission denied: '/home/\.cupy'"):
        rgru._backends.cuda.open_backend("cuda:0")


def test_old_cupy(host, monkeypatch):
    monkeypatch.setattr(host.cupy, "__version__", "13.4.1")
    with pytest.raises(ImportError, match=r"needs CuPy 14 or newer, got 13\.4\.1"):
        rgru._backends.cuda.open_backend("cuda:0")


@pytest.mark.parametrize(
    ("machine", "device", "message"),
    [
        (Machine(driver=0), "cuda:0", "there is no NVIDIA driver"),
        (Machine(driver=12080), "cuda:0", r"supports CUDA 12\.8, and CuPy needs CUDA 13\.2; update .*cupy-cuda12x"),
        (Machine(Gpu(capability=0)), "cuda:0", "no GPU: cudaErrorNoDevice"),
        (Machine(), "cuda:1", "device: expected a GPU from 0 to 0, got 1"),
        (Machine(Gpu(capability=70)), "cuda:0", r"compute capability 7\.5 or more, got 7\.0 \(GPU 0\)"),
    ],
)
def test_no_such_gpu(host, machine, device, message):
    host.put(machine)
    with pytest.raises(RuntimeError, match=message):
        rgru._backends.cuda.open_backend(device)
    if device == "cuda:0":
        assert rgru.info()["gpus"] == []


def test_names_of_gpus(host, monkeypatch):
    host.put(Machine(Gpu(), Gpu()))
    monkeypatch.setattr("rgru._runtime.find_spec", lambda name: name)
    assert rgru.info()["gpus"] == ["Fake 0", "Fake 1"]


def test_too_little_memory(host):
    gru, there = gru_of(), host.cupy.asarray(normal(2, 5, FEATURES))
    y, h_n, tape = gru.record(there)
    tape.backward(y, h_n)
    gpu = host.machine.gpus[0]
    gpu.memory = gpu.taken
    message = "^GPU 0: not enough memory .*smaller batches"
    for call in (lambda: gru(there), lambda: gru.record(there), lambda: tape.backward(y, h_n)):
        with pytest.raises(MemoryError, match=message):
            call()
    with pytest.raises(MemoryError, match=message):
        rgru.GRUClassifier(hidden_size=H, device="cuda", max_epochs=1).fit(normal(20, 5, FEATURES), [0, 1] * 10)
    gpu.memory = 1 << 36
    close(gru(there)[0], gru(there.get())[0])


def test_a_partitioned_gpu_has_no_room(host):
    host.put(Machine(Gpu()))
    host.monkeypatch.setattr("fake_cupy.kernels.blocks_at_once", lambda *_: 0)
    with pytest.raises(RuntimeError, match="expected room for"):
        gru_of()(host.cupy.asarray(normal(2, 5, FEATURES)))


@pytest.mark.parametrize("exchange", [Exchange.GRID, Exchange.PACKETS])
@pytest.mark.parametrize("smaller", ["than the plan assumes", "than at the first call"])
def test_a_grid_without_room_is_refused(host, exchange, smaller):
    """CuPy would launch fewer blocks, with a mere warning, and these would wait forever for the others."""
    host.monkeypatch.setattr("fake_cupy.kernels.blocks_at_once", lambda *_: 1)
    gpu = host.machine.gpus[0]
    host.form(exchange)
    gru, there = rgru.GRU(FEATURES, 16, seed=0), host.cupy.asarray(normal(2, 5, FEATURES))
    if smaller == "than at the first call":
        close(gru(there)[0], gru(there.get())[0])
    else:
        host.monkeypatch.setattr(Device, "chip", Chip(90, 8, 232448))
    gpu.multiprocessors = 1
    with pytest.raises(RuntimeError, match=r"^GPU 0: expected room for \d blocks of \d+ threads .* at once, got 1; is"):
        gru(there)


def test_the_room_of_a_kernel_is_asked_once(host):
    host.form(Exchange.PACKETS)
    gru, there, asked = rgru.GRU(FEATURES, 16, seed=0), host.cupy.asarray(normal(2, 5, FEATURES)), []
    driver = host.cupy.cuda.driver
    occupancy = driver.occupancyMaxActiveBlocksPerMultiprocessor
    driver.occupancyMaxActiveBlocksPerMultiprocessor = lambda *args: asked.append(args) or occupancy(*args)
    for _ in range(3):
        gru(there)
    assert len(asked) == 1


# -- clusters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", slow([1, 4, 8, 16], [1]))
def test_clusters_that_a_part_of_a_gpu_has_no_room_for_are_not_chosen(host, most):
    host.put(Machine(Gpu(cluster=most, multiprocessors=132)))
    device, cell = devices.open_device(0), CellSpec(Precision.FLOAT32, True, 128, False)
    assert device.chip.clusters == tuple((size, 132 // size if size <= most else 0) for size in (2, 4, 8, 16))
    sizes = {one.blocks for one in plans.launch_shapes(device.chip, cell, 2, 1) if one.exchange is Exchange.CLUSTER}
    assert sizes == {size for size in (2, 4, 8, 16) if size <= most}
    if most > 1:
        shapes = [one for one in plans.launch_shapes(device.chip, cell, 2, 1) if one.exchange is Exchange.CLUSTER]
        host.monkeypatch.setattr(Device, "plan", lambda *_: max(shapes, key=lambda one: (one.blocks, one.slices)))
        gru, x = rgru.GRU(FEATURES, 128, reset_after=True, seed=0), normal(2, 2, FEATURES)
        close(gru(host.cupy.asarray(x))[0], gru(x)[0])


@pytest.mark.parametrize("why", ["no bindings", "no such function", "an error"])
def test_a_driver_that_does_not_report_the_room_for_clusters(host, why):
    if why == "no bindings":
        host.monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    else:

        def ask(func, config):
            if why == "no such function":
                raise RuntimeError('Function "cuOccupancyMaxActiveClusters" not found')
            return bindings.CUresult.CUDA_ERROR_UNKNOWN, 0

        host.monkeypatch.setattr(bindings.driver, "cuOccupancyMaxActiveClusters", ask)
    assert devices.open_device(0).chip == Chip(90, 8, 232448)


def test_older_chips_are_not_asked_about_clusters(host):
    host.put(Machine(Gpu(capability=80)))
    assert devices.open_device(0).chip == Chip(80, 8, 232448)
    assert not host.machine.functions


def test_the_fake_bindings_have_the_names_and_numbers_of_the_real_ones():
    real = pytest.importorskip("cuda.bindings.driver")
    for kind in ("CUlaunchAttribute", "CUlaunchConfig"):
        for name in getattr(bindings, kind).__slots__:
            assert hasattr(getattr(real, kind)(), name)
    for name in bindings.Dimensions.__slots__:
        assert hasattr(real.CUlaunchAttribute().value.clusterDim, name)
    for kind in ("CUresult", "CUlaunchAttributeID"):
        for one in getattr(bindings, kind):
            assert getattr(getattr(real, kind), one.name) == one
    assert int(real.CUfunction(77)) == 77
    config, attribute = real.CUlaunchConfig(), real.CUlaunchAttribute()
    attribute.id = real.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
    cluster = attribute.value.clusterDim
    cluster.x, cluster.y, cluster.z = 4, 1, 1
    config.attrs = [attribute]
    assert config.attrs[0].value.clusterDim.x == 4, "attributes are not copies"
