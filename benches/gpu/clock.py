"""Times on a GPU, by events on one stream that rgru and PyTorch share."""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Clock:
    """A stream and its events.

    Attributes
    ----------
    stream : cupy.cuda.Stream
        The current stream of CuPy and PyTorch within `here`.
    """

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self.stream = cupy.cuda.Stream(non_blocking=True)

    @contextmanager
    def here(self) -> Iterator[None]:
        import torch

        with self.stream, torch.cuda.stream(torch.cuda.ExternalStream(self.stream.ptr)):
            yield

    def microseconds(self, run: Callable[[], Any], times: int) -> list[float]:
        """Return the time of each of `times` consecutive calls: of the device, or of the host where that is slower."""
        events = [self._cupy.cuda.Event() for _ in range(times + 1)]
        events[0].record(self.stream)
        for event in events[1:]:
            run()
            event.record(self.stream)
        self.stream.synchronize()
        return [1e3 * self._cupy.cuda.get_elapsed_time(begun, done) for begun, done in pairwise(events)]

    def medians(self, runs: Mapping[str, Callable[[], Any]], span: float, most: int = 100) -> dict[str, float]:
        """Return the median microseconds of a call: warm, in two rounds, about `span` seconds in all for each run."""
        times = {}
        for name, run in runs.items():
            run()
            (once,) = self.microseconds(run, 1)
            times[name] = max(2, min(most, int(0.5e6 * span / max(once, 1.0))))
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(2):
            for name, run in runs.items():
                found[name] += self.microseconds(run, times[name])
        return {name: statistics.median(values) for name, values in found.items()}

    def captured_by_cupy(self, run: Callable[[], Any]) -> tuple[Callable[[], Any], Any]:
        """Capture `run` into a graph; return a call that launches it, and the result, which the graph writes to."""
        self.stream.synchronize()
        self.stream.begin_capture()
        try:
            result = run()
        finally:
            graph = self.stream.end_capture()
        return lambda: graph.launch(self.stream), result

    def captured_by_torch(self, run: Callable[[], Any]) -> tuple[Callable[[], Any], Any]:
        import torch

        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(capture_error_mode="relaxed")
        try:
            result = run()
        finally:
            graph.capture_end()
        return graph.replay, result
