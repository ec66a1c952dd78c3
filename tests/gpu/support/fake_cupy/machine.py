"""A simulator of devices, memory, streams, events and graphs.

Work of streams runs by a schedule: at once, when the host waits for it, or at random. Work at once is checked as if it
ran as late as possible: each operation gets a position in its stream; each stream knows which positions of others come
before its next operation (a vector clock, advanced by events and by waits of the host). Bytes remember where they were
last written and read, so that an operation which did not wait for what it needs is a `Hazard`. So is memory that is
freed while work on another stream may still use it, and a graph that uses freed memory.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

LAZY, EAGER, RANDOM = "lazy", "eager", "random"


class Hazard(AssertionError):  # noqa: N818
    """On a GPU the result would depend on timing."""


class CUDARuntimeError(RuntimeError):
    """As `cupy.cuda.runtime.CUDARuntimeError`."""

    def __init__(self, status, name):
        super().__init__(f"{name}: (fake)")
        self.status = status


class OutOfMemoryError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError`."""


@dataclass
class Gpu:
    """The properties of a fake GPU."""

    capability: int = 90
    multiprocessors: int = 8
    shared_bytes: int = 232448
    cluster: int = 16
    memory: int = 1 << 36
    taken: int = 0
    null: Stream = field(init=False)


class Machine:
    """All GPUs, and what is current in each thread of the host.

    Parameters
    ----------
    *gpus : Gpu
    driver : int
        Version of the driver.
    schedule : str
        When work runs: "eager", at once; "lazy", when the host waits for it; "random", some of it, whenever work is
        added. Operations of the fake CuPy, which are checked for hazards, are eager.
    seed : int
        Seed of the random schedule.

    Attributes
    ----------
    hazards : list of str
        Hazards that were found where no exception can be raised.
    allocated : list of int
        The sizes of all allocations so far.
    held : list of Stream
        Streams that are lazy, whatever the schedule.
    """

    def __init__(self, *gpus, driver=13000, schedule=EAGER, seed=0):
        self.schedule, self.held, self.random = schedule, [], np.random.default_rng(seed)
        self.queues = []  # the streams that `queue` made
        self.gpus = gpus or (Gpu(),)
        self.driver = driver
        self.hazards, self.allocated = [], []
        self.known = {}  # what the host has waited for
        self.attributes = {}  # of the GPUs, as CuPy remembers them
        self.memories = weakref.WeakSet()
        self.streams = weakref.WeakValueDictionary()  # by pointer
        self._ids, self._of_thread = 0, threading.local()
        for index, gpu in enumerate(self.gpus):
            gpu.null = Stream(self, index, 0, blocking=True)

    def queue(self, name=""):
        """Return a new stream for actions of any kind; see `Stream.put`."""
        self.queues.append(Stream(self, 0, 0, blocking=False))
        self.queues[-1].name = name or f"stream {len(self.queues) - 1}"
        return self.queues[-1]

    def run(self, stream):
        """Run work that may run now; `stream` has got some."""
        if self.schedule == LAZY:
            return
        free = [one for one in dict.fromkeys([stream, *self.queues]) if one not in self.held]
        while True:
            if self.schedule == RANDOM:
                if self.random.random() < 0.5:
                    return
                free = [free[i] for i in self.random.permutation(len(free))]
            if not any(one.step() for one in free):
                return

    @property
    def idle(self):
        """Whether the streams that `queue` made have no work."""
        return not any(one.work for one in self.queues)

    def new_id(self):
        self._ids += 1
        return self._ids

    @property
    def here(self):
        """What is current in this thread: the device, the stream of each device, and the allocator."""
        if not hasattr(self._of_thread, "device"):
            self._of_thread.device, self._of_thread.allocator = 0, None
            self._of_thread.streams = [gpu.null for gpu in self.gpus]
        return self._of_thread

    @property
    def stream(self):
        """The current stream."""
        return self.here.streams[self.here.device]

    def allocate(self, size):
        """Allocate through the current allocator; return a MemoryPointer."""
        return (self.here.allocator or self.malloc)(size)

    def malloc(self, size):
        gpu = self.gpus[self.here.device]
        if gpu.taken + size > gpu.memory:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {gpu.taken:,} bytes).")
        self.allocated.append(size)
        return MemoryPointer(Memory(self, self.here.device, size, self.stream), 0)

    @contextmanager
    def using_allocator(self, allocator):
        before, self.here.allocator = self.here.allocator, allocator
        try:
            yield
        finally:
            self.here.allocator = before

    def memory_at(self, pointer):
        for memory in self.memories:
            if memory.ptr <= pointer < memory.ptr + max(memory.size, 1):
                return memory
        raise Hazard(f"no memory at {pointer:#x}")

    def stream_at(self, device, pointer):
        return self.gpus[device].null if not pointer else self.streams[pointer]

    def synchronize(self, device=None):
        """Wait for all work of one device or all; this breaks every capture there, of any thread."""
        streams = [*self.streams.values(), *(gpu.null for gpu in self.gpus)]
        streams = [stream for stream in streams if device in (None, stream.device)]
        captures = [stream.capture for stream in streams if stream.capture is not None]
        for capture in captures:
            capture.broken = True
        if captures:
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported")
        for stream in streams:
            stream.synchronize()


