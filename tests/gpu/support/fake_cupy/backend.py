"""A backend of models on NumPy and the core, whose arrays refuse implicit conversion to NumPy, as those of CuPy do."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fake_cupy.machine import RANDOM, Event, Machine
from rgru import _core
from rgru._backends.cuda.array_ops import Operations
from rgru._backends.cuda.transfer import pipelined


class DeviceArray(NDArrayOperatorsMixin):
    """An array of the device. Operations run at once, after what its stream waits for; copies run by the schedule.

    As with CuPy, operations with NumPy arrays (but not with NumPy scalars) raise an error, and reductions return 0-d
    arrays. Conversion to a Python number, which makes the host wait, raises an error too.
    """

    def __init__(self, device, data):
        self._device, self._data = device, data

    @property
    def data(self):
        """The numbers, for the implementation of the device."""
        assert self._device.depth > 0, "not where the device is the current one"
        self._device.compute.synchronize()
        return self._data

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    size = property(lambda self: self._data.size)
    ndim = property(lambda self: self._data.ndim)
    T = property(lambda self: self._device.wrap(self.data.T))

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion to a NumPy array")

    def __float__(self):
        raise TypeError("the host would have to wait")

    __bool__ = __int__ = __index__ = __float__

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} of an array of the device; use xp.{function.__name__}")

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        return self._device.call(getattr(ufunc, method), args, kwargs)

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        return (self._device.wrap(one) for one in self.data)

    def __getitem__(self, key):
        return self._device.call(lambda array, at: array[at], (self, key), {})

    def __setitem__(self, key, value):
        self._device.call(lambda array, at, new: array.__setitem__(at, new), (self, key, value), {})

    def __getattr__(self, name):
        if name not in ("astype", "sum", "max", "any", "reshape", "ravel", "transpose", "copy"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._device.call(getattr(self.data, name), args, kwargs)

    def set(self, host, stream):
        assert self.shape == host.shape
        assert self.dtype == host.dtype
        stream.put(lambda: np.copyto(self._data, host))

    def get(self, out, stream, blocking):
        assert not blocking
        assert (self.shape, self.dtype) == (out.shape, out.dtype)
        stream.put(lambda: np.copyto(out, self._data))


class _Module:
    """NumPy's functions over the device's arrays."""

    def __init__(self, device):
        self._device = device

    def asarray(self, host):
        return self._device.array(host)

    def __getattr__(self, name):
        return lambda *args, **kwargs: self._device.call(getattr(np, name), args, kwargs)


class _Weights:
    captured = False

    def __init__(self, device, params, sizes, **options):
        self._device, self._core = device, _core.Weights(params.data, sizes, **options)
        self.training = self._core.training

    def forward(self, x, h0, lengths, offsets):
        assert h0 is None
        assert lengths is None
        assert type(offsets) is np.ndarray
        return self._device.wrap(self._core.forward(x.data.copy(), None, None, offsets))

    def final_states(self, x, h0, lengths, offsets):
        return self.forward(x, h0, lengths, offsets)[1]

    def forward_tape(self, x, h0, lengths, offsets, *rest):
        assert type(offsets) is np.ndarray
        y, h_n, tape = self._core.forward_tape(x.data, h0, lengths, offsets, *rest)
        return *self._device.wrap((y, h_n)), _Tape(self._device, tape)


class _Tape:
    def __init__(self, device, core):
        self._device, self._core = device, core

    def backward(self, dy, dh_n):
        gradients = [None if array is None else array.data for array in (dy, dh_n)]
        return self._device.wrap(self._core.backward(*gradients))


class FakeBackend(Operations):
    """`rgru._backends.base.Backend`, and the device of `rgru._backends.cuda.transfer`."""

    def __init__(self, device="cuda:0"):
        super().__init__(_Module(self))
        self.device = device
        self.machine = Machine(schedule=RANDOM)
        self.compute = self.machine.queue("compute")
        self.depth = 0  # of blocks in which the device is the current one
        self.downloads = 0  # that the host has waited for

    def wrap(self, found):
        if isinstance(found, tuple):
            return tuple(self.wrap(one) for one in found)
        return DeviceArray(self, np.asarray(found)) if isinstance(found, (np.ndarray, np.generic)) else found

    def call(self, function, args, kwargs):
        """Call a function of NumPy on arrays of the device."""
        assert self.depth > 0, "not where the device is the current one"
        with np.errstate(all="ignore"):  # a device issues no warnings
            return self.wrap(function(*self._unwrap(args), **{name: self._unwrap(one) for name, one in kwargs.items()}))

    def _unwrap(self, value):
        if isinstance(value, (list, tuple)):
            return type(value)(self._unwrap(one) for one in value)
        if isinstance(value, np.ndarray):
            raise TypeError("unsupported type numpy.ndarray")
        if isinstance(value, DeviceArray):
            assert value._device is self, "an array of another device"
            return value.data
        return value

    def weights_of(self, gru, *, training):
        if id(self) not in gru._on_gpus:
            gru._on_gpus[id(self)] = self.Weights(self.array(gru._flat), gru._core_sizes, training=True)
        return gru._on_gpus[id(self)]

    def Weights(self, params, sizes, **options):  # noqa: N802
        return _Weights(self, params, sizes, **options)

    @contextmanager
    def here(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def array(self, host):
        assert self.depth > 0
        assert isinstance(host, np.ndarray)
        assert host.flags.c_contiguous
        return DeviceArray(self, host.copy())

    def numpy(self, array):
        assert isinstance(array, DeviceArray)
        self.downloads += 1
        return array.data.copy()

    def each(self, run, pieces):
        return pipelined(self, run, pieces)

    def pinned_empty(self, shape, dtype):
        return np.full(shape, np.nan, dtype)

    def stream(self):
        return self.machine.queue()

    def current_stream(self):
        return self.compute

    def event(self):
        return Event()
