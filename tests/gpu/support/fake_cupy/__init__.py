"""CuPy without a GPU, for tests: the part of it that `rgru.gpu` uses, at least as strict as CuPy 14.2.

    machine = Machine(Gpu(), Gpu(capability=80))
    install(monkeypatch, machine)
    import cupy

Kernels run in `cuda_emulator`, arrays are in NumPy's memory, and `machine` checks the order of work; see
`fake_cupy.machine`. Anything else raises AttributeError: add it as the source of CuPy has it.

Two smaller doubles use less of it: `fake_cupy.backend`, for models and pipelines without kernels, and
`fake_cupy.emulated_device`, for kernels without CuPy.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import warnings
import weakref
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np

from fake_cupy import arrays, bindings, kernels
from fake_cupy.arrays import Device, UnownedMemory, ndarray
from fake_cupy.cublas import Library
from fake_cupy.machine import Capture, CUDARuntimeError, Gpu, Hazard, Machine, MemoryPointer, OutOfMemoryError, before
from fake_cupy.machine import Event as EventWork
from fake_cupy.machine import Stream as StreamWork

__all__ = ["CUDARuntimeError", "Gpu", "Hazard", "Machine", "OutOfMemoryError", "finish", "install", "ndarray"]

CUBLAS = "/fake/libcublas.so.13"


class Stream:
    """As `cupy.cuda.Stream`."""

    def __init__(self, null=False, non_blocking=False):
        machine = arrays.machine
        self._work = None
        if not null:
            self._work = StreamWork(machine, machine.here.device, 0, not non_blocking)
            self._work.ptr = 0x1000 + 16 * self._work.line
            self._work.object = weakref.ref(self)
            machine.streams[self._work.ptr] = self._work

    @property
    def work(self):
        return self._work or arrays.machine.gpus[arrays.machine.here.device].null

    ptr = property(lambda self: self.work.ptr)

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    def __enter__(self):
        here, work = arrays.machine.here, self.work
        if work.device != here.device:
            raise RuntimeError(
                f"The device that the stream is created on ({work.device}) does not match with the current device "
                f"({here.device})"
            )
        self.__dict__.setdefault("_before", []).append((here.device, here.streams[here.device]))
        here.streams[here.device] = work
        return self

    def __exit__(self, *_):
        device, work = self._before.pop()
        arrays.machine.here.streams[device] = work

    def record(self, event=None):
        event = Event() if event is None else event
        self.work.record(event)
        return event

    def wait_event(self, event):
        self.work.wait(event)

    def synchronize(self):
        self.work.synchronize()

    def is_capturing(self):
        self.work._not_during_a_capture()
        return self.work.capture is not None

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert self.work.capture is None
        Capture(self.work)

    def end_capture(self):
        capture = self.work.capture
        if capture is None or capture.origin is not self.work:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated")
        capture.end()
        return Graph(capture)


class Graph:
    """As `cupy.cuda.Graph`."""

    def __init__(self, capture):
        self._capture, self._machine = capture, arrays.machine
        self._launched = {}  # the last place on each line of work

    def launch(self, stream=None):
        line, tick = self._capture.launch(arrays.machine.stream if stream is None else stream.work)
        self._launched[line] = tick

    def __del__(self):
        late = before(self._launched.items(), self._machine.known)
        if late:
            self._machine.hazards.append(f"a graph was destroyed while {late} may still run it")


class Event(EventWork):
    """As `cupy.cuda.Event`; `done` is False until the host has waited for it."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        pass

    @property
    def done(self):
        self._check()
        known = arrays.machine.known
        return all(tick <= known.get(line, 0) for line, tick in (self.known or {}).items())

    def record(self, stream=None):
        (arrays.machine.stream if stream is None else stream.work).record(self)

    def synchronize(self):
        self._check()
        for line, tick in (self.known or {}).items():
            arrays.machine.known[line] = max(tick, arrays.machine.known.get(line, 0))

    def _check(self):
        if self.capture is not None:
            raise CUDARuntimeError(907, "cudaErrorCapturedEvent")


def get_current_stream(device_id=-1):
    machine = arrays.machine
    work = machine.stream if device_id == -1 else machine.here.streams[device_id]
    return work.object()


