"""A GPU: arrays, kernels, products, streams.

Most calls of CuPy are in this module; tests replace it by NumPy and kernels on the CPU.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from rgru._cuda.availability import find_cupy
from rgru._cuda.cublas import Products, Workspaces, workspace_bytes
from rgru._cuda.driver import clusters_at_once
from rgru._cuda.kernel_config import Chip, Exchange, LaunchShape, cluster_sizes, defines
from rgru._cuda.kernels import source
from rgru._cuda.plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rgru._cuda.dtypes import Array
    from rgru._cuda.kernel_config import CellSpec, Common, Precision, Steps

Made = TypeVar("Made")

_PORTABLE_CLUSTER = 8
_NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14
"""A CUfunction_attribute of CUDA's driver API."""
_PROBE = 'extern "C" __global__ void probe() {}\n'
"""The driver is asked about this kernel."""


class _Kernel(NamedTuple):
    """A kernel that is loaded; of a persistent one its launch shape's shared memory, and a multiprocessor's room."""

    function: Any
    shared_bytes: int = 0
    at_once: int | None = None  # blocks of a multiprocessor


@cache
def open_device(index: int) -> Device:
    """Return a GPU, the same object every time.

    Parameters
    ----------
    index : int

    Returns
    -------
    Device

    Raises
    ------
    ImportError, RuntimeError
        If there is no CuPy, no driver, or no such GPU; the message says what to install or change.
    """
    return Device(index)