class Memory:
    """One allocation, initially full of NaN."""

    def __init__(self, machine, device, size, stream):
        raw = np.empty(size + 512, np.uint8)
        start = -raw.ctypes.data % 512
        self.bytes = raw[start : start + size]
        if size < 1 << 20:
            self.bytes[:] = 0xFF
        self.machine, self.device, self.size, self._stream = machine, device, size, stream
        self.ptr = self.bytes.ctypes.data if size else 0
        machine.gpus[device].taken += size
        machine.memories.add(self)
        self.users = {}  # the last position of each line of work
        self.marks = None  # for the first byte of each number: the positions of its last write and read

    memory = property(lambda self: self, doc="As that of an UnownedMemory.")

    def __del__(self):
        self.machine.gpus[self.device].taken -= self.size
        late = before(self.users.items(), self._stream.knowledge())
        if late:
            self.machine.hazards.append(f"memory was freed while {late} may still use it")


class MemoryPointer:
    """As `cupy.cuda.MemoryPointer`."""

    def __init__(self, mem, offset):
        self.mem, self.offset = mem, offset

    ptr = property(lambda self: self.mem.ptr + self.offset)
    device_id = property(lambda self: self.mem.device)


class View:
    """A strided part of an allocation, which it does not keep alive."""

    def __init__(self, memory, offset, shape, strides, dtype):
        self._memory = weakref.ref(memory)
        self.offset, self.shape, self.strides, self.dtype = offset, shape, strides, dtype

    @property
    def memory(self):
        memory = self._memory()
        if memory is None:
            raise Hazard("freed memory is used")
        return memory

    def array(self):
        return np.ndarray(self.shape, self.dtype, self.memory.bytes, self.offset, self.strides)

    def marks(self):
        memory = self.memory
        if memory.marks is None:
            memory.marks = np.zeros((2, memory.size), np.int64)
        wide = tuple(8 * stride for stride in self.strides)
        return [np.ndarray(self.shape, np.int64, marks, 8 * self.offset, wide) for marks in memory.marks]


def before(places, known):
    """Return the names of the positions (line of work, tick) that do not come before what is known."""
    return ", ".join(f"operation {tick} of stream {line}" for line, tick in places if tick > known.get(line, 0))


def join(known, other):
    for line, tick in other.items():
        known[line] = max(tick, known.get(line, 0))


def places_in(marks):
    return [(int(mark) >> 32, int(mark) & 0xFFFFFFFF) for mark in np.unique(marks) if mark]


@dataclass
class Operation:
    """An operation of a device: ``run`` gets the arrays of `reads` and then of `writes`.

    Which parts a kernel reads and writes is unknown: a read is only a hazard if all of the array comes from work that
    the kernel did not wait for, and what has changed counts as written.
    """

    name: str
    run: object
    reads: list
    writes: list
    kernel: bool = False

    def perform(self, line, known):
        """Run as the next operation of a line of work that knows what is `known`."""
        known[line] = tick = known.get(line, 0) + 1
        reads, writes = [v for v in self.reads if 0 not in v.shape], [v for v in self.writes if 0 not in v.shape]
        for view in reads:
            self._check(view.marks()[0], known, "reads", some=self.kernel)
        for view in [] if self.kernel else writes:
            for marks in view.marks():
                self._check(marks, known, "writes", some=False)
        arrays = [view.array() for view in (*self.reads, *self.writes)]
        old = [view.array().copy() for view in writes] if self.kernel else []
        with np.errstate(all="ignore"):
            self.run(*arrays)
        mark = (line << 32) + tick
        for view in reads:
            if not self.kernel:
                view.marks()[1][...] = mark
        for i, view in enumerate(writes):
            changed = ... if not self.kernel else differing(old[i], view.array())
            for marks in view.marks() if self.kernel else ():
                self._check(marks[changed], known, "writes", some=False)
            view.marks()[0][changed] = mark
        for view in (*reads, *writes):
            view.memory.users[line] = tick

    def _check(self, marks, known, does, some):
        places = places_in(marks)
        late = before(places, known)
        if late and not (some and len(places) > sum(tick > known.get(line, 0) for line, tick in places)):
            raise Hazard(f"{self.name} {does} what {late} uses, without waiting for it")


def differing(a, b):
    kind = f"u{a.itemsize}"
    return a.view(kind) != b.view(kind) if a.dtype.itemsize in (1, 2, 4, 8) else a != b