class Runtime:
    """As `cupy.cuda.runtime`."""

    CUDARuntimeError = CUDARuntimeError
    cudaDevAttrMultiProcessorCount = 16  # noqa: N815

    def deviceGetAttribute(self, attribute, index):  # noqa: N802
        assert attribute == self.cudaDevAttrMultiProcessorCount
        return arrays.machine.gpus[index].multiprocessors

    def getDeviceCount(self):  # noqa: N802
        machine = arrays.machine
        if machine.driver < 13000:
            raise CUDARuntimeError(35, "cudaErrorInsufficientDriver")
        if machine.gpus[0].capability == 0:
            raise CUDARuntimeError(100, "cudaErrorNoDevice")
        return len(machine.gpus)

    def driverGetVersion(self):  # noqa: N802
        return arrays.machine.driver

    def runtimeGetVersion(self):  # noqa: N802
        return 13020

    def getDeviceProperties(self, index):  # noqa: N802
        return {"name": f"Fake {index}".encode()}


class MemoryPool:
    """As `cupy.cuda.MemoryPool`, which keeps nothing."""

    def malloc(self, size):
        return arrays.machine.malloc(size)

    def free_bytes(self):
        return 0


def _module():
    cupy = ModuleType("cupy")
    cupy.__version__, cupy.__spec__ = "14.2.0", ModuleSpec("cupy", None)
    machine = arrays.machine
    for name in arrays.FUNCTIONS:
        setattr(cupy, name, _function(getattr(np, name)))
    for name in ("asarray", "ascontiguousarray", "asnumpy", "from_dlpack", "ndarray"):
        setattr(cupy, name, getattr(arrays, name))
    pool = MemoryPool()
    cupy.RawModule, cupy.get_default_memory_pool = kernels.RawModule, lambda: pool
    cupy.cuda = SimpleNamespace(
        **{"Device": Device, "Event": Event, "Graph": Graph, "Stream": Stream, "runtime": Runtime()},
        **{"MemoryPointer": MemoryPointer, "UnownedMemory": UnownedMemory},
        get_current_stream=get_current_stream,
        using_allocator=machine.using_allocator,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        driver=SimpleNamespace(
            occupancyMaxActiveBlocksPerMultiprocessor=kernels.occupancy, funcSetAttribute=kernels.set_attribute
        ),
    )
    return cupy


def _function(function):
    return lambda *args, **kwargs: arrays.call(function, args, kwargs)


def install(monkeypatch, machine):
    """Replace `cupy`, `cupyx`, `cuda.bindings` and cuBLAS by fakes over a machine; return the cuBLAS library."""
    monkeypatch.setattr(arrays, "machine", machine)
    machine.functions = {}
    null = Stream(null=True)  # one object for all devices
    for gpu in machine.gpus:
        gpu.null.object = lambda: null
    cupy, cupyx, library = _module(), ModuleType("cupyx"), Library()
    cupyx.empty_pinned = lambda shape, dtype=float, order="C": np.empty(shape, dtype, order)
    pathfinder = ModuleType("cuda.pathfinder")
    pathfinder.load_nvidia_dynamic_lib = lambda name: SimpleNamespace(abs_path={"cublas": CUBLAS}[name])
    cuda = ModuleType("cuda")
    cuda.pathfinder, cuda.bindings = pathfinder, bindings
    modules = {"cupy": cupy, "cupyx": cupyx, "cuda": cuda, "cuda.pathfinder": pathfinder, "cuda.bindings": bindings}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda path, *rest: library if path == CUBLAS else load(path, *rest))
    _forget()
    return library


def finish(machine):
    """Forget everything about a machine, and raise the hazards that could not be raised where they were found."""
    _forget()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
    if machine.hazards:
        raise Hazard("; ".join(machine.hazards))


def _forget():
    from rgru._backends.cuda import open_backend
    from rgru._cuda.availability import find_cupy
    from rgru._cuda.cublas import _library
    from rgru._cuda.device import open_device

    for cached in (open_backend, open_device, find_cupy, _library):
        cached.cache_clear()
