"""A GPU as the rest of this package sees it: arrays, kernels, products, streams. The place for CuPy's
machinery; tests put NumPy and kernels on the CPU in its place.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from rgru._cuda.availability import find_cupy
from rgru._cuda.cublas import Products, Workspaces, workspace_bytes
from rgru._cuda.driver import clusters_at_once
from rgru._cuda.kernel_config import Chip, Exchange, Walk, cluster_sizes
from rgru._cuda.plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rgru._cuda.kernel_config import Cell, Common, Precision, Steps

Made = TypeVar("Made")

Array: TypeAlias = Any
"""A cupy.ndarray."""

_STEPS_PER_GRAPH = 32

_PORTABLE_CLUSTER = 8
_NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14
"""Of CUfunction_attribute in CUDA's driver API."""
_PROBE = 'extern "C" __global__ void probe() {}\n'
"""A kernel to ask the driver about."""


@cache
def open_device(index: int) -> Device:
    """Give the GPU of this index; the same object every time.

    Raises
    ------
    ImportError, RuntimeError
        If there is no CuPy, no driver, or no such GPU; the message says what to install or change.
    """
    return Device(index)


class Device:
    """One GPU.

    Attributes
    ----------
    xp : module
        CuPy.
    """

    def __init__(self, index: int) -> None:
        self.xp = find_cupy(index)
        self.index = index
        self._capability = int(self.xp.cuda.Device(index).compute_capability)
        self._modules: dict[tuple[object, ...], Any] = {}
        self._kernels: dict[tuple[object, ...], Any] = {}
        self._lock = threading.Lock()
        self._kept: deque[tuple[Any, list[Any]]] = deque()
        self._of_thread = threading.local()
        self._idle_handles: list[Any] = []

    @cached_property
    def chip(self) -> Chip:
        """What the plan needs to know; found out when first asked for, since that loads a kernel."""
        with self.xp.cuda.Device(self.index) as gpu:
            chip = Chip(
                capability=self._capability,
                multiprocessors=gpu.attributes["MultiProcessorCount"],
                shared_bytes=gpu.attributes["MaxSharedMemoryPerBlockOptin"],
            )
            sizes = cluster_sizes(self._capability)
            if not sizes:
                return chip
            kernel = self.xp.RawModule(code=_PROBE, backend="nvrtc").get_function("probe")
            # A block with all of the shared memory has a multiprocessor for itself, as those of a walk may have.
            kernel.max_dynamic_shared_size_bytes = chip.shared_bytes
            if max(sizes) > _PORTABLE_CLUSTER:
                self._allow_large_clusters(kernel)
            room = {size: clusters_at_once(kernel.kernel.ptr, size, 32, chip.shared_bytes) for size in sizes}
            known = tuple((size, count) for size, count in room.items() if count is not None)
            return replace(chip, clusters=known) if len(known) == len(sizes) else chip

    @contextmanager
    def current(self, held: list[Any]) -> Iterator[None]:
        """Work on this device; what is allocated while a graph is captured is put into `held`.

        A graph writes to the same addresses whenever it is launched, so that they must not be given to others.

        Raises
        ------
        MemoryError
            If the device has not enough memory.
        """
        cupy = self.xp
        with self.here():
            if not self.capturing:
                yield
                return

            def hold(size: int) -> Any:
                memory = cupy.get_default_memory_pool().malloc(size)
                held.append(memory)
                return memory

            # The graph may be launched on any stream, beside any work.
            usual, self._of_thread.workspaces = self._workspaces(), self._new_workspaces()
            try:
                with cupy.cuda.using_allocator(hold):
                    yield
            finally:
                self._of_thread.workspaces = usual

    @contextmanager
    def here(self) -> Iterator[None]:
        """Make this device the current one, and say what to do where its memory is too small."""
        cupy = self.xp
        with cupy.cuda.Device(self.index):
            try:
                yield
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise MemoryError(
                    f"GPU {self.index}: not enough memory ({error}); smaller batches or shorter sequences need less"
                ) from error

    def array(self, host: NDArray[Any]) -> Array:
        """Copy an array to the device.

        Raises
        ------
        RuntimeError
            In a capture, since a graph cannot read what a call has made on the host.
        """
        if self.capturing:
            raise RuntimeError(
                "a call that copies from the host cannot be captured into a graph: pass lengths as an array on the "
                "GPU, no Ragged, and call once before the capture"
            )
        return self.xp.asarray(host)

    def numpy(self, array: Array) -> NDArray[Any]:
        """Copy an array to the host."""
        host: NDArray[Any] = self.xp.asnumpy(array)
        return host

    @property
    def capturing(self) -> bool:
        """Whether what is launched now goes into a graph."""
        return bool(self.xp.cuda.get_current_stream().is_capturing())

    def made(self, value: Made) -> Callable[[], Made]:
        """Keep what is computed on the current stream, for use on any: gives the way to get at it.

        Raises
        ------
        RuntimeError
            In a capture, since nothing is computed there.
        """
        cupy = self.xp
        if self.capturing:
            raise RuntimeError(
                "a GRU has to be called once, with arrays of the same shapes, before its calls can be captured into a "
                "graph"
            )
        stream = cupy.cuda.get_current_stream()
        event = stream.record(cupy.cuda.Event(disable_timing=True))
        home = self.line()

        def get() -> Made:
            current = cupy.cuda.get_current_stream()
            if current.is_capturing():  # the graph may be launched on any stream
                if not event.done:
                    event.synchronize()
            elif self.line() != home and not event.done:
                current.wait_event(event)
            return value

        return get

    def line(self) -> tuple[int, int]:
        """Tell the current stream from all others: each thread may have a default stream of its own, of one pointer."""
        return self.xp.cuda.get_current_stream().ptr, threading.get_ident()

    def mark(self, marks: dict[tuple[int, int], Any]) -> None:
        """Put an event after what the current stream has to do so far, in the place of its last one."""
        stream = self.xp.cuda.get_current_stream()
        if not stream.is_capturing():  # nothing is done there
            line = self.line()
            if line not in marks:
                marks[line] = self.xp.cuda.Event(disable_timing=True)
            stream.record(marks[line])

    def keep(self, things: Any, marks: list[Any]) -> None:
        """Keep things until all marks are reached: CuPy gives memory back to the stream that took it, at once.

        Looked at whenever this is called, which the garbage collector may do at any time, in this method too: so there
        is no lock.
        """
        self._kept.append((things, marks))
        for _ in range(len(self._kept)):
            try:
                one = self._kept.popleft()
            except IndexError:  # another call has taken them
                return
            if not all(mark.done for mark in one[1]):
                self._kept.append(one)

    def free_bytes(self) -> int:
        """Ask how much memory could be had now."""
        free, _ = self.xp.cuda.Device(self.index).mem_info
        return int(free) + int(self.xp.get_default_memory_pool().free_bytes())

    def plan(self, cell: Cell, count: int, directions: int) -> Walk | Steps:
        """Choose the form of the kernels; see `rgru._cuda.plan.plan`."""
        return plan(self.chip, cell, count, directions)

    def multiply(self, a: Array, b: Array, out: Array, precision: Precision, add: bool = False) -> None:
        """Put a b (or out + a b) into out; see `rgru._cuda.cublas.Products.multiply`.

        Raises
        ------
        RuntimeError
            In a capture by a thread that has multiplied nothing before: a graph cannot hold what sets the library up.
        """
        products = getattr(self._of_thread, "products", None)
        if products is None:
            if self.capturing:
                raise RuntimeError("a thread has to call a GRU once before it captures a call into a graph")
            products = self._of_thread.products = Products(self.xp, self._idle_handles)
        products.multiply(a, b, out, precision, add=add, workspaces=self._workspaces())

    def _workspaces(self) -> Workspaces:
        """Give the memory in which this thread's products work."""
        workspaces: Workspaces | None = getattr(self._of_thread, "workspaces", None)
        if workspaces is None:
            workspaces = self._of_thread.workspaces = self._new_workspaces()
        return workspaces

    def _new_workspaces(self) -> Workspaces:
        return Workspaces(self.xp, workspace_bytes(self._capability))

    def launch(
        self,
        form: Walk | Steps | Common,
        name: str,
        blocks: int,
        threads: int,
        arguments: tuple[Array | int | None, ...],
    ) -> None:
        """Launch a kernel of kernels.cu on the current stream; whole numbers are passed as int32."""
        walk = isinstance(form, Walk) and name.startswith("walk")
        kernel = self._kernel(form, name, walk)
        numbers = tuple(np.int32(value) if isinstance(value, int) else value for value in arguments)
        shared = form.shared_bytes if isinstance(form, Walk) and walk else 0
        kernel((blocks,), (threads,), numbers, shared_mem=shared)

    def _kernel(self, form: Walk | Steps | Common, name: str, walk: bool) -> Any:
        cooperative = walk and isinstance(form, Walk) and form.exchange.through_memory
        macros = tuple(f"-D{macro}={int(value)}" for macro, value in form.macros.items())
        key = (macros, cooperative, name)
        kernel = self._kernels.get(key)
        if kernel is None:
            with self._lock:
                module = self._modules.get(key[:2])
                if module is None:
                    module = self.xp.RawModule(
                        code=_source(), options=macros, enable_cooperative_groups=cooperative, backend="nvrtc"
                    )
                    self._modules[key[:2]] = module
                kernel = module.get_function(name)
                if walk and isinstance(form, Walk):
                    kernel.max_dynamic_shared_size_bytes = form.shared_bytes
                    if form.exchange is Exchange.CLUSTER and form.blocks > _PORTABLE_CLUSTER:
                        self._allow_large_clusters(kernel)
                    self._check_room(form, kernel)
                self._kernels[key] = kernel
        return kernel

    def _allow_large_clusters(self, kernel: Any) -> None:
        self.xp.cuda.driver.funcSetAttribute(kernel.kernel.ptr, _NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1)

    def _check_room(self, form: Walk, kernel: Any) -> None:
        """Refuse a grid whose blocks cannot all run at once: they would wait for each other for ever."""
        driver = self.xp.cuda.driver
        each = driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.kernel.ptr, form.threads, form.shared_bytes)
        if each < 1:
            raise RuntimeError(
                f"GPU {self.index}: expected room for {form.threads} threads with {form.shared_bytes} bytes of shared "
                "memory on a multiprocessor, got none; is the GPU partitioned, or shared with limits?"
            )

    def repeat(self, step: Callable[[int], None], advance: Callable[[int], None], times: int) -> None:
        """Take so many steps; through a graph where it pays.

        ``step(i)`` launches the step that comes i after those that are done, and ``advance(n)`` says that n more are.
        """
        current = self.xp.cuda.get_current_stream()
        graphs = 0 if current.is_capturing() else (times - 1) // _STEPS_PER_GRAPH
        if graphs > 1:
            # Some steps come first by themselves: what they load and set up would not be captured.
            first = times - graphs * _STEPS_PER_GRAPH
            for offset in range(first):
                step(offset)
            advance(first)
            times -= first
            graph = self._captured(step, advance)
            if graph is not None:
                for _ in range(graphs):
                    graph.launch(current)
                self.keep(graph, [current.record(self.xp.cuda.Event(disable_timing=True))])
                return
        for offset in range(times):
            step(offset)

    def _captured(self, step: Callable[[int], None], advance: Callable[[int], None]) -> Any:
        """Make a graph of the next steps, for the current stream.

        None if that fails: another thread that waits for the whole device breaks every capture there.
        """
        cupy = self.xp
        workspaces = self._workspaces()
        workspaces.here()  # now, to be memory of this stream
        workspaces.launched_on = cupy.cuda.get_current_stream()
        try:
            with self._side("capture") as stream:  # the default stream cannot be captured
                stream.begin_capture()
                try:
                    for offset in range(_STEPS_PER_GRAPH):
                        step(offset)
                    advance(_STEPS_PER_GRAPH)
                finally:
                    graph = stream.end_capture()
                return graph
        except cupy.cuda.runtime.CUDARuntimeError:
            return None
        finally:
            workspaces.launched_on = None

    def side_by_side(self, walk: Callable[[int], None], directions: int) -> None:
        """Call ``walk(direction)`` for each direction, the second one on a stream beside the current one."""
        if directions == 1:
            walk(0)
            return
        current = self.xp.cuda.get_current_stream()
        begun = current.record(self.xp.cuda.Event(disable_timing=True))
        with self._side("second direction") as stream:
            stream.wait_event(begun)
            walk(1)
            done = stream.record(self.xp.cuda.Event(disable_timing=True))
        walk(0)
        current.wait_event(done)

    def _side(self, use: str) -> Any:
        """Give this thread's stream for a use."""
        streams = self._of_thread.__dict__.setdefault("streams", {})
        if use not in streams:
            streams[use] = self.xp.cuda.Stream(non_blocking=True)
        return streams[use]


@cache
def _source() -> str:
    return Path(__file__).with_name("kernels.cu").read_text(encoding="utf-8")