class Stream:
    """A stream of a device, and its work."""

    name = ""

    def __init__(self, machine, device, ptr, blocking):
        self.work = deque()
        self.machine, self.device, self.ptr, self.blocking = machine, device, ptr, blocking
        self.line, self._known, self.capture = machine.new_id(), {}, None

    def put(self, action):
        """Add an action, or the mark of another stream's event to wait for."""
        self.work.append(action)
        self.machine.run(self)

    def step(self):
        """Run the next piece of work; return whether there was one that could run."""
        if not self.work or (isinstance(self.work[0], Mark) and not self.work[0].passed):
            return False
        head = self.work.popleft()
        if not isinstance(head, Mark):
            head()
        return True

    def drain(self):
        while self.work:
            if not self.step():
                self.work[0].reach()

    def knowledge(self):
        """Return the positions before the next operation."""
        join(self._known, self.machine.known)
        null = self.machine.gpus[self.device].null
        if self is null:
            for other in list(self.machine.streams.values()):
                if other.blocking and other.device == self.device:
                    join(self._known, other._known)
        elif self.blocking:
            join(self._known, null._known)
        return self._known

    def submit(self, operation):
        if self.capture is not None:
            self.capture.add(self, operation)
            return
        self._not_during_a_capture()
        assert self.machine.schedule == EAGER, "hazards are found by clocks, not by luck"
        self.put(lambda: operation.perform(self.line, self.knowledge()))

    def _not_during_a_capture(self):
        if self.ptr == 0 and any(s.capture and s.blocking for s in self.machine.streams.values()):
            raise CUDARuntimeError(906, "cudaErrorStreamCaptureImplicit")

    def record(self, event):
        event.capture, event.known = self.capture, None
        if self.capture is not None:
            self.capture.add(self, event)
        else:
            event.known, event.mark = dict(self.knowledge()), Mark(self)
            self.put(event.mark.passing)
        return event

    def wait(self, event):
        if event.capture is not None:
            if self.capture not in (None, event.capture) or self.ptr == 0:
                raise CUDARuntimeError(905, "cudaErrorStreamCaptureIsolation")
            self.capture = event.capture
            self.capture.add(self, ("wait", event))
        elif self.capture is not None and event.known is not None:
            raise CUDARuntimeError(905, "cudaErrorStreamCaptureIsolation")
        elif event.known is not None:
            join(self.knowledge(), event.known)
            self.put(event.mark)

    wait_event = wait

    def synchronize(self):
        if self.capture is not None:
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported")
        self.drain()
        join(self.machine.known, self.knowledge())


class Mark:
    """One recording of an event, outside of captures."""

    def __init__(self, stream):
        self.stream, self.passed = stream, False

    def passing(self):
        self.passed = True

    def reach(self):
        while not self.passed:
            if not self.stream.step():
                self.stream.work[0].reach()  # it waits for another stream


class Event:
    """The last recording of an event: what is known there or, within a capture, which one."""

    capture = known = mark = None

    def synchronize(self):
        if self.mark is not None:
            self.mark.reach()


class Capture:
    """Work that is recorded and not run."""

    def __init__(self, origin):
        self.origin, self.entries = origin, []
        self.broken = False
        origin.capture = self

    def add(self, stream, what):
        if self.broken:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated")
        self.entries.append((stream, what))

    def end(self):
        streams = {stream for stream, _ in self.entries} | {self.origin}
        for stream in streams:
            stream.capture = None
        if self.broken:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated")
        lines = {}
        _lines(self.entries, {}, lambda *_: None, lines)
        last = {line.number: line.known.get(line.number, 0) for line in lines.values()}
        origin = lines.get(self.origin)
        if len(streams) > 1 and before(last.items(), origin.known if origin else {}):
            raise CUDARuntimeError(904, "cudaErrorStreamCaptureUnjoined")

    def launch(self, stream):
        """Run the work as one operation of a stream; return its position."""
        if stream.capture is not None:
            raise NotImplementedError("a graph within a graph")
        known = stream.knowledge()
        known[stream.line] = tick = known.get(stream.line, 0) + 1

        def perform(line, operation):
            operation.perform(line.number, line.known)

        lines = {}
        try:
            _lines(self.entries, {self.origin: dict(known)}, perform, lines, stream.machine.new_id)
        finally:
            for line in lines.values():
                join(known, line.known)
        return stream.line, tick


class _Line:
    def __init__(self, number, known):
        self.number, self.known = number, known


def _lines(entries, begun, perform, lines, new_id=None):
    """Go through captured work; `lines` receives the line of work that each stream becomes."""
    events = {}
    for stream, what in entries:
        if stream not in lines:
            lines[stream] = _Line(new_id() if new_id else len(lines) + 1, begun.get(stream, {}))
        line = lines[stream]
        if isinstance(what, Event):
            events[what] = dict(line.known)
        elif isinstance(what, tuple):
            join(line.known, events[what[1]])
        else:
            if new_id is None:
                line.known[line.number] = line.known.get(line.number, 0) + 1
            perform(line, what)
