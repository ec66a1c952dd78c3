"""Arrays and functions of the fake CuPy: those of NumPy, over memory of a fake GPU."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fake_cupy.machine import CUDARuntimeError, MemoryPointer, Operation, View

FUNCTIONS = (
    "abs",
    "add",
    "arange",
    "argsort",
    "clip",
    "concatenate",
    "cumsum",
    "divide",
    "empty",
    "empty_like",
    "exp",
    "full",
    "isfinite",
    "log",
    "ones",
    "ones_like",
)
FUNCTIONS += ("maximum", "minimum", "reshape", "sqrt", "square", "stack", "where", "zeros", "zeros_like")
METHODS = ("any", "astype", "copy", "max", "min", "ravel", "reshape", "sum", "transpose")

machine = None
"""Set by `fake_cupy.install`."""


class ndarray(NDArrayOperatorsMixin):  # noqa: N801
    """As `cupy.ndarray`: no implicit conversion to NumPy, and no operations with arrays of NumPy."""

    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None):
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        if memptr is None:
            memptr = machine.allocate(int(np.prod(shape)) * dtype.itemsize)
        self.data = memptr
        self._host = np.ndarray(shape, dtype, memptr.mem.bytes, memptr.offset, strides)  # for use in this module only

    shape = property(lambda self: self._host.shape)
    strides = property(lambda self: self._host.strides)
    dtype = property(lambda self: self._host.dtype)
    size = property(lambda self: self._host.size)
    ndim = property(lambda self: self._host.ndim)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    T = property(lambda self: self.transpose())

    @property
    def device(self):
        return Device(self.data.mem.device)

    @property
    def flags(self):
        flags = self._host.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    @property
    def _places(self):
        memory = self.data.mem.memory
        return View(memory, self.data.ptr - memory.ptr, self.shape, self.strides, self.dtype)

    # -- protocols of other libraries --------------------------------------------------------------------------------

    @property
    def __cuda_array_interface__(self):
        strides = None if self.flags.c_contiguous else self.strides
        stream = machine.stream.ptr or 1
        data = (self.data.ptr if self.size else 0, False)
        kind = "<V2" if self.dtype.name == "bfloat16" else self.dtype.str
        return {
            **{"shape": self.shape, "typestr": kind, "descr": [("", kind)], "version": 3, "stream": stream},
            **{"strides": strides, "data": data},
        }

    def __dlpack_device__(self):
        return 2, self.data.mem.device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        current = machine.stream
        if stream not in (None, -1, current.ptr or 1):
            event = _event()
            current.record(event)
            machine.stream_at(self.data.mem.device, 0 if stream == 1 else stream).wait(event)
        return Capsule(self)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_function__(self, function, types, args, kwargs):
        if function.__name__ not in FUNCTIONS:
            raise TypeError(f"numpy.{function.__name__} of a cupy.ndarray")
        return call(function, args, kwargs)

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        if method != "__call__" or set(kwargs) - {"out", "dtype"}:
            return NotImplemented
        return call(ufunc, args, kwargs)

    # -- to and from the host --------------------------------------------------------------------------------------

    def get(self, stream=None, order="C", out=None, blocking=True):
        to = machine.stream if stream is None else stream.work
        if to.capture is not None:
            raise RuntimeError("the current stream is capturing, so D2H transfers are disallowed")
        host = np.empty(self.shape, self.dtype) if out is None else out
        if host.dtype != self.dtype:
            raise TypeError(f"{host.dtype} array cannot be obtained from {self.dtype} array")
        if host.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {host.shape}")
        assert self.flags.c_contiguous or out is None
        to.submit(Operation("get", lambda array: np.copyto(host, array), [self._places], []))
        if blocking:
            to.synchronize()
        return host

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        to = machine.stream if stream is None else stream.work
        if to.capture is not None:
            raise RuntimeError("the current stream is capturing, so H2D transfers are disallowed")
        host = arr.copy()
        to.submit(Operation("set", lambda array: np.copyto(array, host), [], [self._places]))

    def item(self):
        return self.get().item()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __index__(self):
        return self.get().__index__()

    def __bool__(self):
        return bool(self.get())

    # -- computing -------------------------------------------------------------------------------------------------

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        if _is_basic(key):
            return self._view(key)
        if _is_mask(key):
            machine.stream.synchronize()  # to know the shape
        return call(lambda array, at: array[at], (self, key), {}, "getitem")

    def __setitem__(self, key, value):
        if _is_basic(key):
            call(np.asarray, (value,), {}, "setitem", out=self._view(key))
            return
        if _is_mask(key):
            machine.stream.synchronize()

        def assign(array, at, new):
            array[at] = new

        call(assign, (self, key, value), {}, "scatter", out=self)

    def _view(self, key):
        key = key if isinstance(key, tuple) else (key,)
        view = self._host[key if Ellipsis in key else (*key, ...)]
        offset = view.ctypes.data - self.data.mem.bytes.ctypes.data
        return ndarray(view.shape, view.dtype, MemoryPointer(self.data.mem, offset if view.size else 0), view.strides)

    def fill(self, value):
        self[...] = value

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(name)
        return lambda *args, **kwargs: call(
            lambda array, *rest, **options: getattr(array, name)(*rest, **options), (self, *args), kwargs, name
        )


class UnownedMemory:
    """As `cupy.cuda.UnownedMemory`: a part of an allocation, which the owner keeps alive."""

    def __init__(self, ptr, size, owner, device_id=-1):
        self._owner, self._memory = owner, weakref.ref(machine.memory_at(ptr))
        self.ptr, self.size, self.device = ptr, size, device_id
        self.bytes = self.memory.bytes[ptr - self.memory.ptr :]

    memory = property(lambda self: self._memory())


class Capsule:
    """The result of `__dlpack__`."""

    def __init__(self, array):
        self.array = array


def call(function, args, kwargs, name="", out=None):
    """Compute with arrays of the device: at once, for the shape, and as an operation of the current stream."""
    name = name or function.__name__
    kwargs = dict(kwargs)
    if name == "argsort":  # as in CuPy before it called Thrust with `par_nosync`
        if machine.stream.capture is not None:
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported")
        machine.stream.synchronize()
    given = kwargs.pop("out", None)
    out = (given[0] if isinstance(given, tuple) else given) if out is None else out
    found = []
    plan = [_take(value, found) for value in args], {key: _take(value, found) for key, value in kwargs.items()}
    for array in (*found, *([] if out is None else [out])):
        if array.data.mem.device != machine.here.device:
            raise ValueError(
                f"The device where the array resides ({array.data.mem.device}) is different from the current device "
                f"({machine.here.device}). Peer access is unavailable between these devices."
            )

    def compute(*hosts):
        positional, named = plan
        with np.errstate(all="ignore"):
            return _as_cupy(name, function(*_put(positional, hosts), **_put(named, hosts)), hosts)

    views = [array._places for array in found]
    if out is not None:

        def change(*arrays):
            result = compute(*arrays[:-1])
            if name != "scatter":
                np.copyto(arrays[-1], result, casting="unsafe" if name == "setitem" else "same_kind")

        machine.stream.submit(Operation(name, change, views, [out._places]))
        return out
    result = compute(*(array._host for array in found))
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    for array in found:
        if isinstance(result, np.ndarray) and np.shares_memory(result, array._host):
            offset = result.ctypes.data - array.data.mem.ptr if result.size else 0
            return ndarray(result.shape, result.dtype, MemoryPointer(array.data.mem, offset), result.strides)
    made = ndarray(result.shape, result.dtype)
    if name in ("empty", "empty_like"):
        return made
    if name in ("getitem", "reshape", "transpose", "ravel") and result.size == 0:
        return made
    if machine.stream.capture is None:

        def store(*arrays):
            arrays[-1][...] = result
    else:

        def store(*arrays):
            arrays[-1][...] = compute(*arrays[:-1])

    machine.stream.submit(Operation(name, store, views, [made._places]))
    return made


def _as_cupy(name, result, hosts):
    """Reproduce where CuPy differs from NumPy: `where` has no bfloat16."""
    if name == "where" and isinstance(result, np.ndarray) and result.dtype.name == "bfloat16":
        return result.astype(np.float32)
    return result


class _Place(int):
    """The position of an array among those of a call."""


def _take(value, found):
    if isinstance(value, ndarray):
        found.append(value)
        return _Place(len(found) - 1)
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(_take(one, found) for one in value)
    return value


def _put(value, hosts):
    if isinstance(value, _Place):
        return hosts[value]
    if isinstance(value, (list, tuple)):
        return type(value)(_put(one, hosts) for one in value)
    if isinstance(value, dict):
        return {key: _put(one, hosts) for key, one in value.items()}
    return value


def _is_mask(key):
    return isinstance(key, ndarray) and key.dtype == bool


def _is_basic(key):
    for one in key if isinstance(key, tuple) else (key,):
        if isinstance(one, ndarray):
            return False
        if isinstance(one, (list, np.ndarray)):
            raise IndexError(f"unsupported index {type(one)}")
    return True


def asarray(value, dtype=None):
    if isinstance(value, ndarray):
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)
    if hasattr(value, "__cuda_array_interface__"):
        interface = value.__cuda_array_interface__
        memory = machine.memory_at(interface["data"][0])
        if interface.get("stream"):
            machine.stream_at(memory.device, 0 if interface["stream"] == 1 else interface["stream"]).synchronize()
        pointer = MemoryPointer(memory, interface["data"][0] - memory.ptr)
        return ndarray(interface["shape"], interface["typestr"], pointer, interface["strides"])
    host = np.array(value, dtype)
    made = ndarray(host.shape, host.dtype)
    if host.ndim == 0:
        made.fill(host[()])
    elif host.size:
        made.set(np.ascontiguousarray(host))
    return made


def asnumpy(array):
    return array.get() if isinstance(array, ndarray) else np.asarray(array)


def ascontiguousarray(array):
    return array if array.flags.c_contiguous else array.copy()


def from_dlpack(array, *, device=None, copy=None):
    kind, index = array.__dlpack_device__()
    if kind not in (2, 13):
        raise TypeError("CPU arrays cannot be directly imported to CuPy.")
    before, machine.here.device = machine.here.device, index
    try:
        stream = machine.stream.ptr or 1
        try:
            capsule = array.__dlpack__(stream=stream, max_version=(1, 0))
        except TypeError:
            capsule = array.__dlpack__(stream=stream)
    finally:
        machine.here.device = before
    found = capsule.array
    return ndarray(found.shape, found.dtype, found.data, found.strides)


class Device:
    """As `cupy.cuda.Device`."""

    def __init__(self, device=None):
        self.id = machine.here.device if device is None else int(device)

    def __enter__(self):
        self.__dict__.setdefault("_before", []).append(machine.here.device)
        machine.here.device = self.id
        return self

    def __exit__(self, *_):
        machine.here.device = self._before.pop()

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    @property
    def attributes(self):
        gpu = machine.gpus[self.id]
        found = {"MultiProcessorCount": gpu.multiprocessors, "MaxSharedMemoryPerBlockOptin": gpu.shared_bytes}
        return machine.attributes.setdefault(self.id, found)  # CuPy asks once

    @property
    def compute_capability(self):
        return str(machine.gpus[self.id].capability)

    @property
    def mem_info(self):
        gpu = machine.gpus[self.id]
        return gpu.memory - gpu.taken, gpu.memory

    def synchronize(self):
        machine.synchronize(self.id)


def _event():
    from fake_cupy.machine import Event

    return Event()