class Device:
    """One GPU.

    Parameters
    ----------
    index : int

    Attributes
    ----------
    xp : module
        CuPy.
    steps_per_graph : int
        How many steps are captured into one CUDA graph where each step is launched by itself.
    """

    steps_per_graph = 32

    def __init__(self, index: int) -> None:
        self.xp = find_cupy(index)
        self.index = index
        self._capability = int(self.xp.cuda.Device(index).compute_capability)
        self._modules: dict[tuple[object, ...], Any] = {}
        self._kernels: dict[tuple[object, str], _Kernel] = {}
        self._lock = threading.Lock()
        self._kept: deque[tuple[Any, list[Any]]] = deque()
        self._of_thread = threading.local()
        self._idle_handles: list[Any] = []

    @cached_property
    def chip(self) -> Chip:
        """The properties that the plan depends on; queried at first use, since that loads a kernel."""
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
            # A block with all of the shared memory has a multiprocessor to itself, as those of a launch shape may have.
            kernel.max_dynamic_shared_size_bytes = chip.shared_bytes
            if max(sizes) > _PORTABLE_CLUSTER:
                self._allow_large_clusters(kernel)
            room = {size: clusters_at_once(kernel.kernel.ptr, size, 32, chip.shared_bytes) for size in sizes}
            known = tuple((size, count) for size, count in room.items() if count is not None)
            return replace(chip, clusters=known) if len(known) == len(sizes) else chip

    @contextmanager
    def current(self, held: list[Any]) -> Iterator[None]:
        """Make this device the current one, and hold what is allocated during a capture.

        A graph writes to the same addresses whenever it is launched, so that they must not be reused.

        Parameters
        ----------
        held : list
            What is allocated while a graph is captured is appended here.

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

            # The graph may be launched on any stream, concurrently with any work.
            usual, self._of_thread.workspaces = self._workspaces(), self._new_workspaces()
            try:
                with cupy.cuda.using_allocator(hold):
                    yield
            finally:
                self._of_thread.workspaces = usual

    @contextmanager
    def here(self) -> Iterator[None]:
        """Make this device the current one; running out of its memory raises a MemoryError that says what to do."""
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

        Parameters
        ----------
        host : ndarray

        Returns
        -------
        cupy.ndarray

        Raises
        ------
        RuntimeError
            During a capture, since the array of the host does not live as long as the graph.
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
        """Whether the current stream is being captured into a graph."""
        return bool(self.xp.cuda.get_current_stream().is_capturing())

    def made(self, value: Made) -> Callable[[], Made]:
        """Make a value that is computed on the current stream available to all streams.

        Parameters
        ----------
        value : object
            Arrays that work of the current stream writes.

        Returns
        -------
        callable
            Returns the value, after making the then current stream wait for it.

        Raises
        ------
        RuntimeError
            During a capture, since nothing is computed then.
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
        """Return a key of the current stream. Threads may have default streams of their own, with the same pointer."""
        return self.xp.cuda.get_current_stream().ptr, threading.get_ident()

    def mark(self, marks: dict[tuple[int, int], Any]) -> None:
        """Record the work of the current stream so far in `marks`, by `line`, instead of its last mark there."""
        stream = self.xp.cuda.get_current_stream()
        if not stream.is_capturing():  # a capture does no work
            line = self.line()
            if line not in marks:
                marks[line] = self.xp.cuda.Event(disable_timing=True)
            stream.record(marks[line])

    def keep(self, things: Any, marks: list[Any]) -> None:
        """Keep things until all marks are reached: CuPy frees memory at once, for reuse by the stream that took it.

        Every call releases the things of earlier calls whose marks are reached. There is no lock, since the garbage
        collector may call this method at any time, during the method itself too.

        Parameters
        ----------
        things : object
        marks : list of cupy.cuda.Event
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
        """Return how many bytes could be allocated now."""
        free, _ = self.xp.cuda.Device(self.index).mem_info
        return int(free) + int(self.xp.get_default_memory_pool().free_bytes())

    def plan(self, cell: CellSpec, count: int, directions: int) -> LaunchShape | Steps:
        """Choose the configuration of the kernels; see `rgru._cuda.plan.plan`."""
        return plan(self.chip, cell, count, directions)

    def multiply(self, a: Array, b: Array, out: Array, precision: Precision, add: bool = False) -> None:
        """Compute out = a b, or out += a b; see `rgru._cuda.cublas.Products.multiply`.

        Parameters
        ----------
        a, b, out : cupy.ndarray, shape (M, K), (K, N), (M, N)
        precision : Precision
        add : bool

        Raises
        ------
        RuntimeError
            During a capture by a thread that has not multiplied before: setting up the library cannot be captured.
        """
        products = getattr(self._of_thread, "products", None)
        if products is None:
            if self.capturing:
                raise RuntimeError("a thread has to call a GRU once before it captures a call into a graph")
            products = self._of_thread.products = Products(self.xp, self._idle_handles)
        products.multiply(a, b, out, precision, add=add, workspaces=self._workspaces())

    def _workspaces(self) -> Workspaces:
        """Return the workspaces of this thread's products."""
        workspaces: Workspaces | None = getattr(self._of_thread, "workspaces", None)
        if workspaces is None:
            workspaces = self._of_thread.workspaces = self._new_workspaces()
        return workspaces

    def _new_workspaces(self) -> Workspaces:
        return Workspaces(self.xp, workspace_bytes(self._capability))

    def launch(
        self,
        form: LaunchShape | Steps | Common,
        name: str,
        blocks: int,
        threads: int,
        arguments: tuple[Array | int | None, ...],
        *,
        shared_bytes: int = 0,
    ) -> None:
        """Launch a kernel of `rgru._cuda.kernels` on the current stream.

        Parameters
        ----------
        form : LaunchShape, Steps or Common
            What it is compiled for.
        name : str
        blocks, threads : int
            Blocks of the grid, and threads of a block.
        arguments : tuple
            Python's int is passed as int32, None as a null pointer.
        shared_bytes : int, default 0
            The dynamic shared memory of a block. A persistent kernel has that of its launch shape.
        """
        kernel = self._kernels.get((form, name)) or self._load(form, name)
        if kernel.at_once is not None and isinstance(form, LaunchShape):
            self._check_room(form, blocks, kernel.at_once)
        numbers = tuple(np.int32(value) if isinstance(value, int) else value for value in arguments)
        kernel.function((blocks,), (threads,), numbers, shared_mem=kernel.shared_bytes or shared_bytes)

    def _load(self, form: LaunchShape | Steps | Common, name: str) -> _Kernel:
        """Compile a kernel, or take it from its module, and see to its resources."""
        shape = form if isinstance(form, LaunchShape) and name.startswith("recurrence") else None
        cooperative = shape is not None and shape.exchange.through_memory
        macros = defines(form.macros)
        with self._lock:
            module = self._modules.get((macros, cooperative))
            if module is None:
                module = self._modules[macros, cooperative] = self.xp.RawModule(
                    code=source(), options=macros, enable_cooperative_groups=cooperative, backend="nvrtc"
                )
            function = module.get_function(name)
            kernel = _Kernel(function)
            if shape is not None:
                function.max_dynamic_shared_size_bytes = shape.shared_bytes
                if shape.exchange is Exchange.CLUSTER and shape.blocks > _PORTABLE_CLUSTER:
                    self._allow_large_clusters(function)
                occupancy = self.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
                at_once = occupancy(function.kernel.ptr, shape.threads, shape.shared_bytes)
                kernel = _Kernel(function, shape.shared_bytes, at_once)
            self._kernels[form, name] = kernel
        return kernel

    def _allow_large_clusters(self, kernel: Any) -> None:
        self.xp.cuda.driver.funcSetAttribute(kernel.kernel.ptr, _NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1)

    def _check_room(self, shape: LaunchShape, blocks: int, at_once: int) -> None:
        """Raise an error if blocks that wait for each other cannot all run at once: they would wait forever.

        CuPy would launch fewer of them, with a mere warning. The multiprocessors are counted again in each call, since
        those of a GPU that is partitioned, or shared with limits, may become fewer.
        """
        needed = blocks if shape.exchange.through_memory else 1
        runtime = self.xp.cuda.runtime
        room = at_once * runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, self.index)
        if room < needed:
            raise RuntimeError(
                f"GPU {self.index}: expected room for {needed} blocks of {shape.threads} threads with "
                f"{shape.shared_bytes} bytes of shared memory at once, got {room}; is the GPU partitioned, or shared "
                "with limits?"
            )

    def repeat(self, step: Callable[[int], None], advance: Callable[[int], None], times: int) -> None:
        """Launch `times` steps, through a CUDA graph if they are many.

        Parameters
        ----------
        step : callable
            ``step(i)`` launches the i-th step after those that are done.
        advance : callable
            ``advance(n)`` launches the kernel that counts n more steps as done.
        times : int
        """
        current = self.xp.cuda.get_current_stream()
        graphs = 0 if current.is_capturing() else (times - 1) // self.steps_per_graph
        if graphs > 1:
            # The first steps are launched one by one: loading modules and setting up the library cannot be captured.
            first = times - graphs * self.steps_per_graph
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
        """Capture the next steps into a graph for the current stream.

        None if that fails: another thread that waits for the whole device breaks all its captures.
        """
        cupy = self.xp
        workspaces = self._workspaces()
        workspaces.here()  # now, so that this stream owns the memory
        workspaces.launched_on = cupy.cuda.get_current_stream()
        try:
            with self._side("capture") as stream:  # the default stream cannot be captured
                stream.begin_capture()
                try:
                    for offset in range(self.steps_per_graph):
                        step(offset)
                    advance(self.steps_per_graph)
                finally:
                    graph = stream.end_capture()
                return graph
        except cupy.cuda.runtime.CUDARuntimeError:
            return None
        finally:
            workspaces.launched_on = None

    def side_by_side(self, run: Callable[[int], None], directions: int) -> None:
        """Call ``run(direction)`` for each direction, the second one on a concurrent stream."""
        if directions == 1:
            run(0)
            return
        current = self.xp.cuda.get_current_stream()
        begun = current.record(self.xp.cuda.Event(disable_timing=True))
        with self._side("second direction") as stream:
            stream.wait_event(begun)
            run(1)
            done = stream.record(self.xp.cuda.Event(disable_timing=True))
        run(0)
        current.wait_event(done)

    def _side(self, use: str) -> Any:
        """Return this thread's stream for a use."""
        streams = self._of_thread.__dict__.setdefault("streams", {})
        if use not in streams:
            streams[use] = self.xp.cuda.Stream(non_blocking=True)
        return streams[use]
